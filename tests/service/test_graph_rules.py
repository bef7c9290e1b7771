"""An ONNX graph holds nothing but a plain computation, or the bundle is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dreamserve.bundle import load_bundle
from dreamserve.errors import BundleError
from dreamserve.graph_rules import OPERATORS, check_graph, reader

TAKECOVER = Path(__file__).parents[2] / "bundles" / "takecover"


def constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def model(
    *nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = (), **fields: Any
) -> onnx.ModelProto:
    """Return a model from x (b, 4) float32 to y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes or [node("Exp", "x")], "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **fields)


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [out], **attributes)


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../weights")
    return tensor


def without_location(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor = external(tensor)
    tensor.data_location = TensorProto.DEFAULT
    return tensor


def in_memory(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def inner(*constants: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([node("Exp", "x", out="z")], "inner", [], [], constants)


def sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(constant("s", np.ones(1)), constant("i", np.ones(1)), [10])


def with_function() -> onnx.ModelProto:
    opset = helper.make_opsetid("", 18)
    function = helper.make_function("", "Exp", ["x"], ["y"], [node("Exp", "x")], [opset])
    return model(functions=[function])


def with_sparse() -> onnx.ModelProto:
    made = model()
    made.graph.sparse_initializer.append(sparse())
    return made


def with_training() -> onnx.ModelProto:
    made = model()
    made.training_info.add()
    return made


EXTERNAL = "has external data; save all weights inside the .onnx file"
FAULTS = {
    "external weights": (lambda: model(constants=(external(constant("w", 1.0)),)), EXTERNAL),
    "a location of weights": (
        lambda: model(constants=(without_location(constant("w", 1.0)),)),
        EXTERNAL,
    ),
    "weights in memory": (lambda: model(constants=(in_memory(constant("w", 1.0)),)), EXTERNAL),
    "an external constant": (
        lambda: model(node("Constant", value=external(constant("w", 1.0)))),
        EXTERNAL,
    ),
    "external constants": (
        lambda: model(node("Exp", "x", values=[external(constant("w", 1.0))])),
        EXTERNAL,
    ),
    "a loop": (
        lambda: model(node("Loop", "n", "", "x", body=inner()), constants=(constant("n", 2**62),)),
        "has a graph inside a node",
    ),
    "a loop without a body": (lambda: model(node("Loop", "x")), "has the operator 'Loop'"),
    "a branch": (
        lambda: model(node("If", "x", then_branch=inner(), else_branch=inner())),
        "has a graph inside a node",
    ),
    "graphs of an attribute": (
        lambda: model(node("Exp", "x", graphs=[inner()])),
        "has a graph inside a node",
    ),
    "a function": (with_function, "has functions of its own"),
    "another domain": (
        lambda: model(node("FusedMatMul", "x", "x", domain="com.microsoft")),
        "has an operator of 'com.microsoft'; only standard ones",
    ),
    "randomness": (lambda: model(node("RandomNormalLike", "x")), "the operator 'RandomNormalLike'"),
    "text": (lambda: model(node("StringConcat", "x", "x")), "has the operator 'StringConcat'"),
    "a file": (lambda: model(node("ImageDecoder", "x")), "has the operator 'ImageDecoder'"),
    "values that decide a size": (lambda: model(node("NonZero", "x")), "the operator 'NonZero'"),
    "no operator": (lambda: model(onnx.NodeProto(output=["y"])), "has the operator ''"),
    "an escape": (lambda: model(node("\x1b[2J", "x")), r"has the operator '\\x1b[2J'"),
    "sparse weights": (with_sparse, "has sparse tensors"),
    "a sparse constant": (
        lambda: model(node("Constant", sparse_value=sparse())),
        "has sparse tensors",
    ),
    "training": (with_training, "has training information"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_that_is_no_plain_computation_is_refused(fault: str) -> None:
    make, message = FAULTS[fault]
    with pytest.raises(BundleError) as refused:
        check_graph(make().SerializeToString(), "step.onnx")
    assert str(refused.value).startswith("step.onnx: has ")
    assert message.replace("\\\\", "\\") in str(refused.value)


def test_loading_checks_every_graph(tiny_bundle: Path, rewrite: Callable[..., Path]) -> None:
    for name in ("encode", "step", "decode"):
        path = tiny_bundle / f"{name}.onnx"
        before = path.read_bytes()
        path.write_bytes(with_function().SerializeToString())
        with pytest.raises(BundleError, match=f"{name}.onnx: has functions of its own"):
            load_bundle(rewrite(tiny_bundle))
        path.write_bytes(before)


SIZED = {
    "Expand": ("x", "s"),
    "Tile": ("x", "s"),
    "ConstantOfShape": ("s",),
    "Range": ("c", "s", "c"),
    "Resize": ("x", "", "", "s"),
    "Pad": ("x", "s"),
    "OneHot": ("x", "s", "c"),
    "CenterCropPad": ("x", "s"),
}


@pytest.mark.parametrize("operator", SIZED)
def test_a_size_may_depend_on_shapes_but_not_on_values(operator: str) -> None:
    sized = node(operator, *SIZED[operator])
    to_size = (node("Gather", "r", "c", out="g"), node("Unsqueeze", "g", "c", out="s"))
    of_shape = node("Shape", "x", out="r")
    of_value = node("Cast", "x", out="r", to=TensorProto.INT64)
    constants = (constant("c", np.array(0)),)
    check_graph(model(of_shape, *to_size, sized, constants=constants).SerializeToString(), "g")
    for nodes in ((of_value, *to_size, sized), (sized, *reversed(to_size), of_value)):
        content = model(*nodes, constants=constants).SerializeToString()
        with pytest.raises(BundleError, match=f"'{operator}' with a size that depends on the inp"):
            check_graph(content, "g")


def test_a_field_that_occurs_twice_is_checked_each_time() -> None:
    valid, loop = model().SerializeToString(), model(node("Loop", "x")).SerializeToString()
    for content in (valid + loop, loop + valid):  # protobuf merges the two graphs
        with pytest.raises(BundleError, match="has the operator 'Loop'"):
            check_graph(content, "g")
    twice = model()
    encoded = twice.graph.node[0].SerializeToString()
    operator = encoded.index(b"\x22\x03Exp")
    for order in (b"\x22\x04Loop\x22\x03Exp", b"\x22\x03Exp\x22\x04Loop"):
        changed = encoded[:operator] + order + encoded[operator + 5 :]
        graph = b"\x0a" + bytes([len(changed)]) + changed
        with pytest.raises(BundleError, match="has a node with two operators"):
            check_graph(b"\x3a" + bytes([len(graph)]) + graph, "g")


def test_numbers_written_longer_than_need_be_mean_the_same() -> None:
    node_ = b"\xa2\x80\x00\x04Loop"  # field 4 of a node in three bytes
    graph = b"\x8a\x00" + bytes([len(node_)]) + node_
    with pytest.raises(BundleError, match="has the operator 'Loop'"):
        check_graph(b"\x3a" + bytes([len(graph)]) + graph, "g")


def test_a_file_of_very_many_fields_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_FIELDS", 100)
    with pytest.raises(BundleError, match="has more than 100 fields"):
        check_graph(b"\x08\x0a" * 101, "g")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_passes_only_if_all_its_operators_are_allowed(data: st.DataObject) -> None:
    content = bytearray(model(node("Exp", "x", out="z"), node("Loop", "z")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_graph(bytes(content), "g")
    except BundleError:
        return
    try:
        parsed = onnx.load_from_string(bytes(content))
    except Exception:  # the parser refuses it: it does no harm
        return
    assert {one.op_type for one in parsed.graph.node} <= OPERATORS


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_checked_or_refused(content: bytes) -> None:
    try:
        check_graph(content, "g")
    except BundleError:
        return
    try:
        parsed = onnx.load_from_string(content)
    except Exception:  # the parser refuses it
        return
    assert not parsed.functions


def test_every_allowed_operator_is_a_standard_one_without_graphs() -> None:
    newest = {
        schema.name: schema
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == ""
    }
    assert newest.keys() >= OPERATORS
    graphs = (onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS)
    for name in OPERATORS:
        kinds = {one.type for one in newest[name].attributes.values()}
        assert kinds.isdisjoint(graphs), name


@pytest.mark.parametrize("graph", ["encode", "step", "decode"])
def test_the_graphs_of_takecover_keep_the_rules(graph: str) -> None:
    check_graph((TAKECOVER / f"{graph}.onnx").read_bytes(), graph)
