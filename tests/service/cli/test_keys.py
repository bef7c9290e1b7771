"""`dreamserve key new`, the examples of docs/security.md, and the warning of an open server."""

import re
from pathlib import Path
from typing import Any

import pytest

from dreamserve.api.access.callers import KeyRing
from dreamserve.api.access.keys import read_keys
from dreamserve.cli import serving

PAGE = (Path(__file__).parents[3] / "docs/security.md").read_text()


def test_a_new_keys_entry_is_for_the_file_and_the_key_is_printed_once(
    run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "api-keys"
    printed = [run("key", "new", "robots"), run("key", "new", "root", "--admin")]
    path.write_text("".join(done.out for done in printed))
    keys = [done.err.split()[-1] for done in printed]
    callers = [KeyRing(path, 0, 1, lambda: 0.0).find(key.encode()) for key in keys]
    assert [caller and (caller.owner, caller.is_admin) for caller in callers] == [
        ("robots", False),
        ("root", True),
    ]
    assert not any(key in done.out for key, done in zip(keys, printed, strict=True))


def test_a_name_that_is_not_valid_prints_no_key(run: Any) -> None:
    done = run("key", "new", "two words")
    assert (done.status, done.out) == (1, "")
    assert "1 to 64 characters" in done.err
    assert "dsk_" not in done.err


def test_the_file_of_the_documentation_is_valid_and_its_command_makes_such_an_entry(
    run: Any, tmp_path: Path
) -> None:
    example, command = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL), "dreamserve key new robots"
    assert example is not None
    assert command in PAGE
    made = run(*command.split()[1:]).out
    path = tmp_path / "api-keys"
    path.write_text(example[1] + made.replace("robots", "others"))
    robots, others = read_keys(path)
    assert (robots.name, robots.sessions, robots.requests_per_s) == ("robots", 100, 200.0)
    assert others.name == "others"


@pytest.mark.parametrize(
    ("host", "has_keys", "warns"),
    [("127.0.0.1", False, False), ("0.0.0.0", False, True), ("0.0.0.0", True, False)],
)
def test_a_server_that_others_reach_without_keys_warns(
    run: Any,
    tmp_path: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    has_keys: bool,
    warns: bool,
) -> None:
    monkeypatch.setattr(serving, "serve_until_stopped", lambda *_: None)
    path = tmp_path / "api-keys"
    path.write_text(run("key", "new", "robots").out)
    options = ["--api-keys-file", str(path)] if has_keys else []
    monkeypatch.setattr(serving, "bind", lambda _, port: _bind("127.0.0.1", port))
    done = run("serve", tiny_bundle, "--host", host, "--port", "0", *options)
    assert done.status == 0, done
    assert ("without API keys" in done.err) == warns


_bind = serving.bind


def test_keys_or_a_certificate_that_cannot_be_read_are_told_in_one_line(
    run: Any, tiny_bundle: Path
) -> None:
    for option, words in [
        (("--api-keys-file", "nothing"), "API keys: nothing: No such file"),
        (("--tls-cert", "nothing"), "both --tls-cert and --tls-key"),
    ]:
        done = run("serve", tiny_bundle, "--port", "0", *option)
        assert done.status == 1
        assert words in done.words
        assert done.err.count("\n") == 1


def test_the_sdks_variable_does_not_keep_a_server_from_starting(run: Any) -> None:
    done = run("doctor", "nothing", DREAMSERVE_API_KEY="dsk_secret")
    assert "DREAMSERVE_API_KEY" not in done.out + done.err
    assert "dsk_secret" not in done.out + done.err
