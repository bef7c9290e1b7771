"""What an ONNX graph of a bundle may hold: checked in its bytes, before a library parses them.

Every operator is one that computes tensors from tensors. There is no control flow, no function, no
operator of another domain, no randomness and no data outside the file; how large a tensor is
depends on the inputs' shapes, never on their values (`sizes`); and integers are divided by
constants only (`division`). So a graph touches no file, a run of it ends, and it takes the same
memory and about the same time for all inputs of a batch size.
"""

from dreamserve.errors import BundleError
from dreamserve.graph_rules.division import check_division
from dreamserve.graph_rules.graph import Graph
from dreamserve.graph_rules.reader import read_graph
from dreamserve.graph_rules.sizes import check_sizes

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


def check_graph(content: bytes, where: str) -> None:
    """Raise BundleError, which starts with `where`, unless the ONNX file keeps the rules."""
    try:
        graph = read_graph(content)
        _check_operators(graph)
        _check_names(graph)
        check_sizes(graph)
        check_division(graph)
    except ValueError as error:
        raise BundleError(f"{where}: {error}") from None


def _check_operators(graph: Graph) -> None:
    for node in graph.nodes:
        for domain in node.domains:
            if domain not in _DOMAINS:
                raise ValueError(f"has an operator of {domain!r}; only standard ones are run")
        if node.operator not in OPERATORS:
            raise ValueError(
                f"has the operator {node.operator!r}; a bundle has no control flow, no randomness,"
                " and nothing whose size depends on values (docs/bundle.md, Trust)"
            )


def _check_names(graph: Graph) -> None:
    """Raise ValueError if a name has two meanings, of which a parser would choose one."""
    taken = graph.inputs.keys() | graph.constants.keys()  # an input's constant is its default
    for node in graph.nodes:
        for name in filter(None, node.outputs):  # "" is an output that is not wanted
            if name in taken:
                raise ValueError(f"computes {name!r} twice; a tensor has one origin")
            taken.add(name)
