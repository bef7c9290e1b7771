"""What a product was made of, written beside it, and compared before a run goes on.

A record is a JSON file. `settings` and `data` must not change; `grows` may have more entries;
`budget` is how long to work and may change; `versions` are logged when they differ.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dreamserve_training.files import atomic_write
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.runs.options import PLACE

logger = logging.getLogger("dreamserve_training")
PACKAGES = ("dreamserve-training", "torch", "lightning", "cma", "numpy")
LISTED = 5  # differences in a message


def installed(package: str) -> str:
    """Return the version of an installed package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _versions() -> dict[str, str]:
    return {package: installed(package) for package in PACKAGES}


@dataclass(frozen=True)
class Record:
    """What a product is made of; every value is anything that `describe` takes."""

    product: str
    settings: Mapping[str, Any]
    budget: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    grows: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=_versions)


def describe(value: Any) -> Any:
    """Return `value` as JSON: dataclasses by name and fields, functions by their full name.

    Fields that say where a run computes (`options.PLACE`) are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        inner = {
            each.name: describe(getattr(value, each.name))
            for each in fields(value)
            if each.metadata != PLACE
        }
        return {"kind": type(value).__name__, **inner}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [describe(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return value.name  # a run may be moved
    if hasattr(value, "tolist"):
        return value.tolist()
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"
    return repr(value)


def check(path: Path, record: Record, files: Sequence[Path], *, reached: str = "") -> None:
    """Raise MismatchError if `begin` would, which says what differs; nothing is written."""
    existing = [file for file in files if file.exists()]
    if reasons := _reasons(read_record(path), describe(record), existing, reached):
        raise MismatchError(_message(path.parent, record.product, reasons))


def begin(
    path: Path, record: Record, files: Sequence[Path], *, reached: str = "", restart: bool = False
) -> None:
    """Write `record` to `path`, if it fits the record and the `files` of an earlier run there.

    `reached` says why the budget is below what is done, if it is. With `restart`, a run that does
    not fit is removed (`files` and the record). Otherwise MismatchError says what differs.
    """
    new = describe(record)
    old = read_record(path)
    existing = [file for file in files if file.exists()]
    reasons = _reasons(old, new, existing, reached)
    if reasons and not restart:
        raise MismatchError(_message(path.parent, record.product, reasons))
    if reasons:
        logger.info("%s: starting over (%s)", record.product, "; ".join(reasons[:LISTED]))
        for file in existing:
            file.unlink()
    elif old is not None:
        for line in differences(old["versions"], new["versions"]):
            logger.warning("%s goes on with another version: %s", record.product, line)
    _write(path, new)


def finish(path: Path, **result: Any) -> None:
    """Add the `result` of a finished run to its record."""
    _write(path, {**(read_record(path) or {}), "result": describe(result)})


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record at `path`, or None without one; MismatchError if it is not one."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        content["settings"], content["data"], content["grows"], content["versions"]
    except (ValueError, KeyError, TypeError) as error:
        raise MismatchError(f"{path}: not the record of a run ({error})") from error
    return content


def differences(old: Mapping[str, Any], new: Mapping[str, Any], added: bool = True) -> list[str]:
    """Return a line for each value that differs; `added`: also for names that `old` lacks."""
    before, after = _flat(old), _flat(new)
    names = [*before, *(name for name in after if name not in before and added)]
    return [
        f"{name} was {_shown(before, name)} and is now {_shown(after, name)}"
        for name in names
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    ]


_ABSENT = object()


def _reasons(
    old: dict[str, Any] | None, new: dict[str, Any], existing: list[Path], reached: str
) -> list[str]:
    more = [reached] if reached else []
    if not existing:
        return more
    if old is None:
        return [f"{existing[0].name} has no record of what it was made of", *more]
    return [
        *differences({"": old["product"]}, {"": new["product"]}),
        *differences(old["settings"], new["settings"]),
        *differences(old["data"], new["data"]),
        *differences(old["grows"], new["grows"], added=False),
        *more,
    ]


def _message(directory: Path, product: str, reasons: list[str]) -> str:
    more = f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else ""
    return (
        f"{directory}: {product} there is another: {'; '.join(reasons[:LISTED])}{more}."
        " Use another directory, or start over with --restart (in Python restart=True)"
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= _flat(item, f"{name}.") if isinstance(item, Mapping) and item else {name: item}
    return flat


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "absent"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(f"{json.dumps(content, indent=1)}\n".encode())
