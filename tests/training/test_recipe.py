"""A tiny recipe end to end on the real game, from nothing to a served bundle."""

import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from dreamserve.local import LocalClient
from dreamserve_training import stages
from dreamserve_training.cli import app
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.recipe import EvaluateConfig, load_recipe, read_json


@pytest.fixture
def tiny_recipe(monkeypatch):
    """Return Take Cover's recipe with a thousandth of its data and training."""
    full = load_recipe("takecover")
    tiny = replace(
        full,
        collect=CollectConfig(episodes=3),
        holdout=CollectConfig(episodes=2, seed=100),
        vae=replace(full.vae, z_dim=8, frames=160, validation_frames=32, epochs=1, batch_size=32),
        memory_options=full.memory_options | {"rnn_size": 16, "num_mixtures": 2},
        train=replace(full.train, epochs=2),
        batch_size=4,
        sequence_length=32,
        controller=replace(full.controller, generations=2, population=4, episodes=1, max_steps=30),
        evaluate=EvaluateConfig(episodes=2, sweeps=(90,), dream_temperatures=(1.0,)),
        bank_size=4,
    )
    monkeypatch.setattr(stages, "load_recipe", lambda name: tiny)
    return tiny


@pytest.mark.slow
@pytest.mark.usefixtures("vizdoom", "tiny_recipe")
def test_a_recipe_runs_from_the_game_to_a_bundle_and_is_done_only_once(
    tiny_bundle, tmp_path, caplog
):
    root, bundle = tmp_path / "run", tmp_path / "takecover"
    shutil.copytree(tiny_bundle, bundle)  # a file of another run, to be replaced
    with caplog.at_level("INFO", "dreamserve_training"):
        stages.run_stages("takecover", root, bundle)
    output = "\n".join(caplog.messages)
    for stage in ("collect", "vae", "encode", "memory", "controller", "evaluate", "export"):
        assert f"{stage}: done in" in output
    assert "total time left" in output

    dream = LocalClient(bundle)
    session = dream.reset(seed=1).session_id
    assert dream.step(session_id=session, action=1).step == 1
    manifest = read_json(bundle / "manifest.json", default=None)
    assert manifest["origin"]["episodes"] == {"train": 3, "holdout": 2}
    played = manifest["quality"]["real"]
    assert played["random"]["episodes"] == played["controller"]["episodes"] == 2
    assert (bundle / "card.md").exists()

    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.suffix != ".lock"}
    caplog.clear()
    with caplog.at_level("INFO", "dreamserve_training"):
        stages.run_stages("takecover", root, bundle)
    assert [message for message in caplog.messages if "already done" not in message] == []
    assert files == {path: path.stat().st_mtime_ns for path in files}

    (root / "controller" / "controller.npz").unlink()
    (root / "evaluation.json").unlink()
    with pytest.raises(ValueError, match="export: run controller, evaluate first"):
        stages.run_stages("takecover", root, bundle, names=("export",))


def test_a_stage_whose_input_is_missing_says_what_to_run_first(tmp_path):
    with pytest.raises(ValueError, match="memory: run collect, vae, encode first"):
        stages.run_stages("takecover", tmp_path / "run", tmp_path / "b", names=("memory",))


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="takecover"):
        stages.run_stages("doom", tmp_path / "run", tmp_path / "b")


def test_every_stage_is_a_command():
    listed = CliRunner().invoke(app, ["--help"]).output
    names = [stage.name for stage in stages.STAGES]
    assert all(name in listed for name in [*names, "export", "validate", "recipe"])


def test_validate_distinguishes_valid_from_broken_data(tiny_bundle, tmp_path):
    latents = tiny_bundle.parent / "latents"
    good = CliRunner().invoke(app, ["validate", str(latents)])
    assert good.exit_code == 0
    (tmp_path / "episode-0.npz").write_bytes(b"not an episode")
    bad = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert bad.exit_code == 1
    assert "episode-0.npz" in bad.output
