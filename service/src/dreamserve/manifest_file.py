"""`manifest.json`: written with the version of its content, and read strictly.

The JSON has no duplicate names, no NaN or infinity, no integer beyond 64 bits, and neither size nor
depth to exhaust a parser. Every file that it names is another one.
"""

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dreamserve.errors import BundleError
from dreamserve.folder import Folder
from dreamserve.manifest import Manifest

MANIFEST_FILE = "manifest.json"
MAX_BYTES = 2**20
_MAX_DEPTH = 32  # of lists and objects in each other
_SHOWN = 5  # bundles that an error lists


def content_version(fields: Mapping[str, Any]) -> str:
    """Return the version of a manifest with these fields: 16 hex digits.

    It is the start of the sha256 of the manifest's JSON in UTF-8, without `version`, with sorted
    keys and no spaces. The files' hashes are among the fields, so it covers their content too.
    `fields` are those in the file, including defaults: use `seal` to create a manifest.
    """
    content = {name: value for name, value in fields.items() if name != "version"}
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def seal(fields: Mapping[str, Any]) -> Manifest:
    """Return the validated manifest with these fields, defaults, and its version.

    Write it as `manifest.model_dump_json()`. Raises pydantic's ValidationError.
    """
    draft = Manifest.model_validate({**fields, "version": "0" * 16})
    return draft.model_copy(update={"version": content_version(draft.model_dump(mode="json"))})


def read_manifest(folder: Folder) -> Manifest:
    """Return the manifest in a bundle's folder. Raises BundleError."""
    path = folder.path / MANIFEST_FILE
    try:
        content = folder.read(MANIFEST_FILE, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{folder.path}: {_why_no_bundle(folder.path)}") from None
    try:
        fields = parse(content)
        manifest = Manifest.model_validate_json(json.dumps(fields))
        version = content_version(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "the manifest"
        raise BundleError(f"{path}: {field}: {problem['msg']}") from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None
    if version != manifest.version:
        raise BundleError(
            f"{path}: declares version {manifest.version}, but its content has {version}"
        )
    return manifest


def parse(content: bytes) -> dict[str, Any]:
    """Return the object in strict JSON. Raises ValueError."""
    try:
        fields = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_refused,
            parse_float=_finite,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"must be a JSON object, is {type(fields).__name__}")
    _check_depth(fields)
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} occurs twice in an object")
        fields[name] = value
    return fields


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"{text[:40]} is too large for a float")
    return number


def _integer(text: str) -> int:
    number = int(text) if len(text) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:40]} has more than 64 bits")
    return number


def _check_depth(fields: dict[str, Any]) -> None:
    level: list[Any] = [fields]
    for _ in range(_MAX_DEPTH):
        parts = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for part in parts for one in part if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"is nested deeper than {_MAX_DEPTH} levels")


def _why_no_bundle(folder: Path) -> str:
    wanted = f"a bundle is a folder with {MANIFEST_FILE}"
    if not folder.exists():
        return f"no such folder; {wanted}"
    if not folder.is_dir():
        return f"is a file; {wanted}"
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST_FILE}"))
    more = ", …" if len(found) > _SHOWN else ""
    inside = ", ".join(map(str, found[:_SHOWN]))
    return f"has no {MANIFEST_FILE}; {f'bundles in it: {inside}{more}' if inside else wanted}"
