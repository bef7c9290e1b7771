"""The file of API keys: what is in it, what is refused, and what a change does."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dreamserve.api.access.callers import KeyRing
from dreamserve.api.access.keys import digest_of, entry_for, new_key, read_keys
from dreamserve.engine.limits import Quota
from dreamserve.errors import SettingsError

HASH = "0" * 64


def ring_of(path: Path, rate: float = 0.0, clock: Any = lambda: 0.0) -> KeyRing:
    return KeyRing(path, rate, 10, clock)


def rewrite(path: Path, content: str) -> None:
    """Replace the file by another, as a Kubernetes secret or an editor does."""
    other = path.with_suffix(".new")
    other.write_text(content)
    os.replace(other, path)


def test_a_new_keys_entry_is_read_back_and_finds_its_caller(tmp_path: Path) -> None:
    path, (one, two) = tmp_path / "keys.toml", (new_key(), new_key())
    path.write_text(entry_for("ann", one) + entry_for("root", two, admin=True))
    ring = ring_of(path)
    ann, root = ring.find(one.encode()), ring.find(two.encode())
    assert ann is not None
    assert root is not None
    assert (ann.owner, ann.is_admin, root.owner, root.is_admin) == ("ann", False, "root", True)
    assert ring.find(b"") is ring.find(one[:-1].encode()) is None
    assert one not in path.read_text()


def test_keys_are_long_random_and_fit_a_header_and_a_subprotocol() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 4 + 43 and key.replace("-", "_").isidentifier() for key in keys)


def test_keys_of_one_name_are_one_owner(write_keys: Any) -> None:
    ring = ring_of(write_keys(ann={"key": "old new", "sessions": 3, "jobs": 1}))
    old, new = ring.find(b"old"), ring.find(b"new")
    assert old is not None
    assert new is not None
    assert old.owner == new.owner == "ann"
    assert ring.quotas == {"ann": Quota(sessions=3, jobs=1)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "keys: Field required"),
        ("keys = []", "keys"),
        ("[[keys]\n", "not valid TOML"),
        (f'[[keys]]\nname = "a b"\nsha256 = "{HASH}"', "keys.0.name"),
        ('[[keys]]\nname = "a"\nsha256 = "dsk_secret"', "keys.0.sha256: 64 hexadecimal digits"),
        (f'[[keys]]\nname = "a"\nsha256 = "{HASH}"\nquota = 3', "keys.0.quota: Extra inputs"),
        (f'[[keys]]\nname = "a"\nsha256 = "{HASH}"\nsessions = -1', "keys.0.sessions"),
        (f'[[keys]]\nname = "a"\nsha256 = "{HASH}"\nrequests_per_s = 0.0', "requests_per_s"),
        (f'[[keys]]\nname = "a"\nsha256 = "{HASH}"\n' * 2, "a has a hash that is there twice"),
        (
            f'[[keys]]\nname = "a"\nsha256 = "{HASH}"\n'
            f'[[keys]]\nname = "a"\nadmin = true\nsha256 = "{"1" * 64}"',
            "the keys of a must have the same limits",
        ),
    ],
)
def test_a_file_that_is_not_valid_is_refused_without_quoting_it(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"API keys: .*keys\.toml") as refused:
        read_keys(path)
    assert words in str(refused.value)
    assert "dsk_secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.toml: No such file"):
        read_keys(tmp_path / "nothing.toml")


def test_a_name_that_is_not_valid_is_refused() -> None:
    with pytest.raises(SettingsError, match="1 to 64 characters"):
        entry_for('a"\nadmin = true', new_key())


def test_a_changed_file_adds_and_revokes_keys_and_keeps_the_others(
    write_keys: Any,
) -> None:
    path = write_keys(ann="ka", ben="kb")
    ring = ring_of(path)
    ann, ben = ring.find(b"ka"), ring.find(b"kb")
    assert not ring.reload()
    rewrite(path, entry_for("ann", "ka", admin=True) + entry_for("cid", "kc"))
    assert ring.reload()
    assert ring.find(b"ka") is ann
    assert ann is not None
    assert ben is not None
    assert (ann.is_admin, ann.is_revoked, ben.is_revoked) == (True, False, True)
    assert ring.find(b"kb") is None
    assert ring.find(b"kc") is not None
    assert not ring.reload()


def test_a_broken_change_keeps_the_previous_keys(
    write_keys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_keys(ann="ka")
    ring = ring_of(path)
    rewrite(path, "[[keys]]")
    assert not ring.reload()
    path.unlink()
    assert not ring.reload()
    assert ring.find(b"ka") is not None
    assert caplog.text.count("the previous API keys stay valid") == 2


def test_a_bucket_is_an_owners_and_survives_a_change(write_keys: Any, clock: Any) -> None:
    path = write_keys(ann={"key": "k1 k2", "requests_per_s": 1, "burst": 2}, ben="kb")
    ring = ring_of(path, rate=5.0, clock=clock)
    one, two, ben = ring.find(b"k1"), ring.find(b"k2"), ring.find(b"kb")
    assert one is not None
    assert two is not None
    assert ben is not None
    assert one.bucket is two.bucket is not ben.bucket
    one.check()
    two.check()
    assert one.bucket is not None
    assert one.bucket.take(clock()) == pytest.approx(1)
    rewrite(path, path.read_text().replace("requests_per_s = 1", "requests_per_s = 2"))
    assert ring.reload()
    assert one.bucket.take(clock()) > 0


def test_the_hash_in_an_entry_is_plain_sha256() -> None:
    entry = tomllib.loads(entry_for("a", "abc"))["keys"][0]["sha256"]
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert entry == digest_of(b"abc") == known
