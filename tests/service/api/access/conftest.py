"""A file of API keys for the tests of access."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamserve.api.keys import digest_of

WriteKeys = Callable[..., Path]


@pytest.fixture
def write_keys(tmp_path: Path) -> WriteKeys:
    """Return a function that writes a file of keys: name → (key, …) or {key, other fields}."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "keys.toml"
        entries = []
        for name, given in keys.items():
            fields = dict(given) if isinstance(given, dict) else {"key": given}
            for key in fields.pop("key").split():
                lines = [f'name = "{name}"', f'sha256 = "{digest_of(key.encode())}"']
                lines += [f"{field} = {str(value).lower()}" for field, value in fields.items()]
                entries.append("\n".join(["[[keys]]", *lines]))
        path.write_text("\n".join(entries))
        return path

    return write


@pytest.fixture
def keys_file(write_keys: WriteKeys) -> str:
    """Return a file with the keys `ka` and `ka2` of ann, `kb` of ben, and an administrator's."""
    return str(write_keys(ann="ka ka2", ben="kb", root={"key": "kr", "admin": True}))
