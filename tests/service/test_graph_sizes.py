"""How large a tensor of a graph is depends on shapes, never on values, in every version of ONNX."""

import onnx
import onnx.parser
import pytest

from dreamserve.errors import BundleError
from dreamserve.graph_rules import OPERATORS, check_graph
from dreamserve.graph_rules.sizes import SIZES


def content(nodes: str, opset: int = 18, constants: str = "") -> bytes:
    """Return a graph from x (b, 4) to y; n is an integer (1,) that depends on x."""
    text = f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        g (float[b,4] x) => (float y)
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[2] two = {{1,2}} {constants}>
        {{
            highest = ReduceMax<keepdims=0>(x)
            whole = Cast<to=7>(highest)
            n = Reshape(whole, one)
            {nodes}
        }}"""
    return onnx.parser.parse_model(text).SerializeToString()


SIZED_BY_VALUES = {
    "Slice": "y = Slice(x, zero, n)",
    "Slice, starts": "y = Slice(x, n, one)",
    "Slice, axes": "y = Slice(x, zero, one, n)",
    "Slice, steps": "y = Slice(x, zero, one, zero, n)",
    "Split": "y, z = Split<axis=1>(x, n)",
    "TopK": "y, z = TopK(x, n)",
    "Reshape": "y = Reshape(x, n)",
    "Squeeze": "y = Squeeze(x, n)",
    "Unsqueeze": "y = Unsqueeze(x, n)",
    "ReduceMean": "y = ReduceMean(x, n)",
    "ReduceSum": "y = ReduceSum(x, n)",
    "Resize, roi": 'y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, x, x)',
    "Pad, axes": "y = Pad(x, two, , n)",
}


@pytest.mark.parametrize("case", SIZED_BY_VALUES)
def test_no_input_that_shapes_a_tensor_may_depend_on_values(case: str) -> None:
    operator = case.partition(",")[0]
    with pytest.raises(BundleError, match=f"^step.onnx: has the operator '{operator}' with a size"):
        check_graph(content(SIZED_BY_VALUES[case]), "step.onnx")


def test_a_size_that_passes_through_the_shape_of_a_slice_is_found() -> None:
    nodes = """part = Slice(x, zero, n)
        m = Shape(part)
        y = ConstantOfShape(m)"""
    with pytest.raises(BundleError, match="'Slice' with a size that depends"):
        check_graph(content(nodes), "g")


@pytest.mark.parametrize(("operator", "opset"), [("Resize", 10), ("Upsample", 9)])
def test_the_scales_of_an_old_version_are_found(operator: str, opset: int) -> None:
    nodes = f"s = Cast<to=1>(n)\n y = {operator}(x, s)"
    with pytest.raises(BundleError, match=f"'{operator}' with a size that depends"):
        check_graph(content(nodes, opset), "g")


def test_sizes_of_constants_and_of_shapes_are_allowed() -> None:
    nodes = """s = Shape(x)
        b = Gather(s, zero)
        half = Slice(x, zero, b, zero, one)
        flat = Reshape(half, b)
        more = Unsqueeze(flat, one)
        y = ReduceSum(more, zero)"""
    check_graph(content(nodes), "g")


def test_an_input_with_a_value_in_the_file_is_a_constant() -> None:
    # Up to version 3 of its format, ONNX listed weights among the inputs.
    model = onnx.load_from_string(content("y = Reshape(x, two)"))
    two = onnx.helper.make_tensor_value_info("two", onnx.TensorProto.INT64, [2])
    model.graph.input.append(two)
    check_graph(model.SerializeToString(), "g")


def test_a_tensor_with_two_origins_is_refused() -> None:
    nodes = "s = Shape(x)\n s = Reshape(n, one)\n y = Expand(x, s)"
    with pytest.raises(BundleError, match="computes 's' twice"):
        check_graph(content(nodes), "g")


# Inputs of integers, or beside the data, that shape nothing: they are numbers, indices or lengths.
SHAPELESS = {
    ("CumProd", 1), ("CumSum", 1), ("GRU", 4), ("Gather", 1), ("GatherElements", 1),
    ("GatherND", 1), ("LSTM", 4), ("RNN", 4), ("ReverseSequence", 1), ("RotaryEmbedding", 3),
    ("Scatter", 1), ("ScatterElements", 1), ("ScatterND", 1), ("Trilu", 1), ("Attention", 6),
    ("And", 1), ("Or", 1), ("Xor", 1), ("Equal", 1), ("Where", 0), ("Attention", 3), ("Pow", 1),
    ("BitShift", 1), ("BitwiseAnd", 1), ("BitwiseOr", 1), ("BitwiseXor", 1),
}  # fmt: skip
QUANTISED = ("ConvInteger", "MatMulInteger", "QLinear", "QuantizeLinear", "DequantizeLinear")


def test_every_input_of_integers_in_any_version_of_an_operator_is_judged() -> None:
    unjudged = []
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain or schema.name not in OPERATORS or schema.name.startswith(QUANTISED):
            continue
        types = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        for index, given in enumerate(schema.inputs):
            allowed = types.get(given.type_str, [given.type_str])
            if index == 0 or given.type_str == schema.inputs[0].type_str:
                continue  # data
            if any("float" in kind for kind in allowed):
                continue
            known = index in SIZES.get(schema.name, ()) or (schema.name, index) in SHAPELESS
            if not known:
                unjudged.append((schema.name, schema.since_version, given.name))
    assert not unjudged
    assert SIZES["Resize"] == (1, 2, 3)  # floats: roi, scales
    assert SIZES["Upsample"] == (1,)
