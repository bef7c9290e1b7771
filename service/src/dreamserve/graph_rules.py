"""What an ONNX graph of a bundle may hold: checked in its bytes, before a library parses them.

Every operator is one that computes tensors from tensors. There is no control flow, no function, no
operator of another domain, no randomness and no data outside the file; and how large a tensor is
depends on the inputs' shapes, never on their values. So a graph touches no file, a run of it ends,
and it takes the same memory and about the same time for all inputs of a batch size.

The reader knows the fields that the rules need, as ONNX numbers them, and skips the others. A
field that occurs several times is checked each time, whichever of them a parser would use.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from dreamserve.errors import BundleError

_STANDARD = """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil
    Celu CenterCropPad Clip Col2Im Concat Constant ConstantOfShape Conv ConvInteger
    ConvTranspose Cos Cosh CumProd CumSum DepthToSpace DequantizeLinear Det Div
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv
    QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize ReverseSequence RotaryEmbedding Round Scatter
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu
    Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_STANDARD.split())
_DOMAINS = ("", "ai.onnx")  # two names of the standard one
# The inputs, by index, whose values determine how large the output is.
_SIZES = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Tile": (1,),
    "Upsample": (1,),
}
_SHAPES = ("Shape", "Size")  # whose outputs depend on the input's shape only
_MAX_FIELDS = 1_000_000

# Fields of the messages, by number.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _INPUT_NAME = 7, 1, 5, 11, 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _TENSOR_LOCATION = 5, 10, 14
_REFUSED = {
    "model": {20: "training information", 25: "functions of its own"},
    "graph": {15: "sparse tensors"},
    "attribute": {
        6: "a graph inside a node",
        11: "a graph inside a node",
        21: "an attribute of a function",
        22: "sparse tensors",
        23: "sparse tensors",
    },
    "tensor": {13: "external data; save all weights inside the .onnx file"},
}

Span = tuple[int, int]  # of bytes: start, end


@dataclass(slots=True)
class _Node:
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def check_graph(content: bytes, where: str) -> None:
    """Raise BundleError, which starts with `where`, unless the ONNX file keeps the rules."""
    try:
        _Reader(content).check()
    except ValueError as error:
        raise BundleError(f"{where}: {error}") from None


class _Reader:
    """Reads protobuf messages (https://protobuf.dev/programming-guides/encoding/)."""

    def __init__(self, content: bytes) -> None:
        self._content, self._fields = content, 0

    def check(self) -> None:
        """Raise ValueError unless the file keeps the rules."""
        inputs: set[str] = set()
        nodes: list[_Node] = []
        for number, value in self._message((0, len(self._content)), "model"):
            if number == _MODEL_GRAPH:
                self._graph(_span(value), inputs, nodes)
        _check_sizes(inputs, nodes)

    def _graph(self, span: Span, inputs: set[str], nodes: list[_Node]) -> None:
        for number, value in self._message(span, "graph"):
            if number == _GRAPH_NODE:
                nodes.append(self._node(_span(value)))
            elif number == _GRAPH_INITIALIZER:
                self._tensor(_span(value))
            elif number == _GRAPH_INPUT:
                named = self._message(_span(value), "input")
                inputs |= {self._text(name) for key, name in named if key == _INPUT_NAME}

    def _node(self, span: Span) -> _Node:
        node = _Node()
        for number, value in self._message(span, "node"):
            if number == _NODE_INPUT:
                node.inputs.append(self._text(value))
            elif number == _NODE_OUTPUT:
                node.outputs.append(self._text(value))
            elif number == _NODE_OPERATOR and not node.operator:
                node.operator = self._text(value)
            elif number == _NODE_OPERATOR:
                raise ValueError("has a node with two operators")
            elif number == _NODE_ATTRIBUTE:
                self._attribute(_span(value))
            elif number == _NODE_DOMAIN and (domain := self._text(value)) not in _DOMAINS:
                raise ValueError(f"has an operator of {domain!r}; only standard ones are run")
        if node.operator not in OPERATORS:
            raise ValueError(
                f"has the operator {node.operator!r}; a bundle has no control flow, no randomness,"
                " and nothing whose size depends on values (docs/bundle.md, Trust)"
            )
        return node

    def _attribute(self, span: Span) -> None:
        for number, value in self._message(span, "attribute"):
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(_span(value))

    def _tensor(self, span: Span) -> None:
        for number, value in self._message(span, "tensor"):
            if number == _TENSOR_LOCATION and value != 0:
                raise ValueError(f"has {_REFUSED['tensor'][13]}")

    def _message(self, span: Span, kind: str) -> Iterator[tuple[int, int | Span]]:
        """Yield each field of a message: its number, and its integer or its bytes' span."""
        refused = _REFUSED.get(kind, {})
        position, end = span
        while position < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise ValueError(f"has more than {_MAX_FIELDS:,} fields")
            tag, position = self._integer(position, end)
            number, wire_type = tag >> 3, tag & 7
            if number in refused:
                raise ValueError(f"has {refused[number]}")
            if wire_type == 0:
                value, position = self._integer(position, end)
                yield number, value
                continue
            length = {1: 8, 5: 4}.get(wire_type)
            if wire_type == 2:
                length, position = self._integer(position, end)
            if length is None or length > end - position or number == 0 or tag >= 2**32:
                raise ValueError("is not an ONNX file")
            yield number, (position, position + length)
            position += length

    def _integer(self, position: int, end: int) -> tuple[int, int]:
        """Return the integer of variable length at a position, and the position after it."""
        value = 0
        for index in range(position, min(end, position + 10)):
            byte = self._content[index]
            value |= (byte & 0x7F) << (7 * (index - position))
            if byte < 0x80:
                return value & (2**64 - 1), index + 1
        raise ValueError("is not an ONNX file")

    def _text(self, value: int | Span) -> str:
        start, end = _span(value)
        return self._content[start:end].decode()  # UnicodeDecodeError is a ValueError


def _span(value: int | Span) -> Span:
    if isinstance(value, int):
        raise ValueError("is not an ONNX file")
    return value


def _check_sizes(inputs: set[str], nodes: list[_Node]) -> None:
    """Raise ValueError if how large a tensor is depends on the values of the inputs."""
    users = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            users[name].append(node)
    depends, new = set(inputs), list(inputs)
    while new:
        for node in users.pop(new.pop(), ()):
            if node.operator not in _SHAPES:
                made = set(node.outputs) - depends - {""}  # "" is an output that is not wanted
                depends |= made
                new += made
    for node in nodes:
        for index in _SIZES.get(node.operator, ()):
            if index < len(node.inputs) and node.inputs[index] in depends:
                raise ValueError(
                    f"has the operator {node.operator!r} with a size that depends on the inputs'"
                    " values; it may depend on their shapes only"
                )
