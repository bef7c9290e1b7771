"""A tiny recipe end to end on the real game, from nothing to a served bundle."""

import math
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve.local import LocalClient
from dreamserve_training import probe as probing
from dreamserve_training import stages, tasks
from dreamserve_training.cli import app, main
from dreamserve_training.data.collect import record_episode
from dreamserve_training.defaults import resolve
from dreamserve_training.evaluation.real import blind_agents
from dreamserve_training.export import ExportError
from dreamserve_training.models.controller import ControllerError, load_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe import LIGHT_PLAN, Recipe
from dreamserve_training.recipe_files import RecipeError, load_recipe
from dreamserve_training.workspace import read_json


@pytest.fixture
def tiny_recipe(monkeypatch):
    """Return Take Cover's recipe with a thousandth of its data and training."""
    full = load_recipe("takecover")
    tiny = replace(
        full,
        max_episode_steps=200,
        collect={**full.collect, "episodes": 2, "workers": 1},
        vae={"z_dim": 8, "frames": 160, "validation_frames": 32, "epochs": 1, "batch_size": 32},
        memory_options={**full.memory_options, "rnn_size": 16, "num_mixtures": 2},
        train={**full.train, "epochs": 2},
        batch_size=4,
        sequence_length=32,
        controller={**full.controller, "iterations": 2, "dreams": 8, "steps": 8, "minibatch": 32},
        baselines={"sweep 90": full.baselines["sweep 90"]},
        evaluate={
            "episodes": 2,
            "dream_temperatures": (1.0,),
            "plan_episodes": 0,
            "workers": 1,
        },
        bank_size=4,
        bank={"draft": 16},
        iterations=(
            replace(
                full.iterations[0],
                episodes=2,
                vae=None,
                memory_options={},
                train={"epochs": 1},
                controller={},
                evaluate={},
            ),
        ),
        finetune={**full.finetune, "episodes": 1, "iterations": 1, "workers": 1},
    )
    monkeypatch.setattr(tasks, "load_recipe", lambda name: tiny)
    return tiny


@pytest.mark.slow
@pytest.mark.usefixtures("vizdoom", "tiny_recipe")
def test_a_recipe_runs_from_the_game_to_a_bundle_and_is_done_only_once(
    tiny_bundle, tmp_path, caplog
):
    root, bundle = tmp_path / "run", tmp_path / "takecover"
    shutil.copytree(tiny_bundle, bundle)  # a file of another run, to be replaced
    with caplog.at_level("INFO", "dreamserve_training"):
        tasks.run_stages("takecover", root, bundle)
    output = "\n".join(caplog.messages)
    for stage in ("collect", "vae", "encode", "memory", "controller", "evaluate", "export"):
        assert f"{stage}: done in" in output
        if stage not in ("vae", "export"):
            assert f"{stage} of iteration 1: done in" in output
    assert "finetune of iteration 1: done in" in output
    assert "collect: started, 1 of 13" in output

    dream = LocalClient(bundle)
    session = dream.reset(seed=1).session_id
    assert dream.step(session_id=session, action=1).step == 1
    manifest = read_json(bundle / "manifest.json", default=None)
    assert manifest["origin"]["episodes"] == {"train": 4, "holdout": 8}
    played = manifest["quality"]["real"]
    assert played["random"]["episodes"] == played["controller"]["episodes"] == 2
    differences = manifest["quality"]["differences"]
    assert differences["controller - random"]["episodes"] == 2
    assert differences["controller - dreams only"]["episodes"] == 2
    assert list(manifest["quality"]["passes"]) == ["first pass", "iteration 1"]
    likelihoods = [each["NLL of M"] for each in manifest["quality"]["passes"].values()]
    assert likelihoods[1] == manifest["quality"]["likelihood"]["nll"] != likelihoods[0]
    assert "### Passes" in (bundle / "card.md").read_text()

    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.suffix != ".lock"}
    caplog.clear()
    with caplog.at_level("INFO", "dreamserve_training"):
        tasks.run_stages("takecover", root, bundle)
    assert [message for message in caplog.messages if "already done" not in message] == []
    assert files == {path: path.stat().st_mtime_ns for path in files}

    last = root / "iterations" / "1"
    (last / "controller" / "controller.npz").unlink()
    (last / "evaluation.json").unlink()
    stale = (f"{stage} of iteration 1" for stage in ("controller", "finetune", "evaluate"))
    says = f"export: run {', '.join(stale)} first"
    with pytest.raises(ValueError, match=says):
        tasks.run_stages("takecover", root, bundle, names=("export",))


def test_a_stage_whose_input_is_missing_says_what_to_run_first(tmp_path):
    with pytest.raises(ValueError, match="memory: run collect, vae, encode first"):
        tasks.run_stages("takecover", tmp_path / "run", tmp_path / "b", names=("memory",))


def test_stages_of_an_iteration_that_the_recipe_lacks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "load_recipe", lambda name: Recipe(env="CartPole-v1", name="pole"))
    with pytest.raises(ValueError, match="the recipe has 0 iterations"):
        tasks.run_stages("pole", tmp_path / "run", tmp_path / "b", ("memory",), iteration=1)


def test_car_racing_is_seen_without_its_status_bar_and_is_driven(monkeypatch):
    pytest.importorskip("Box2D", reason="pip install 'dreamserve-training[box2d]'")
    monkeypatch.setattr(probing, "PROBE_STEPS", 1)
    recipe = replace(load_recipe("carracing"), max_episode_steps=70)
    first, *iterations = resolve_passes(recipe, probe(recipe))
    assert len(iterations) == 2
    for each in iterations:
        assert [name for name, _ in each.players] == ["controller", "random"]
    episode = record_episode(first.env.open(), first.collect, seed=1)
    assert episode["frames"].shape == (70, 64, 64, 3)
    bar = episode["frames"][60:, -4:]  # the bar is black, the field green
    assert bar[..., 1].mean() > 100
    assert episode["actions"].dtype == np.float32
    actions = first.collect.actions(np.random.default_rng(0), first.env.action_space)
    brakes = np.array([next(actions)[2] for _ in range(2000)])
    assert (brakes == 0).mean() > 0.5  # it seldom brakes
    assert len(np.unique(episode["rewards"])) > 1
    baselines = blind_agents(first.env, first.collect, first.baselines)
    assert [agent.name for agent in baselines][2:] == list(recipe.baselines)


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="takecover"):
        tasks.run_stages("doom", tmp_path / "run", tmp_path / "b")


def test_a_recipe_is_a_file_of_the_users_own(tmp_path):
    (tmp_path / "helper.py").write_text("NAME = 'CartPole-v1'\n")
    path = tmp_path / "my_pole.py"
    path.write_text(
        "import gymnasium\nfrom helper import NAME\n"
        "from dreamserve_training.recipe import Recipe\n"
        "RECIPE = Recipe(env=lambda: gymnasium.make(NAME), record=lambda env, x: {'x': x[0]})\n"
    )
    recipe = load_recipe(str(path))
    assert recipe.name == "my_pole"
    # workers load the file again: a lambda cannot be sent to them
    again = pickle.loads(pickle.dumps(recipe))
    assert again.env().spec.id == "CartPole-v1"
    assert again.record(None, [7.0]) == {"x": 7.0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("RECIPE = 3", r"must define RECIPE = Recipe\(env=...\), not 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("RECIPE = (", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, says):
    path = tmp_path / "wrong.py"
    path.write_text(content)
    with pytest.raises(RecipeError, match=rf"wrong\.py(, line 1)?: {says}"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("./absent.py", "no such recipe file"),
        ("./My World.py", "small letters, digits, - and _"),
        ("doom", "takecover.*dreamserve-train new"),
    ],
)
def test_a_recipe_that_cannot_be_found_is_refused_with_what_would_be_right(recipe, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe(recipe)


def test_an_unknown_option_is_refused_with_the_known_ones():
    recipe = Recipe(env="CartPole-v1", name="pole", train={"epoch": 3})
    with pytest.raises(RecipeError, match=r"train: unknown options \['epoch'\]; known: .*epochs"):
        resolve(recipe, probe(recipe))


def test_a_new_recipe_says_what_holds_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = CliRunner().invoke(app, ["new", "pole", "--env", "CartPole-v1"])
    assert written.exit_code == 0
    assert "dreamserve-train recipe ./pole.py" in written.output
    recipe = load_recipe("./pole.py")
    assert recipe == Recipe(env="CartPole-v1", name="pole")

    text = (tmp_path / "pole.py").read_text()
    options = [line for line in text.splitlines() if line.startswith("    # ") and "=" in line]
    assert len(options) >= 7
    changed = text
    for line in options:
        changed = changed.replace(line, line.replace("# ", "", 1))
    (tmp_path / "changed.py").write_text(changed)
    same = replace(load_recipe("./changed.py"), name="pole")
    probed = probe(recipe)
    left_out, said = resolve(recipe, probed), resolve(same, replace(probed))
    assert said.train == left_out.train
    assert said.controller == left_out.controller
    assert said.collect == left_out.collect
    assert said.evaluate == left_out.evaluate
    assert isinstance(load_recipe("./changed.py").steps, int)

    again = CliRunner().invoke(app, ["new", "pole", "--env", "CartPole-v1"])
    assert isinstance(again.exception, RecipeError)


def test_plans_of_an_evaluation_are_small_unless_the_recipe_says_otherwise():
    recipe = Recipe(env="CartPole-v1", name="pole", evaluate={"plan": {"iterations": 30}})
    plan = resolve(recipe, probe(recipe)).evaluate.plan
    assert plan == {**LIGHT_PLAN, "iterations": 30}
    assert math.prod(LIGHT_PLAN.values()) < 10_000  # dreamt steps, 0.1 s; /plan's default: 286,720


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


def test_a_folder_that_cannot_become_the_bundle_is_refused_before_anything_is_collected(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(ExportError, match="notes: exists, is not a bundle"):
        tasks.run_stages("takecover", tmp_path / "run", tmp_path / "notes")
    assert not (tmp_path / "run").exists()


def test_a_bundle_that_is_none_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["dreamserve-train", "learn", str(tmp_path), "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no manifest.json" in line


def test_a_broken_file_of_a_run_is_named(tmp_path):
    path = tmp_path / "seconds.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"seconds\.json: not JSON .*; remove it"):
        read_json(path, default={})


@pytest.mark.parametrize("content", [b"", b"PK broken", None])
def test_a_broken_controller_is_named(tmp_path, content):
    path = tmp_path / "controller.npz"
    path.write_bytes(content) if content is not None else np.savez(path, weights=np.ones(3))
    with pytest.raises(ControllerError, match=r"controller\.npz: not a controller"):
        load_policy(path)
