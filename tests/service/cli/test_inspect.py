"""`dreamserve inspect` shows what a bundle is, to people and to programs."""

import json

import pytest

from dreamserve.bundle import load_bundle


def test_the_card_has_the_world_its_files_and_its_measurements(run, tiny_bundle, rewrite) -> None:
    quality = {"loss": {"nll": 0.95}, "real": {"random": {"mean": 2}, "trained": {"std": 0.5}}}
    rewrite(tiny_bundle, quality=quality, origin={"environment": "Tiny-v0", "nested": {"a": 1}})
    done = run("inspect", tiny_bundle)
    assert (done.status, done.err) == (0, "")
    manifest = load_bundle(tiny_bundle).manifest
    message = " ".join(done.out.split())
    assert message.startswith(f"tiny {manifest.version} World observation frame")
    for part in (
        f"actions {manifest.action_space}",
        f"head Gaussian mixture, {manifest.head.form.replace('_', ' ')}, K = ",
        f"{manifest.state_bytes()} bytes a session",
        "Files, all hashes verified encode.onnx",
        f"sha256 {manifest.graphs.step.onnx.sha256[:16]}",
        "loss nll 0.95 real mean std random 2 trained 0.5",
        "Origin environment Tiny-v0",
    ):
        assert part in message
    assert "nested" not in message


def test_text_of_a_bundle_cannot_command_the_terminal(run, tiny_bundle, rewrite) -> None:
    rewrite(tiny_bundle, quality={"\x1b[2J": {"[/]": {"[red]\x07": "\x1b]0;x\x07"}}})
    done = run("inspect", tiny_bundle)
    assert done.status == 0
    assert "[red]?" in done.out
    assert not {"\x1b", "\x07"} & set(done.out)


def test_the_json_cannot_command_the_terminal_either(run, tiny_bundle, rewrite) -> None:
    rewrite(tiny_bundle, quality={"\x9b2J": "\u202e"})
    done = run("inspect", tiny_bundle, "--json")
    assert done.out.isascii()
    assert json.loads(done.out)["manifest"]["quality"] == {"\x9b2J": "\u202e"}


@pytest.mark.parametrize(
    "command", [("inspect",), ("doctor", "--port", "0"), ("serve", "--port", "0")]
)
def test_every_command_refuses_what_loading_refuses_in_one_line(run, tiny_bundle, command) -> None:
    (tiny_bundle / "step.onnx").unlink()
    (tiny_bundle / "step.onnx").symlink_to("/dev/zero")
    done = run(*command, tiny_bundle)
    assert done.status == 1
    told = " ".join((done.out + done.err).split())
    assert "is a symbolic link; a bundle has regular files only" in told


def test_the_json_has_the_whole_manifest_and_each_files_size(run, tiny_bundle) -> None:
    done = run("inspect", tiny_bundle, "--json")
    assert done.status == 0
    fields = json.loads(done.out)
    assert fields["manifest"] == json.loads((tiny_bundle / "manifest.json").read_text())
    assert fields["files"] == {
        path.name: path.stat().st_size
        for path in tiny_bundle.iterdir()
        if path.name != "manifest.json"
    }
    assert fields["path"] == str(tiny_bundle)
    assert fields["state_bytes"] == load_bundle(tiny_bundle).manifest.state_bytes()


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_damaged_bundle_is_refused_in_both_forms(run, tiny_bundle, as_json) -> None:
    (tiny_bundle / "decode.pt").write_bytes(b"?")
    done = run("inspect", tiny_bundle, *as_json)
    assert (done.status, done.out) == (1, "")
    assert "decode.pt: 1 bytes" in done.err
