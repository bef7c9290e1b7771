"""Options of the command line, made from the settings that they override."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from dreamserve.errors import SettingsError
from dreamserve.settings import Settings, option

DEFAULT_BUNDLE = Path("bundles/takecover")
Bundles = list[Path]
Command = Callable[..., None]


def takes_settings(*names: str, bundles: bool = True) -> Callable[[Command], Callable[..., None]]:
    """Give a command the argument BUNDLE..., if it takes `bundles`, and options for these settings.

    The command gets the bundles and the options that were used, by the settings' names.
    """

    def decorate(command: Command) -> Callable[..., None]:
        def with_options(**options: Any) -> None:
            paths = [options.pop("bundles") or []] if bundles else []
            command(*paths, {name: one for name, one in options.items() if one is not None})

        with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
        with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # PEP 362
            [
                *([_parameter("bundles", Bundles, _bundles())] if bundles else []),
                *map(_option, names),
            ]
        )
        return with_options

    return decorate


def bundles_or_default(bundles: Bundles) -> Bundles:
    """Return the bundles named, or the default one. Raises SettingsError if it is not here."""
    if not bundles and not DEFAULT_BUNDLE.is_dir():
        raise SettingsError(
            f"no {DEFAULT_BUNDLE} here; name the world to serve: dreamserve serve PATH/TO/BUNDLE"
        )
    return bundles or [DEFAULT_BUNDLE]


def _bundles() -> Any:
    return typer.Argument(help=f"Folders of worlds. Default: {DEFAULT_BUNDLE}.", metavar="BUNDLE")


def _option(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    kind = str if get_origin(field.annotation) is Literal else field.annotation
    description = (field.description or "").removesuffix(".")
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    shown = "none" if default == "" else default
    if isinstance(field.default, bool):
        shown = "on" if field.default else "off"
    text = f"{description} (default {shown})."
    # A flag turns on what is off by default.
    return _parameter(name, kind, typer.Option(option(name), help=text))


def _parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=Annotated[kind | None, info])
