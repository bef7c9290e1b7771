"""Arrays in the protocol: dtypes and shapes, validation, encoding and decoding.

JSON carries nested lists; msgpack carries those or `{"dtype", "shape", "data"}`. Both are validated
in the same way: numbers only (no bools), no ragged rows, within the dtype's range, finite. Frames,
which are arrays of uint8, may also be PNG files (`pictures`).
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve_protocol.errors import CallerError, InvalidRequestError, NotFiniteInputError
from dreamserve_protocol.pictures import (
    UNBOUNDED,
    PngBounds,
    files_of,
    frames_of,
    holds_png,
    is_mixed,
)

AnyArray = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

DTYPES = ("<f4", "<f8", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1")
MAX_AXES = 8
_JSON_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
_BASE64 = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
_PNG = {
    "type": "object",
    "properties": {"png": _BASE64},
    "required": ["png"],
    "additionalProperties": False,
}


class Form(NamedTuple):
    """A dtype and the names of the axes; None: any number of axes."""

    dtype: np.dtype[Any]
    axes: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.axes == ():
            return "an integer" if self.dtype.kind in "iu" else "a number"
        axes = ("...",) if self.axes is None else self.axes
        return (
            f"({axes[0]},) {self.dtype}" if len(axes) == 1 else f"({', '.join(axes)}) {self.dtype}"
        )

    def fits(self, axes: int) -> bool:
        """Return whether an array with this number of axes has this form."""
        return self.axes is None or len(self.axes) == axes

    @property
    def of_frames(self) -> bool:
        """Whether such arrays are frames."""
        return self.dtype == np.uint8

    def schema(self, nullable: bool) -> dict[str, Any]:
        """Return the JSON schema of its nested lists."""
        item: dict[str, Any] = {"type": _JSON_TYPES[self.dtype.kind]}
        if nullable:
            item = {"anyOf": [item, {"type": "null"}]}
        if self.axes is None:
            return {"anyOf": [item, {"type": "array", "items": {}}]}
        for number in range(1, 1 + len(self.axes)):
            item = {"type": "array", "items": item}
            if self.of_frames and number == 3:
                item = {"anyOf": [item, _PNG]}
        return item


class Array:
    """Mark a field as an array. `Array("int64 B", "float32 B A")` has two forms, by number of axes.

    Of two forms with the same axes, integers have that of integers, other numbers the other one.
    A form without axes is a single number; `*` stands for any number of axes. Floats must be finite
    and at most `most` in magnitude; with `finite=False` they are checked later, row by row.
    `nullable`: NaN is null in JSON. `error` is raised for an invalid array.
    """

    def __init__(
        self,
        *forms: str,
        finite: bool = True,
        most: float | None = None,
        nullable: bool = False,
        error: type[CallerError] = InvalidRequestError,
    ) -> None:
        self.forms = tuple(map(_form, forms))
        self._finite, self._most, self._nullable, self._error = finite, most, nullable, error
        self._one_integer = any(form == (np.dtype(np.int64), ()) for form in self.forms)
        self._of_frames = any(form.of_frames for form in self.forms)

    def __str__(self) -> str:
        return " or ".join(map(str, self.forms))

    def parse(self, value: Any, bounds: PngBounds = UNBOUNDED) -> Any:
        """Return the validated array; for a form without axes, an int or a float.

        Raises `error`, NotFiniteInputError for NaN, infinity and numbers beyond `most`, and
        TooLargeError for PNG files beyond `bounds`.
        """
        if self._one_integer and type(value) is int and -(2**63) <= value < 2**63:
            return value
        array = self._numbers(value, bounds)
        form = self._form_of(array)
        if form is None:
            raise self._misfit(array)
        return self._converted(array, form)

    def read(self, value: Any, keep_png: bool = False) -> Any:
        """Return the array in a response, as a copy; or, to `keep_png`, the bytes of PNG files."""
        if self._of_frames and holds_png(value):
            return files_of(value) if keep_png else frames_of(value, UNBOUNDED)
        array = unpack(value).copy() if isinstance(value, dict) else np.array(value)
        form = self._form_of(array) or self.forms[0]
        array = array.astype(form.dtype, copy=False)
        return array.item() if form.axes == () else array

    def _form_of(self, array: AnyArray) -> Form | None:
        fitting = None
        for form in self.forms:
            if form.fits(array.ndim):
                if (form.dtype.kind == "f") == (array.dtype.kind == "f"):
                    return form
                fitting = fitting or form
        return fitting

    def _numbers(self, value: Any, bounds: PngBounds) -> AnyArray:
        """Return the numbers as an array of any numeric dtype, whatever their encoding."""
        try:
            if self._of_frames and is_mixed(value):
                array: AnyArray = self._mixed(value, bounds)
            elif self._of_frames and holds_png(value):
                array = frames_of(value, bounds)
            else:
                array = self._plain(value)
        except InvalidRequestError as error:
            raise self._error(error.detail) from None
        if array.dtype.kind not in "fiu":
            limits = [np.iinfo(form.dtype) for form in self.forms if form.dtype.kind in "iu"]
            if limits and array.dtype.hasobject and all(type(one) is int for one in array.flat):
                raise self._beyond(limits[0])
            held = "numbers of at most 64 bits" if array.dtype.hasobject else "numbers"
            raise self._error(f"must hold {held}, not {array.dtype}")
        return array

    def _plain(self, value: Any) -> AnyArray:
        """Return the numbers of an array that is no PNG file. Raises InvalidRequestError."""
        if isinstance(value, dict):
            return unpack(value)
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value)
        return np.array(value) if type(value) in (int, float) else _from_lists(value, self)

    def _mixed(self, frames: Sequence[Any], bounds: PngBounds) -> AnyArray:
        """Return frames some of which are PNG files, as one array. Raises as `frames_of`."""
        files = iter(frames_of([one for one in frames if holds_png(one)], bounds))
        arrays = [next(files) if holds_png(one) else self._plain(one) for one in frames]
        if len(shapes := {array.shape for array in arrays}) > 1:
            raise InvalidRequestError(f"the frames differ in shape: {sorted(shapes)[:5]}")
        return np.stack(arrays)

    def _beyond(self, limits: np.iinfo[Any]) -> CallerError:
        return self._error(f"must hold integers from {limits.min} to {limits.max}")

    def _misfit(self, array: AnyArray) -> CallerError:
        shape = list(array.shape)
        return self._error(f"must be {self}, it has shape {shape} and dtype {array.dtype}")

    def _converted(self, array: AnyArray, form: Form) -> Any:
        if form.dtype.kind == "f":
            return self._floats(array, form.dtype)
        limits = np.iinfo(form.dtype)
        if array.dtype.kind == "f" and array.size:
            # JSON's integers of more than 64 bits come as float64
            wide = array.astype(np.float64, copy=False)
            beyond = (np.abs(wide) >= 2.0**63).any() and (wide == np.floor(wide)).all()
            raise self._beyond(limits) if beyond else self._misfit(array)
        if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
            raise self._beyond(limits)
        integers = np.ascontiguousarray(array, form.dtype).reshape(array.shape)
        return integers if form.axes != () else integers.item()

    def _floats(self, array: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
            floats = np.ascontiguousarray(array, dtype).reshape(array.shape)
        if not self._finite:
            return floats
        most = np.inf if self._most is None else self._most
        is_valid = np.isfinite(floats) & (np.abs(floats) <= most)
        if not is_valid.all():
            index = [int(i) for i in np.argwhere(~is_valid)[0]]
            within = "" if self._most is None else f" within {-self._most:g} and {self._most:g}"
            raise NotFiniteInputError(f"element {index} is not a finite {dtype} number{within}")
        return floats

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Let pydantic parse the field with `parse`."""
        from pydantic_core import core_schema

        if not self._of_frames:
            return core_schema.no_info_plain_validator_function(self.parse)
        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.parse(value, info.context or PngBounds())
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe the nested lists of JSON."""
        floats = {form.axes for form in self.forms if form.dtype.kind == "f"}
        forms = [  # in JSON an integer is a number
            form.schema(self._nullable)
            for form in self.forms
            if form.dtype.kind == "f" or form.axes not in floats
        ]
        described = forms[0] if len(forms) == 1 else {"anyOf": forms}
        return {**described, "description": f"{self}."}


def array_of(
    name: str,
    values: npt.ArrayLike,
    dtype: npt.DTypeLike | None = None,
    error: type[CallerError] = InvalidRequestError,
) -> AnyArray:
    """Return values of a caller as an array. Raises `error` for bools.

    numpy makes numbers of bools among numbers.
    """
    if _holds_bool(values):
        raise error(f"{name}: must hold numbers, not bool")
    return np.asarray(values, dtype)


def _holds_bool(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_holds_bool, values))
    return isinstance(values, bool) or getattr(values, "dtype", None) == np.bool_


def pack(array: AnyArray) -> dict[str, Any]:
    """Return an array in the msgpack encoding: little-endian bytes in C order."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": little.dtype.str, "shape": list(array.shape), "data": little.tobytes()}


def unpack(value: dict[Any, Any]) -> AnyArray:
    """Return a packed array as a read-only view of its bytes. Raises InvalidRequestError."""
    if value.keys() != {"dtype", "shape", "data"}:
        raise InvalidRequestError("a packed array has exactly the keys dtype, shape and data")
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if dtype not in DTYPES:
        raise InvalidRequestError(f"dtype must be one of {', '.join(DTYPES)}")
    if type(shape) is not list or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise InvalidRequestError("shape must be a list of sizes, each 0 to 2147483647")
    if len(shape) > MAX_AXES:
        raise InvalidRequestError(f"an array has at most {MAX_AXES} axes")
    if type(data) is not bytes:
        raise InvalidRequestError("data must be binary (msgpack bin); in JSON send nested lists")
    if len(data) != (expected := prod(shape) * np.dtype(dtype).itemsize):
        raise InvalidRequestError(
            f"data has {len(data)} bytes, dtype {dtype} and shape {shape} need {expected}"
        )
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError:  # no elements, but sizes beyond numpy's limits
        raise InvalidRequestError(f"no array has shape {shape}") from None


def _form(text: str) -> Form:
    dtype, *axes = text.split()
    return Form(np.dtype(dtype), None if axes == ["*"] else tuple(axes))


def _from_lists(value: Any, wanted: Array) -> AnyArray:
    if not isinstance(value, list | tuple):
        raise InvalidRequestError(f"must be {wanted}: numbers, nested lists of them, or packed")
    _check_elements(value)
    try:
        return np.array(value)
    except (ValueError, OverflowError):
        raise InvalidRequestError("rows differ in length; the array must be rectangular") from None


def _check_elements(value: Any, where: str = "", depth: int = 1) -> None:
    """Raise InvalidRequestError for elements that are not numbers, or for too many axes."""
    if depth > MAX_AXES:
        raise InvalidRequestError(f"an array has at most {MAX_AXES} axes")
    kinds = set(map(type, value))
    if kinds <= {int, float} or kinds == {np.ndarray}:  # arrays: the frames of a caller's list
        return
    nested = kinds <= {list, tuple}
    for i, item in enumerate(value):
        if nested:
            _check_elements(item, f"{where}[{i}]", depth + 1)
        elif type(item) not in (int, float) and not isinstance(item, np.integer | np.floating):
            what = "a list among numbers" if isinstance(item, list) else type(item).__name__
            raise InvalidRequestError(f"element {where}[{i}] is {what}, it must be a number")
