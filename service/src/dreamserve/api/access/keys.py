"""API keys: a TOML file of their hashes, and the quotas of their owners.

    [[keys]]
    name = "robots"                 # the owner of the sessions; several keys may have one name
    sha256 = "9f86d081884c7d65…"    # of the key, as `dreamserve key new robots` prints it
    sessions = 100                  # at once; and so on: see `Key`

A key is 256 random bits, so its plain SHA-256 cannot be reversed: there is no dictionary to try. A
slow hash such as bcrypt protects passwords that people choose, and would cost each request more
than a step. Keys are found by their hash: what the time of a search tells is about the hash of what
was sent, of which the sender cannot choose a part.
"""

import secrets
import tomllib
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dreamserve.engine.limits import Quota
from dreamserve.errors import SettingsError

PREFIX = "dsk_"  # so that people and scanners of secrets recognise a key
KEY_BYTES = 32

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Key(BaseModel):
    """One entry of the file. Keys of the same name must agree in all but the hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    admin: bool = False
    sessions: int | None = Field(None, ge=0, description="Maximum number of sessions at once.")
    jobs: int | None = Field(None, ge=0, description="Maximum plans, samples, … in progress.")
    requests_per_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1, description="Requests at once before that rate holds.")

    @property
    def quota(self) -> Quota:
        """What its owner may have at once."""
        return Quota(*(inf if most is None else most for most in (self.sessions, self.jobs)))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: Annotated[list[Key], Field(min_length=1)]


def new_key() -> str:
    """Return a random key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: bytes) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return sha256(key).hexdigest()


def entry_for(name: str, key: str, *, admin: bool = False) -> str:
    """Return the lines of the file for a key. Raises SettingsError for a name that is not valid."""
    try:
        entry = Key(name=name, sha256=digest_of(key.encode()), admin=admin)
    except ValidationError:
        raise SettingsError(
            f"a key's name is 1 to 64 characters of A-Z, a-z, 0-9, . _ and -, not {name[:80]!r}"
        ) from None
    lines = ["[[keys]]", f'name = "{entry.name}"', f'sha256 = "{entry.sha256}"']
    return "\n".join([*lines, *(["admin = true"] if admin else [])]) + "\n"


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file. Raises SettingsError, which quotes nothing of the file."""
    try:
        keys = _File.model_validate(tomllib.loads(path.read_text("utf-8"))).keys
    except OSError as error:
        raise SettingsError(f"API keys: {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"API keys: {path} is not valid TOML: {error}") from None
    except ValidationError as error:
        told = "; ".join(_told(problem) for problem in error.errors(include_input=False)[:5])
        raise SettingsError(f"API keys: {path}: {told}") from None
    _check(path, keys)
    return keys


def _told(problem: Any) -> str:
    """Return where a problem is and what it is; its input may be a key that was left there."""
    where = ".".join(str(part) for part in problem["loc"])
    if where.endswith("sha256"):
        return f"{where}: 64 hexadecimal digits, as `dreamserve key new` prints them"
    return f"{where}: {problem['msg']}"


def _check(path: Path, keys: list[Key]) -> None:
    """Raise SettingsError unless hashes differ, and entries of one name agree."""
    by_name: dict[str, Key] = {}
    hashes = set[str]()
    for key in keys:
        if key.sha256 in hashes:
            raise SettingsError(f"API keys: {path}: {key.name} has a hash that is there twice")
        hashes.add(key.sha256)
        first = by_name.setdefault(key.name, key)
        if first != key.model_copy(update={"sha256": first.sha256}):
            raise SettingsError(
                f"API keys: {path}: the keys of {key.name} must have the same limits and admin"
            )
