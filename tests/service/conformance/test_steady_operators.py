"""Which operators onnxruntime computes alike for a row alone and among others: the docs' advice."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dreamserve.backends.onnx_session import open_session

BY_PLACE = {
    **dict.fromkeys(("Log", "Softplus", "Elu", "Selu", "Celu", "Mish", "Sin", "Cos", "Atan"), None),
    **{name: [1] for name in ("ReduceSum", "ReduceMean")},
}
STEADY = ("Exp", "Tanh", "Sigmoid", "Erf", "Gelu", "Sqrt", "Softmax")
ROWS = 33


def graph(operator: str, width: int, axes: list[int] | None = None) -> ort.InferenceSession:
    inputs, weights = ["x"], []
    if axes is not None:
        inputs.append("axes")
        weights = [numpy_helper.from_array(np.array(axes, np.int64), "axes")]
    if operator == "MatMul":
        inputs.append("ones")
        weights = [numpy_helper.from_array(np.ones((width, 1), np.float32), "ones")]
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", width])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, inputs, ["y"])
    made = helper.make_graph([node], "g", [shape], [output], weights)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString()
    return open_session(model, 1, "cpu", 2**20)


def is_steady(session: Any, width: int) -> bool:
    rows = np.abs(np.random.default_rng(0).standard_normal((ROWS, width), np.float32)) + 0.1
    (whole,) = session.run(None, {"x": rows})
    for size in (1, 2, 3, 7, 16):
        for first in range(ROWS - size + 1):
            (part,) = session.run(None, {"x": rows[first : first + size].copy()})
            if part.tobytes() != whole[first : first + size].tobytes():
                return False
    return True


@pytest.mark.parametrize("operator", STEADY)
def test_these_are_steady_at_any_width(operator: str) -> None:
    assert all(is_steady(graph(operator, width), width) for width in (1, 3, 5, 7, 8, 30, 64))


@pytest.mark.parametrize("operator", BY_PLACE)
def test_these_are_steady_where_a_row_is_a_multiple_of_eight_numbers(operator: str) -> None:
    axes = BY_PLACE[operator]
    assert all(is_steady(graph(operator, width, axes), width) for width in (8, 16, 24, 64, 512))


def test_a_sum_by_a_product_with_ones_is_steady() -> None:
    assert all(is_steady(graph("MatMul", width), width) for width in (3, 5, 8, 30, 255))
