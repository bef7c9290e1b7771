"""Give a client's method the name, signature and documentation of the call it sends."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

M = TypeVar("M", bound=Callable[..., Any])
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def documented(method: M, build: Callable[..., Any], *, drop: int = 0) -> M:
    """Return `method` as `build` describes it, without its first `drop` parameters."""
    signature = inspect.signature(build)
    parameters = [_SELF, *list(signature.parameters.values())[drop:]]
    (answer,) = get_args(signature.return_annotation)
    described = signature.replace(parameters=parameters, return_annotation=answer)
    method.__name__ = build.__name__
    method.__doc__ = build.__doc__
    method.__dict__["__signature__"] = described
    return method
