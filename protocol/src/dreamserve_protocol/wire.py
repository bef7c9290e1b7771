"""Conversion of messages to dicts of fields and back, for any encoding."""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from dreamserve_protocol.arrays import Array, pack
from dreamserve_protocol.pictures import as_png

T = TypeVar("T")
Read = Callable[[Any], Any]


def fields_of(message: Any) -> dict[str, Any]:
    """Return a message's fields by name, without optional fields that are None.

    Nested messages are not converted: the encoder calls this function for them.
    """
    kind: type = type(message)
    names, values = _getter(kind)
    pairs, required = zip(names, values(message), strict=True), _required(kind)
    return {name: value for name, value in pairs if value is not None or name in required}


def with_png(message: Any) -> dict[str, Any]:
    """Return a result's fields with its frames as PNG files, those of its parts, too."""
    return {name: _as_png(value) for name, value in fields_of(message).items()}


def _as_png(value: Any) -> Any:
    return with_png(value) if is_dataclass(value) else as_png(value)


@cache
def _getter(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of a dataclass's fields, and a function that returns all their values."""
    names = tuple(field.name for field in fields(kind))
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda message: tuple(getattr(message, name) for name in names)


@cache
def _required(kind: type) -> frozenset[str]:
    """Return the names of the fields that have no default."""
    return frozenset(field.name for field in fields(kind) if field.default is field.default_factory)


def packed_form(value: Any) -> Any:
    """Return an array in its packed form, and a message as a dict of its fields.

    This is what an encoder of msgpack calls for types that it does not know. Raises TypeError.
    """
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value):
        return fields_of(value)
    raise TypeError(f"{type(value).__name__} has no msgpack form")


def read(kind: type[T], body: Mapping[str, Any], keep_png: bool = False) -> T:
    """Return the message in a response, with numpy arrays; to `keep_png`, frames are files' bytes.

    Unknown fields are ignored, so an older client can use a newer server. Raises KeyError for a
    missing field, and ValueError or TypeError for an invalid one.
    """
    named: type = kind
    try:
        message: T = _reader(named, keep_png)(body)
    except AttributeError as error:  # a value that should be an object is not one
        raise TypeError(str(error)) from error
    return message


@cache
def _reader(kind: type, keep_png: bool) -> Read:
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: _part(hints[field.name], keep_png) for field in fields(kind)}
    required = _required(kind)

    def read_fields(body: Mapping[str, Any]) -> Any:
        if missing := required - body.keys():
            raise KeyError(sorted(missing)[0])
        return kind(**{name: part(body[name]) for name, part in known.items() if name in body})

    return read_fields


def _part(hint: Any, keep_png: bool) -> Read:
    """Return a function that reads one part of a response, by its annotation."""
    origin = get_origin(hint)
    if origin is Annotated:
        marked = next((mark for mark in hint.__metadata__ if isinstance(mark, Array)), None)
        if marked is None:
            return _part(hint.__origin__, keep_png)
        return partial(marked.read, keep_png=True) if keep_png else marked.read
    if origin in (Union, types.UnionType):
        inner = [_part(one, keep_png) for one in get_args(hint) if one is not type(None)]
        return lambda value: None if value is None else inner[0](value)
    if origin is dict:
        of_value = _part(get_args(hint)[1], keep_png)
        return lambda value: {name: of_value(one) for name, one in value.items()}
    if origin in (list, Sequence):
        of_item = _part(get_args(hint)[0], keep_png)
        if of_item is _as_is:
            return list
        return lambda value: [of_item(one) for one in value]
    if is_dataclass(hint) and isinstance(hint, type):
        return _reader(hint, keep_png)
    return _as_is


def _as_is(value: Any) -> Any:
    return value
