"""Learning as a run: it goes on to the bit after a stop, and refuses what does not fit."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dreamserve.bundle import load_bundle, seal
from dreamserve.loading import load_world
from dreamserve_training.cli import app
from dreamserve_training.defaults import resolve
from dreamserve_training.dreams.returns import dream_returns
from dreamserve_training.evaluation.analytic import Bandit, numpy_world, random_system, write_world
from dreamserve_training.models.controller import LinearPolicy, Scores, load_policy, save_policy
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.runs.errors import DivergedError, LockedError, MismatchError
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.records import read_record
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.methods import config_for, train_controller
from dreamserve_training.train.ppo import learning, resumable
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import learn

INITIAL = "initial.npz"
QUICK = PPOConfig(iterations=3, dreams=8, steps=4, dream_steps=6, minibatch=16)


@pytest.fixture
def always_saved(monkeypatch):
    """Write a checkpoint after each iteration."""
    monkeypatch.setattr(resumable, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


def stop_after(monkeypatch, iterations):
    """Let the learning fail after so many iterations, in the middle of the next one."""
    whole = learning.Learner.iterate

    def iterate(self):
        if self.iteration == iterations:
            self.source.run(self.model.scores, self.model.distribution, np.random.default_rng(9))
            raise KeyboardInterrupt
        return whole(self)

    monkeypatch.setattr(learning.Learner, "iterate", iterate)


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("hidden", [0, 5])
def test_a_learning_that_was_interrupted_ends_with_the_same_bits(
    tiny_bundle, tmp_path, monkeypatch, hidden
):
    config = replace(QUICK, hidden=hidden)
    whole = learn(tiny_bundle, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_bundle, tmp_path / "stopped", config)
    resumed = learn(tiny_bundle, tmp_path / "stopped", config)
    assert resumed.digest() == whole.digest()
    assert min(np.abs(part).max() for layer in whole.layers for part in layer) > 0
    again = learn(tiny_bundle, tmp_path / "whole", config)
    assert again.digest() == whole.digest()
    figures = read_record(tmp_path / "whole" / "ppo_run.json")["result"]
    assert figures["iterations"] == 3
    assert {"reward", "ends", "entropy", "kl"} <= set(figures)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from dreamserve_training.train.ppo import learning, resumable
    from dreamserve_training.train.ppo.config import PPOConfig

    resumable.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    whole = learning.Learner._batch

    def dies(self, seen):
        if self.iteration == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, seen)

    learning.Learner._batch = dies
    config = PPOConfig(iterations=3, dreams=8, steps=4, dream_steps=6, minibatch=16)
    learning.learn(Path(sys.argv[1]), Path(sys.argv[2]), config)
"""


def test_a_learning_that_was_killed_ends_with_the_same_bits(tiny_bundle, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), tiny_bundle, tmp_path / "killed"]
    killed = subprocess.run(command, timeout=120, capture_output=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    resumed = learn(tiny_bundle, tmp_path / "killed", QUICK)
    whole = learn(tiny_bundle, tmp_path / "whole", QUICK)
    np.testing.assert_array_equal(resumed.weights, whole.weights)


def test_several_learnings_give_the_mean_of_their_controllers(
    tiny_bundle, tmp_path, monkeypatch, request
):
    config = replace(QUICK, learnings=2, learners=1, seed=3)
    initial = LinearPolicy(np.ones((3, 12), np.float32), np.zeros(3, np.float32))
    monkeypatch.chdir(tmp_path)
    mean = learn(tiny_bundle, Path("several"), config, initial=initial)
    one, other = (
        learn(tiny_bundle, tmp_path / f"alone-{seed}", replace(QUICK, seed=seed), initial=initial)
        for seed in (3, 4)
    )
    np.testing.assert_array_equal(mean.weights, (one.weights + other.weights) / 2)
    np.testing.assert_array_equal(mean.bias, (one.bias + other.bias) / 2)
    assert not np.array_equal(one.weights, other.weights)
    assert mean.inputs == one.inputs

    done = (tmp_path / "several" / "seed-3" / "ppo_last.ckpt").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "several" / "seed-4")
    request.getfixturevalue("inline")
    again = learn(tiny_bundle, tmp_path / "several", replace(config, learners=9), initial=initial)
    assert again.digest() == mean.digest()
    assert (tmp_path / "several" / "seed-3" / "ppo_last.ckpt").stat().st_mtime_ns == done


def test_networks_have_no_mean():
    with pytest.raises(ValueError, match="several learnings need hidden=0"):
        PPOConfig(learnings=2, hidden=8)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lr": 0.1}, r"lr was 0\.003 and is now 0\.1"),
        ({"reward": {"end": -1.0}}, r"reward\.world"),
        ({"seed": 5}, "seed"),
        ({"iterations": 2}, "it has 3 iterations and is now asked for 2"),
    ],
)
def test_a_learning_of_other_settings_is_refused(tiny_bundle, tmp_path, changed, says):
    learn(tiny_bundle, tmp_path, QUICK)
    kept = (tmp_path / "ppo_last.ckpt").read_bytes()
    with pytest.raises(MismatchError, match=says):
        learn(tiny_bundle, tmp_path, replace(QUICK, **changed))
    assert (tmp_path / "ppo_last.ckpt").read_bytes() == kept
    learn(tiny_bundle, tmp_path, replace(QUICK, **changed), restart=True)


def test_a_learning_from_another_controller_is_refused_and_a_longer_one_goes_on(
    tiny_bundle, tmp_path
):
    initial = LinearPolicy(np.ones((3, 12), np.float32), np.zeros(3, np.float32))
    learn(tiny_bundle, tmp_path, QUICK, initial=initial)
    learn(tiny_bundle, tmp_path, replace(QUICK, iterations=4), initial=initial)
    with pytest.raises(MismatchError, match="initial was"):
        learn(tiny_bundle, tmp_path, QUICK)
    with pytest.raises(
        ValueError, match=r"the initial controller maps \('latent', 'h'\) by a layer 12 → 3"
    ):
        learn(tiny_bundle, tmp_path, replace(QUICK, inputs=("latent",)), initial=initial)


def test_a_network_goes_on_from_a_network_of_its_size_only(tiny_bundle, tmp_path):
    config = replace(QUICK, hidden=5)
    first = learn(tiny_bundle, tmp_path / "first", config)
    learner = learning.dreaming(load_world(tiny_bundle), config, first)
    (hidden, last), was = learner.model.policy().layers, first.layers
    np.testing.assert_array_equal(hidden.weights, was[0].weights)
    np.testing.assert_array_equal(last.weights, (0.5 * was[1].weights).astype(np.float16))
    linear = LinearPolicy(np.ones((3, 12), np.float32), np.zeros(3, np.float32))
    for initial, size, says in (
        (linear, 5, r"a layer 12 → 3, this one .* layers 12 → 5, 5 → 3: they must be the same"),
        (first, 0, r"layers 12 → 5, 5 → 3, this one .* a layer 12 → 3"),
        (first, 6, r"layers 12 → 5, 5 → 3, this one .* layers 12 → 6, 6 → 3"),
    ):
        with pytest.raises(ValueError, match=says):
            learn(tiny_bundle, tmp_path / "next", replace(QUICK, hidden=size), initial=initial)


def test_a_learning_starts_from_the_scaled_weights_of_another_controller(tiny_bundle):
    initial = LinearPolicy(np.ones((3, 12), np.float32), np.ones(3, np.float32))
    learner = learning.dreaming(load_world(tiny_bundle), QUICK, initial)
    np.testing.assert_array_equal(learner.model.policy().weights, 0.5 * initial.weights)


@pytest.mark.parametrize(("asked", "scale"), [(None, 1.0), (0.25, 0.25)])
def test_a_boxs_actions_are_those_of_the_controller_before_unless_a_scale_is_asked_for(
    asked, scale
):
    world = numpy_world(random_system(seed=0, states=4, actions=2, bound=1.0, starts=8))
    initial = LinearPolicy(np.ones((2, 4), np.float32), np.ones(2, np.float32), ("latent",))
    config = replace(QUICK, inputs=("latent",), initial_scale=asked)
    begun = learning.dreaming(world, config, initial).model.policy()
    np.testing.assert_array_equal(begun.weights, scale * initial.weights)
    np.testing.assert_array_equal(begun.bias, scale * initial.bias)


def test_a_checkpoint_that_is_broken_is_refused(tiny_bundle, tmp_path):
    learn(tiny_bundle, tmp_path, QUICK)
    (tmp_path / "ppo_last.ckpt").write_bytes(b"PK")
    with pytest.raises(MismatchError, match="cannot be read"):
        learn(tiny_bundle, tmp_path, QUICK)
    learn(tiny_bundle, tmp_path, QUICK, restart=True)


def test_two_learnings_in_one_directory_are_refused(tiny_bundle, tmp_path):
    with locked(tmp_path, "learning"), pytest.raises(LockedError, match="works on learning"):
        learn(tiny_bundle, tmp_path, QUICK)


def test_a_loss_that_is_not_finite_ends_the_learning(tiny_bundle, tmp_path):
    with pytest.raises(DivergedError, match=r"iteration [12]: the loss is (inf|nan)"):
        learn(tiny_bundle, tmp_path, replace(QUICK, lr=1e30))
    assert not (tmp_path / "ppo_last.ckpt").exists()


@pytest.mark.parametrize("inputs", [("latent", "h"), ("h", "latent", "c")])
def test_a_policy_is_saved_and_played_on_the_features_that_it_learned_on(
    tiny_bundle, tmp_path, inputs
):
    config = replace(QUICK, inputs=inputs)
    save_policy(train_controller(tiny_bundle, tmp_path, config), tmp_path / "c.npz")
    policy = load_policy(tmp_path / "c.npz")
    assert policy.inputs == inputs
    assert policy.weights.shape == (3, {2: 12, 3: 20}[len(inputs)])
    returns, _ = dream_returns(load_world(tiny_bundle), [policy], [1, 2], 1.0, 10)
    assert returns.shape == (1, 2)


def test_a_recipe_names_the_method_and_its_options(take_cover):
    probed = Probed(take_cover, 100.0)
    resolved = resolve(Recipe(controller={"method": "ppo", "iterations": 7}), probed)
    assert resolved.controller == PPOConfig(iterations=7, done_weight=10.0)
    drawn = Recipe(controller={"method": "ppo"}, done_rule="drawn")
    assert resolve(drawn, probed).controller.done_weight == 1.0
    assert resolved.bank.draft > resolved.bank.size
    assert isinstance(resolve(Recipe(), probed).controller, ControllerConfig)
    with pytest.raises(RecipeError, match=r"unknown method 'sac'; known: cma, ppo"):
        resolve(Recipe(controller={"method": "sac"}), probed)
    with pytest.raises(RecipeError, match=r"unknown options \['population'\]"):
        resolve(Recipe(controller={"method": "ppo", "population": 3}), probed)


def command(*arguments):
    """Return the exit status and the last line of `dreamserve-train learn`."""
    result = CliRunner().invoke(app, ["learn", *map(str, arguments)])
    return result.exit_code, str(result.exception or result.output.splitlines()[-1])


def test_a_command_learns_in_dreams_of_any_bundle(tiny_bundle, tmp_path):
    quick = ["dreams=8", "steps=4", "dream_steps=6", "minibatch=16", "iterations=3", "ends=world"]
    options = [part for setting in quick for part in ("--set", setting)]
    first = tmp_path / "first"
    assert command(tiny_bundle, "--out", first, *options)[0] == 0
    expected = learn(tiny_bundle, tmp_path / "again", replace(QUICK, ends="world"))
    np.testing.assert_array_equal(load_policy(first / "controller.npz").weights, expected.weights)
    start = ("--initial", first / "controller.npz")
    assert command(tiny_bundle, "--out", tmp_path / "next", *options, *start)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "speed=3"], "unknown option 'speed'; known: iterations, reward"),
        (["--set", "dreams=many"], "PPOConfig: dreams must be a valid integer, not 'many'"),
        (["--set", "reward={'hit': -1}"], "has no ['hit'], only ['world', 'end']"),
        (["--method", "sac"], "unknown method 'sac'; known: cma, ppo"),
        (["--method", "cma", "--initial", INITIAL], "the method cma begins anew; ppo goes on"),
    ],
)
def test_a_command_says_what_is_wrong_with_an_option(tiny_bundle, tmp_path, arguments, says):
    policy = LinearPolicy(np.zeros((3, 12), np.float32), np.zeros(3, np.float32))
    save_policy(policy, tmp_path / INITIAL)
    arguments = [tmp_path / INITIAL if each == INITIAL else each for each in arguments]
    status, line = command(tiny_bundle, "--out", tmp_path / "out", *arguments)
    assert status == 1
    assert says in line


def test_a_world_without_h_is_for_ppo(tmp_path):
    bundle = write_world(tmp_path / "bandit", Bandit())
    with pytest.raises(ValueError, match=r"has no \['h'\].*the method ppo takes any"):
        train_controller(bundle, tmp_path / "out", config_for(bundle, "cma", []))


def test_a_command_evolves_too(tiny_bundle):
    config = config_for(tiny_bundle, "cma", ["generations=2", "workers=1"])
    assert config == ControllerConfig(Scores(3), generations=2, workers=1)


def test_a_bundle_that_was_replaced_in_place_is_another_world(tiny_bundle, tmp_path):
    draft = shutil.copytree(tiny_bundle, tmp_path / "draft")
    config = replace(QUICK, ends="world")
    learn(draft, tmp_path / "first", config)
    fields = load_bundle(draft).manifest.model_dump(mode="json")
    fields["done"]["threshold"] = -100.0
    (draft / "manifest.json").write_text(seal(fields).model_dump_json())
    learn(draft, tmp_path / "second", config)
    result = read_record(tmp_path / "second" / "ppo_run.json")["result"]
    assert result["ends"] == 1000.0, "these are dreams of the world before"
