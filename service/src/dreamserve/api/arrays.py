"""Arrays on the wire, as pydantic field types that end as numpy arrays of one dtype.

JSON carries nested lists; msgpack carries those or `{"dtype", "shape", "data"}`. Both go through
the same checks: numbers only (a bool is not one), no ragged rows, finite, in the dtype's range.
"""

from collections.abc import Callable
from math import prod
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Array = npt.NDArray[Any]
Parse = Callable[[Any], Any]

DTYPES = ("<f4", "<f8", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1")


class PackedArray(BaseModel):
    """An array as `application/msgpack` carries it; the bytes are little-endian, C order."""

    model_config = ConfigDict(extra="forbid")

    dtype: str = Field(description="NumPy's array-protocol string.", examples=["<f4", "|u1"])
    shape: list[int]
    data: bytes = Field(description="The elements' bytes, msgpack type bin.")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("array", "{message}", {"message": message})


def _check_numbers(value: list[Any], where: str = "") -> None:
    kinds = set(map(type, value))
    if kinds <= {int, float}:
        return
    for i, item in enumerate(value):
        if kinds == {list}:
            _check_numbers(item, f"{where}[{i}]")
        elif type(item) not in (int, float):
            what = "a list among numbers" if type(item) is list else type(item).__name__
            raise _wrong(f"element {where}[{i}] is {what}, it must be a number")


def _unpack(value: dict[Any, Any]) -> Array:
    if value.keys() != {"dtype", "shape", "data"}:
        raise _wrong("a packed array has exactly the keys dtype, shape and data")
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if dtype not in DTYPES:
        raise _wrong(f"dtype must be one of {', '.join(DTYPES)}")
    if type(shape) is not list or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise _wrong("shape must be a list of sizes")
    if type(data) is not bytes:
        raise _wrong("data must be binary (msgpack type bin); in JSON send nested lists")
    if len(data) != (expected := prod(shape) * np.dtype(dtype).itemsize):
        raise _wrong(f"data has {len(data)} bytes, dtype {dtype} and shape {shape} need {expected}")
    if len(shape) > 8:
        raise _wrong("an array has at most 8 axes")
    return np.frombuffer(data, dtype).reshape(shape)


def _numbers(value: Any) -> Array:
    """Return the numbers of either form, in whatever numeric dtype they come."""
    if isinstance(value, dict):
        return _unpack(value)
    if type(value) is not list:
        raise _wrong("must be a list of numbers, or a packed array in msgpack")
    _check_numbers(value)
    try:
        array = np.array(value)
    except ValueError:
        raise _wrong("rows have different lengths; the array must be rectangular") from None
    if array.dtype.kind not in "fiu":
        raise _wrong("holds an integer that no dtype can hold")
    return array


def _require_axes(array: Array, axes: int, meaning: str) -> None:
    if array.ndim != axes:
        raise _wrong(f"must have {axes} axes {meaning}, it has shape {list(array.shape)}")


def _as_float32(array: Array) -> Array:
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(floats).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(floats))[0]]
        raise PydanticCustomError(
            "not_finite", "element {index} is not a finite float32 number", {"index": index}
        )
    return floats


def _as_integers(array: Array, dtype: npt.DTypeLike) -> Array:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        raise _wrong("must hold integers")
    if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        raise _wrong(f"must hold integers from {limits.min} to {limits.max}")
    return np.ascontiguousarray(array, dtype=dtype)


def _latent(value: Any) -> Array:
    array = _numbers(value)
    _require_axes(array, 1, "(Z,)")
    return _as_float32(array)


def _tensor(value: Any) -> Array:
    array = np.array(value) if type(value) in (int, float) else _numbers(value)
    return _as_float32(array).reshape(array.shape)  # a tensor may have no axes at all


def _frames(value: Any) -> Array:
    array = _numbers(value)
    _require_axes(array, 4, "(F, H, W, C)")
    if len(array) == 0:
        raise _wrong("must hold at least one frame")
    return _as_integers(array, np.uint8)


def _observation(value: Any) -> Array:
    array = _numbers(value)
    if array.ndim == 3:
        return _as_integers(array, np.uint8)
    if array.ndim == 1:
        return _as_float32(array)
    raise _wrong(f"must be a frame (H, W, C) or a latent (Z,), it has shape {list(array.shape)}")


def _action(value: Any) -> int | Array:
    if type(value) is int:
        return value
    if isinstance(value, list | dict):
        array = _numbers(value)
        _require_axes(array, 1, "(A,)")
        return _as_float32(array)
    raise _wrong("must be an integer in a Discrete world, a list of A numbers in a Box world")


def _actions(value: Any) -> Array:
    array = _numbers(value)
    if array.ndim == 1 and (array.size == 0 or array.dtype.kind in "iu"):
        return _as_integers(array.astype(np.int64) if array.size == 0 else array, np.int64)
    if array.ndim == 2:
        return _as_float32(array)
    raise _wrong("must be integers (H,) in a Discrete world, numbers (H, A) in a Box world")


def _integer_rows(value: Any) -> Array:
    array = _numbers(value)
    _require_axes(array, 1, "(B,)")
    return _as_integers(array, np.int64)


def _float_rows(array: Array) -> Array:
    """Return float32 rows, NaN and infinity among them: a row's own error, not the batch's."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _number_rows(value: Any) -> Array:
    array = _numbers(value)
    _require_axes(array, 1, "(B,)")
    return _float_rows(array)


def _latent_rows(value: Any) -> Array:
    array = _numbers(value)
    _require_axes(array, 2, "(B, Z)")
    return _float_rows(array)


def _action_rows(value: Any) -> Array:
    array = _numbers(value)
    if array.ndim == 1 and array.dtype.kind in "iu":
        return _as_integers(array, np.int64)
    if array.ndim == 2:
        return _float_rows(array)
    raise _wrong("must be integers (B,) in a Discrete world, numbers (B, A) in a Box world")


def _weights(value: Any) -> Array:
    array = _numbers(value)
    if array.ndim not in (2, 3) or not len(array):
        raise _wrong(f"must be (A, F) or (P, A, F), it has shape {list(array.shape)}")
    return _float_rows(array)


def _bias(value: Any) -> Array:
    array = _numbers(value)
    if array.ndim not in (1, 2):
        raise _wrong(f"must be (A,) or (P, A), it has shape {list(array.shape)}")
    return _float_rows(array)


NUMBER, INTEGER, BOOLEAN, ANYTHING = (
    core_schema.float_schema(),
    core_schema.int_schema(),
    core_schema.bool_schema(),
    core_schema.any_schema(),
)
NUMBER_OR_NULL = core_schema.nullable_schema(NUMBER)


def nested(item: CoreSchema, axes: int) -> CoreSchema:
    """Return the form of lists nested `axes` deep around `item`."""
    return core_schema.list_schema(nested(item, axes - 1)) if axes else item


class ArrayField:
    """How a field is parsed, and the forms it has in the OpenAPI document besides PackedArray."""

    def __init__(self, parse: Parse, *forms: CoreSchema) -> None:
        self.parse, self.forms = parse, forms

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        forms = core_schema.union_schema([*self.forms, handler.generate_schema(PackedArray)])
        return core_schema.no_info_plain_validator_function(
            self.parse, json_schema_input_schema=forms
        )


Tensor = Annotated[Array, ArrayField(_tensor, NUMBER, nested(ANYTHING, 1))]
Latent = Annotated[Array, ArrayField(_latent, nested(NUMBER, 1))]
Frames = Annotated[Array, ArrayField(_frames, nested(INTEGER, 4))]
Observation = Annotated[Array, ArrayField(_observation, nested(NUMBER, 1), nested(INTEGER, 3))]
Action = Annotated[int | Array, ArrayField(_action, INTEGER, nested(NUMBER, 1))]
Actions = Annotated[Array, ArrayField(_actions, nested(INTEGER, 1), nested(NUMBER, 2))]
IntegerRows = Annotated[Array, ArrayField(_integer_rows, nested(INTEGER, 1))]
NumberRows = Annotated[Array, ArrayField(_number_rows, nested(NUMBER, 1))]
LatentRows = Annotated[Array, ArrayField(_latent_rows, nested(NUMBER, 2))]
ActionRows = Annotated[Array, ArrayField(_action_rows, nested(INTEGER, 1), nested(NUMBER, 2))]
# A policy that holds NaN loses its own episodes, not the others': it may pass here.
Weights = Annotated[Array, ArrayField(_weights, nested(NUMBER, 2), nested(NUMBER, 3))]
Bias = Annotated[Array, ArrayField(_bias, nested(NUMBER, 1), nested(NUMBER, 2))]
