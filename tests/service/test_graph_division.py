"""Integers are divided by constants other than 0 and -1 only: other quotients end the process."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dreamserve.errors import BundleError
from dreamserve.graph_rules import OPERATORS, check_graph
from dreamserve.graph_rules.division import FIRST_OUTPUT_ONLY, OTHER_TYPES, TYPE_OF

INTEGERS = "on integers; these are divided by constants of 32 or 64 bits other than 0 and -1, or by"


def parsed(nodes: str, constants: str = "int64 two = {2}") -> onnx.ModelProto:
    """Return a graph from floats x and integers n to y."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[b,4] x, int64[b] n) => (float y) <{constants}> {{ {nodes} }}"""
    return onnx.parser.parse_model(text)


def check(nodes: str, constants: str = "int64 two = {2}") -> None:
    check_graph(parsed(nodes, constants).SerializeToString(), "g")


REFUSED = {
    "by an input": ("y = Div(two, n)", "int64 two = {2}"),
    "the rest by an input": ("y = Mod(two, n)", "int64 two = {2}"),
    "by -1": ("y = Div(n, c)", "int64 c = {-1}"),
    "by 0": ("y = Div(n, c)", "int64 c = {0}"),
    "by -1 among others": ("y = Mod(n, c)", "int64[3] c = {3,-1,2}"),
    "32 bits by -1": ("m = Cast<to=6>(n)\n y = Div(m, c)", "int32 c = {-1}"),
    "8 bits": ("m = Cast<to=3>(n)\n y = Div(m, c)", "int8 c = {-1}"),
    "by a computed number": ("m = Neg(two)\n y = Div(n, m)", "int64 two = {2}"),
    "by what is computed of a size": ("s = Shape(x)\n t = Neg(s)\n y = Div(n, t)", ""),
    "by a size or -1": (
        "s = Shape(x)\n c = Concat<axis=0>(s, m)\n y = Div(n, c)",
        "int64[1] m = {-1}",
    ),
    "by a part of the input": ("m = Identity(n)\n y = Div(n, m)", ""),
    "by -1 of a node": ("c = Constant<value_int=-1>()\n y = Div(n, c)", ""),
    "by -1 of a list": ("c = Constant<value_ints=[2,-1]>()\n y = Div(n, c)", ""),
    "by -1 of a tensor": ("c = Constant<value = int64[1] {-1}>()\n y = Div(n, c)", ""),
    "of what floats became": ("m = Cast<to=7>(x)\n y = Div(two, m)", "int64 two = {2}"),
    "of indices": ("v, i = TopK(x, one)\n y = Div(two, i)", "int64 two = {2}, int64[1] one = {1}"),
    "of a choice": (
        "b = Greater(x, x)\n m = Where(b, two, n)\n y = Div(two, m)",
        "int64 two = {2}",
    ),
    "of a constant of integers": (
        "s = Shape(x)\n c = ConstantOfShape<value = int64[1] {-1}>(s)\n y = Div(n, c)",
        "",
    ),
    "without a divisor": ("y = Div(n)", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_division_of_integers_that_may_trap_is_refused(case: str) -> None:
    nodes, constants = REFUSED[case]
    with pytest.raises(BundleError, match=rf"^g: has the operator '(Div|Mod)' {INTEGERS}"):
        check(nodes, constants)


ALLOWED = {
    "by 2": "y = Div(n, two)",
    "by a node's 2": "c = Constant<value_int=2>()\n y = Mod(n, c)",
    "by a node's list": "c = Constant<value_ints=[2,-3]>()\n y = Mod(n, c)",
    "by a node's tensor": """m = Cast<to=6>(n)
        c = Constant<value = int32[2] {2,-3}>()
        y = Div(m, c)""",
    "by a size": "s = Shape(x)\n b = Gather(s, two)\n u = Unsqueeze(b, one)\n y = Mod(n, u)",
    "by sizes": "s = Size(x)\n u = Reshape(s, one)\n c = Concat<axis=0>(u, one)\n y = Div(n, c)",
    "floats by floats": "y = Div(x, x)",
    "converted integers": "m = Cast<to=1>(n)\n y = Div(m, m)",
    "half precision": "m = Cast<to=10>(n)\n y = Div(m, m)",
    "floats of many operators": """e = Exp(x)
        t = Transpose(e)
        v, i = TopK(t, one)
        b = Greater(v, v)
        w = Where(b, v, v)
        y = Div(w, w)""",
    "by a float": "s = Sub(three, three)\n c = CastLike(n, s)\n y = Div(c, s)",
    "by a constant of floats": "s = Shape(x)\n c = ConstantOfShape(s)\n y = Div(c, c)",
    "of halves": "c = Constant<value_float=0.5>()\n y = Div(c, c)",
}


@pytest.mark.parametrize("case", ALLOWED)
def test_other_divisions_are_allowed(case: str) -> None:
    check(ALLOWED[case], "int64 two = {2}, int64[1] one = {1}, float three = {3}")


def with_divisor(*divisors: onnx.TensorProto) -> bytes:
    model = parsed("y = Div(n, c)", "")
    model.graph.initializer.extend(divisors)
    return model.SerializeToString()


def divisor(value: Any, name: str = "c") -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def test_a_divisor_is_read_in_all_forms_in_which_a_file_may_hold_it() -> None:
    for kind in (TensorProto.INT32, TensorProto.INT64):
        check_graph(with_divisor(helper.make_tensor("c", kind, [3], [1, 2, 3])), "g")
        with pytest.raises(BundleError, match=INTEGERS):
            check_graph(with_divisor(helper.make_tensor("c", kind, [3], [1, -1, 3])), "g")
    for value in (np.int32(5), np.int64([5, 7])):
        check_graph(with_divisor(divisor(value)), "g")
    for value in (np.int32(-1), np.int64([5, 0])):
        with pytest.raises(BundleError, match=INTEGERS):
            check_graph(with_divisor(divisor(value)), "g")


@pytest.mark.parametrize("value", [np.full(5000, 2), np.zeros(0, np.int64), np.array(2, np.uint64)])
def test_a_divisor_whose_integers_are_not_known_is_refused(value: Any) -> None:
    with pytest.raises(BundleError, match=INTEGERS):
        check_graph(with_divisor(divisor(value)), "g")


def test_a_divisor_that_the_file_holds_twice_is_all_of_them() -> None:
    for other in (np.array(-1), np.full(5000, 2), np.array(2, np.uint64)):
        for pair in ((divisor(2), divisor(other)), (divisor(other), divisor(2))):
            with pytest.raises(BundleError, match=INTEGERS):
                check_graph(with_divisor(*pair), "g")


def test_an_element_type_that_is_given_twice_counts_as_both() -> None:
    floats, integers = parsed("y = Div(x, x)"), parsed("y = Div(x, x)")
    check_graph(floats.SerializeToString(), "g")
    integers.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    integers.graph.ClearField("node")  # parsers merge the graphs of a file
    for parts in ((floats, integers), (integers, floats)):
        with pytest.raises(BundleError, match=INTEGERS):
            check_graph(b"".join(part.SerializeToString() for part in parts), "g")


class Shapes(nn.Module):
    """Divides integers as models do."""

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        row, column = action // 3, action % 3
        count = torch.div(action, 2, rounding_mode="floor") + latent.shape[0] // 2
        return latent / (row + column + count + 1.0)[:, None] + latent % 2.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*axis name:UserWarning")
@pytest.mark.parametrize("dynamo", [True, False])
def test_divisions_that_torch_exports_are_allowed(tmp_path: Path, dynamo: bool) -> None:
    batch = {0: torch.export.Dim("batch")}
    axes: dict[str, Any] = {"dynamic_axes": {"latent": {0: "b"}, "action": {0: "b"}}}
    given = (torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    torch.onnx.export(
        Shapes().eval(),
        given,
        tmp_path / "g.onnx",
        dynamo=dynamo,
        opset_version=18,
        input_names=["latent", "action"],
        verbose=False,
        **({"dynamic_shapes": (batch, batch)} if dynamo else axes),
    )
    content = (tmp_path / "g.onnx").read_bytes()
    kinds = {one.op_type for one in onnx.load_from_string(content).graph.node}
    assert kinds >= {"Div", "Mod"}
    check_graph(content, "g")


def test_the_type_of_an_output_is_that_of_the_input_that_the_rule_names() -> None:
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain or schema.name not in OPERATORS - OTHER_TYPES:
            continue
        types = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        source = schema.inputs[min(TYPE_OF.get(schema.name, 0), len(schema.inputs) - 1)].type_str
        last = 1 if schema.name in FIRST_OUTPUT_ONLY else None
        for output in schema.outputs[:last]:
            allowed = types.get(output.type_str, [output.type_str])
            floats = all("float" in kind or "double" in kind for kind in allowed)
            assert floats or output.type_str == source, (
                schema.name,
                schema.since_version,
                output.name,
            )
