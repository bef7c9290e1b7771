"""Signatures and documentation: from a request of the protocol to the methods that send it."""

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from dreamserve_protocol.arrays import Array
from dreamserve_protocol.markers import Doc, Request
from dreamserve_protocol.verbs import BY_REQUEST

M = TypeVar("M", bound=Callable[..., Any])
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def describe(build: M, kind: type[Request[Any]], returns: Any) -> M:
    """Return `build` with the name, parameters and documentation of a request."""
    hints, marked = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(kind).parameters.items()
    ]
    lines = [f"{parameter.name}: {_text(marked[parameter.name])}" for parameter in parameters]
    verb = BY_REQUEST[kind]
    if errors := ", ".join(error.__name__ for error in verb.own_errors):
        lines += ["", f"Raises {errors}, and the errors of every request."]
    build.__name__ = verb.name
    build.__doc__ = "\n".join([inspect.cleandoc(kind.__doc__ or ""), "", *lines])
    build.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=returns)
    return build


def sent_by(method: M, build: Callable[..., Any], *, drop: int = 0) -> M:
    """Return `method` with the parameters of `build`, but for its first `drop` ones.

    Its name, summary and result are those of the call that `build` makes, unless the method has a
    docstring, and so its own.
    """
    signature = inspect.signature(build)
    names = list(signature.parameters)
    summary, *lines = inspect.cleandoc(build.__doc__ or "").splitlines()
    (result,) = get_args(signature.return_annotation)
    if method.__doc__ is None:
        method.__name__ = build.__name__
    else:
        summary, result = method.__doc__, inspect.signature(method).return_annotation
    dropped = tuple(f"{name}: " for name in names[:drop])
    described = [summary, *(line for line in lines if not line.startswith(dropped))]
    method.__doc__ = "\n".join(described).rstrip()
    parameters = [_SELF, *(signature.parameters[name] for name in names[drop:])]
    method.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=result)
    return method


def built_by(method: M, kind: Callable[..., Any]) -> M:
    """Return `method` with the parameters and the documentation of the object that it builds."""
    built = inspect.signature(kind)
    method.__doc__ = inspect.getdoc(kind)
    parameters = [_SELF, *built.parameters.values()]
    result = inspect.signature(method).return_annotation
    method.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=result)
    return method


def _text(hint: Any) -> str:
    """Return what the markers of a field say of it: an array's forms, then its description."""
    marks = list(_marks(hint))
    forms = [f"{mark}." for mark in marks if isinstance(mark, Array)]
    return " ".join([*forms, *(mark.text for mark in marks if isinstance(mark, Doc))])


def _marks(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from hint.__metadata__
        yield from _marks(hint.__origin__)
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _marks(part)
