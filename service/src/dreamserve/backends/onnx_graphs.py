"""The three small graphs that keep rows on onnxruntime's device: gather, scatter, and a look at
what is finite.

onnxruntime offers no such operations outside a graph, and the service does not depend on the
`onnx` package. So they are written here as the bytes that they are: protocol buffers, of which
these need varints and nested messages only. Field numbers are those of onnx.proto3.
"""

from collections.abc import Sequence

from dreamserve.backends.check import Shape

_IR_VERSION, _OPSET = 7, 12  # the last opset in which ReduceSum takes its axes as an attribute
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_INT_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 7  # AttributeProto.AttributeType


def gather_graph(shapes: Sequence[Shape]) -> bytes:
    """slab_i (N, *shape) for every shape, slots (B,) int64 → row_i (B, *shape)."""
    every = list(enumerate(shapes))
    return _model(
        nodes=[_node("Gather", [f"slab_{i}", "slots"], f"row_{i}") for i, _ in every],
        inputs=[
            *(_value(f"slab_{i}", _FLOAT, ("n", *shape)) for i, shape in every),
            _value("slots", _INT64, ("b",)),
        ],
        outputs=[_value(f"row_{i}", _FLOAT, ("b", *shape)) for i, shape in every],
    )


def scatter_graph(shapes: Sequence[Shape]) -> bytes:
    """slab_i (N, *shape) and row_i (B, *shape) for every shape, slots (B, 1) → kept_i, a slab."""
    every = list(enumerate(shapes))
    return _model(
        nodes=[
            _node("ScatterND", [f"slab_{i}", "slots", f"row_{i}"], f"kept_{i}") for i, _ in every
        ],
        inputs=[
            *(_value(f"slab_{i}", _FLOAT, ("n", *shape)) for i, shape in every),
            *(_value(f"row_{i}", _FLOAT, ("b", *shape)) for i, shape in every),
            _value("slots", _INT64, ("b", 1)),
        ],
        outputs=[_value(f"kept_{i}", _FLOAT, ("n", *shape)) for i, shape in every],
    )


def lost_graph(shapes: Sequence[Shape]) -> bytes:
    """row_i (B, *shape) for every shape → lost (B,): 0 where all is finite, else NaN."""
    nodes, sums = [], []
    for i, shape in enumerate(shapes):
        nodes.append(_node("Sub", [f"row_{i}", f"row_{i}"], f"zero_{i}"))  # or NaN
        axes = range(1, 1 + len(shape))
        nodes.append(_node("ReduceSum", [f"zero_{i}"], f"sum_{i}", axes) if shape else b"")
        sums.append(f"sum_{i}" if shape else f"zero_{i}")
    nodes.append(_node("Sum", sums, "lost"))
    return _model(
        nodes=[node for node in nodes if node],
        inputs=[_value(f"row_{i}", _FLOAT, ("b", *shape)) for i, shape in enumerate(shapes)],
        outputs=[_value("lost", _FLOAT, ("b",))],
    )


def _model(nodes: list[bytes], inputs: list[bytes], outputs: list[bytes]) -> bytes:
    graph = b"".join(
        [
            *(_message(1, node) for node in nodes),
            _text(2, "rows"),
            *(_message(11, value) for value in inputs),
            *(_message(12, value) for value in outputs),
        ]
    )
    return _number(1, _IR_VERSION) + _message(7, graph) + _message(8, _number(2, _OPSET))


def _node(kind: str, inputs: Sequence[str], output: str, axes: Sequence[int] = ()) -> bytes:
    parts = [*(_text(1, name) for name in inputs), _text(2, output), _text(4, kind)]
    if axes:
        numbers = b"".join(_number(8, axis) for axis in axes)
        parts.append(_message(5, _text(1, "axes") + numbers + _number(20, _INTS_ATTRIBUTE)))
        keep = _text(1, "keepdims") + _number(3, 0) + _number(20, _INT_ATTRIBUTE)
        parts.append(_message(5, keep))
    return b"".join(parts)


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    axes = b"".join(
        _message(1, _text(2, axis) if isinstance(axis, str) else _number(1, axis)) for axis in shape
    )
    tensor = _number(1, kind) + _message(2, axes)
    return _text(1, name) + _message(2, _message(1, tensor))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)
