"""Long runs: what they were made of, going on, stopping, failing."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from dreamserve.backends.choose import cores
from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.comparison import ComparisonConfig
from dreamserve_training.data import collect as collecting
from dreamserve_training.data.collect import CollectConfig, collect
from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.frames import FrameDataset, frame_loader
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.envs import EnvSpec
from dreamserve_training.files import atomic_write
from dreamserve_training.models.controller import Axis, Scores
from dreamserve_training.models.mdnrnn import MDNRNN, SequenceDataset
from dreamserve_training.recipe import EvaluateConfig
from dreamserve_training.runs.errors import DivergedError, LockedError, MismatchError
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.options import PLACE, Options
from dreamserve_training.runs.records import read_record
from dreamserve_training.stage_inputs import begin_encoding
from dreamserve_training.train import controller as evolution
from dreamserve_training.train import epoch_log
from dreamserve_training.train import trainer as trainer_module
from dreamserve_training.train.controller import ControllerConfig, evolve
from dreamserve_training.train.memory import MemoryLoop, TrainConfig, train_memory
from dreamserve_training.train.schedules import cosine, one_cycle
from dreamserve_training.train.vae import VAEConfig, train_vae

PATIENCE_S = 30.0
Z = 3


def sequences(seed=0, count=8):
    rng = np.random.default_rng(seed)
    z = [rng.normal(size=(6, Z)).astype(np.float32) for _ in range(count)]
    actions = [rng.integers(2, size=6) for _ in range(count)]
    return SequenceDataset(z, actions, [np.ones(6)] * count)


def batches(seed=0):
    return DataLoader(sequences(seed), batch_size=4)


def new_model():
    torch.manual_seed(0)
    return MDNRNN(Z, 2, rnn_size=4, num_mixtures=2, predict_reward=True)


def train(directory, *callbacks, data=None, held_out=True, **options):
    """Train a tiny M in `directory` and return (its result, its weights)."""
    config = {"epochs": 2, "mixed_precision": False, "save_dir": str(directory), "lr": 0.02}
    model = new_model()
    validation = batches(9) if held_out else None
    given = batches() if data is None else data
    result = train_memory(model, given, config | options, validation, callbacks)
    return result, {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


class At(Callback):
    """Calls a function when an epoch begins."""

    def __init__(self, epoch, function):
        self.epoch, self.function = epoch, function

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.current_epoch == self.epoch and index == 1:
            self.function()


class Worsen(Callback):
    """Makes all epochs from the third on worse, so that the best one is not the last."""

    def on_validation_start(self, trainer, module):
        if trainer.current_epoch >= 2:
            with torch.no_grad():
                module.model.mdn_head.bias.add_(1.0)


class Crash(Exception):
    """Stands for the death of the process."""


def crash():
    raise Crash


# Options


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (TrainConfig, {"schedule": "cosin"}, r"schedule must be 'constant', 'cosine' or 'plateau'"),
        (TrainConfig, {"epochs": -1}, "epochs must be greater than or equal to 1, not -1"),
        (TrainConfig, {"epochs": 0}, "epochs must be greater than or equal to 1, not 0"),
        (TrainConfig, {"lr": "1e-3"}, "lr must be a valid number, not '1e-3'"),
        (TrainConfig, {"lr": float("nan")}, "lr must be .*not nan"),
        (VAEConfig, {"batch_size": 0}, "batch_size must be"),
        (VAEConfig, {"epochs": 1.5}, "epochs must be a valid integer, not 1.5"),
        (
            ControllerConfig,
            {"form": Axis(3, 0, 1, 2), "sigma": 0.0},
            "sigma must be greater than 0",
        ),
        (ControllerConfig, {"form": "axis"}, "form must be"),
        (CollectConfig, {"episodes": 0}, "episodes must be"),
    ],
)
def test_an_invalid_option_is_refused_by_name_before_anything_is_done(kind, options, says):
    with pytest.raises(ValueError, match=says):
        kind(**options)
    assert replace(TrainConfig(), epochs=np.int64(3)).epochs == 3


def test_a_whole_number_for_a_float_is_kept_as_a_float():
    temperatures = EvaluateConfig(dream_temperatures=(1, np.int64(2))).dream_temperatures
    assert [str(each) for each in temperatures] == ["1.0", "2.0"]  # as figures are named
    assert str(TrainConfig(lr=1).lr) == "1.0"


def test_options_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="must be TrainConfig or a mapping, not VAEConfig"):
        TrainConfig.of(VAEConfig())
    with pytest.raises(ValueError, match="must be TrainConfig or a mapping, not list"):
        TrainConfig.of(["epochs"])


def test_every_number_of_workers_is_by_default_that_of_the_cores_and_not_recorded():
    workers = {
        kind.__name__: field
        for kind in Options.__subclasses__()
        for field in fields(kind)
        if field.name == "workers"
    }
    assert {ComparisonConfig.__name__, ControllerConfig.__name__} <= set(workers)
    for field in workers.values():
        assert field.default_factory is cores
        assert field.metadata == PLACE


# What a run was made of


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lr": 0.5}, r"lr was 0\.02 and is now 0\.5"),
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"schedule": "constant"}, "schedule was"),
        ({"data": batches(5)}, r"train\.sha256 was"),
        ({"held_out": False}, "validation"),
        ({"epochs": 1}, "it has 2 epochs and is now asked for 1"),
    ],
)
def test_a_run_of_other_settings_or_data_is_refused_and_started_over_if_asked(
    tmp_path, changed, says
):
    train(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("mdnrnn_*")}
    with pytest.raises(MismatchError, match=says):
        train(tmp_path, **changed)
    assert kept == {path: path.read_bytes() for path in tmp_path.glob("mdnrnn_*")}
    _, anew = train(tmp_path, **changed, restart=True)
    _, alone = train(tmp_path / "alone", **changed)
    assert_equal(anew, alone)


def test_what_a_model_was_trained_on_stands_beside_it(tmp_path):
    train(tmp_path)
    record = read_record(tmp_path / "mdnrnn_run.json")
    assert record["settings"]["lr"] == 0.02
    assert record["settings"]["model"]["z_dim"] == Z
    assert record["budget"]["epochs"] == record["result"]["epochs"] == 2
    assert record["data"]["train"]["sequences"] == 8
    assert record["versions"]["torch"] == torch.__version__
    assert str(tmp_path) not in (tmp_path / "mdnrnn_run.json").read_text()
    assert os.fsencode(tmp_path) not in (tmp_path / "mdnrnn_last.ckpt").read_bytes()


def test_a_model_without_a_record_is_not_taken_for_the_asked_one(tmp_path):
    train(tmp_path)
    (tmp_path / "mdnrnn_run.json").unlink()
    with pytest.raises(MismatchError, match="has no record"):
        train(tmp_path)


def test_a_run_that_failed_before_its_first_epoch_leaves_no_demands(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, At(0, crash))
    train(tmp_path, lr=0.5)


def test_a_finished_training_is_not_run_again_also_when_it_ended_early(tmp_path):
    options = {"epochs": 50, "lr": 0.0, "early_stopping_patience": 2}
    first, weights = train(tmp_path, **options)
    assert first.epochs == 3
    again, same = train(tmp_path, At(3, crash), **options)
    assert again == first
    assert_equal(weights, same)


# Going on


class Rates(Callback):
    """Records the learning rate of each epoch."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.seen[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
def test_a_longer_training_has_the_rates_that_its_whole_length_has(tmp_path, schedule):
    longer, whole = Rates(), Rates()
    train(tmp_path / "longer", epochs=2, schedule=schedule)
    result, _ = train(tmp_path / "longer", longer, epochs=6, schedule=schedule)
    train(tmp_path / "whole", whole, epochs=6, schedule=schedule)
    assert result.epochs == 6
    assert longer.seen == {epoch: whole.seen[epoch] for epoch in range(2, 6)}
    rates = list(longer.seen.values())
    assert rates == sorted(rates, reverse=True), "the rate climbs"


@pytest.mark.parametrize(("held_out", "lr"), [(True, 0.5), (False, 1e-6)])
def test_a_plateau_is_counted_over_all_stops(tmp_path, held_out, lr):
    stopped, whole = Rates(), Rates()
    options = {"schedule": "plateau", "held_out": held_out, "lr": lr}
    for epochs in range(1, 9):
        _, resumed = train(tmp_path / "stopped", stopped, Worsen(), epochs=epochs, **options)
    _, unbroken = train(tmp_path / "whole", whole, Worsen(), epochs=8, **options)
    assert stopped.seen == whole.seen
    assert whole.seen[7] < lr, "the rate does not fall"
    last = (torch.load(tmp_path / name / "mdnrnn_last.ckpt") for name in ("stopped", "whole"))
    assert_equal(*(content["state_dict"] for content in last))
    assert_equal(resumed, unbroken)


def test_schedules_begin_and_end_where_they_are_said_to():
    assert cosine(0.0) == 1.0
    assert cosine(1.0) == pytest.approx(1 / 50)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=30, pct_start=0.1)
    for step in range(30):
        (group,) = optimizer.param_groups
        expected = group["lr"], group["betas"][0]
        assert one_cycle(step, 30) == pytest.approx(expected)
        optimizer.step()
        if step < 29:
            theirs.step()


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "train.npy"
    np.save(path, np.random.default_rng(0).integers(256, size=(48, 64, 64, 3), dtype=np.uint8))
    return path


def vae_config(**options):
    return VAEConfig(z_dim=2, batch_size=16, validation_frames=4, **{"epochs": 1, **options})


def test_v_is_trained_longer_and_again_only_on_the_same_frames(frames, tmp_path):
    before = train_vae(frames, frames, tmp_path, vae_config(), "cpu").read_bytes()
    assert train_vae(frames, frames, tmp_path, vae_config(epochs=2), "cpu").read_bytes() != before
    assert read_record(tmp_path / "vae_run.json")["result"] == {"epochs": 2}
    with pytest.raises(MismatchError, match=r"seed was 0 and is now 1"):
        train_vae(frames, frames, tmp_path, vae_config(epochs=2, seed=1), "cpu")
    other = tmp_path / "other.npy"
    np.save(other, np.load(frames)[::-1])
    with pytest.raises(MismatchError, match=r"train\.sha256"):
        train_vae(other, frames, tmp_path, vae_config(epochs=2), "cpu")


def test_frames_come_in_the_order_of_their_epoch(frames):
    dataset = FrameDataset(frames)
    loader = frame_loader(dataset, 16, shuffle=True, seed=3)
    first, second = list(loader), list(loader)
    loader.sampler.set_epoch(1)
    assert all(map(torch.equal, loader, second))
    assert not torch.equal(first[0], second[0])
    assert dataset.places([50, 1]) == ["train.npy, frame 1", "train.npy, frame 2"]


def test_a_half_trained_run_moved_or_copied_ends_as_an_undisturbed_one(tmp_path):
    options = {"epochs": 5}
    undisturbed, weights = train(tmp_path / "undisturbed", Worsen(), **options)
    with pytest.raises(Crash):
        train(tmp_path / "half", Worsen(), At(3, crash), **options)
    shutil.copytree(tmp_path / "half", tmp_path / "copied")
    (tmp_path / "half").rename(tmp_path / "moved")
    original = {path: path.read_bytes() for path in (tmp_path / "moved").iterdir()}
    for place in ("copied", "moved"):
        result, found = train(tmp_path / place, Worsen(), **options)
        assert result.best_loss == undisturbed.best_loss
        assert_equal(found, weights)
        if place == "copied":
            assert original == {path: path.read_bytes() for path in (tmp_path / "moved").iterdir()}
    best, last = (
        torch.load(path, weights_only=True)
        for path in (result.path, tmp_path / "moved" / "mdnrnn_last.ckpt")
    )
    kept, newest = best["state_dict"], last["state_dict"]
    assert any(not torch.equal(value, newest[f"model.{name}"]) for name, value in kept.items())


# Evolution


@pytest.fixture
def dreams(tmp_path, monkeypatch):
    """A bundle's folder, in whose dreams a candidate earns its nearness to 1."""

    def fitness(pool, bundle, candidates, generation, config):
        return np.array([-np.square(each - 1).sum() for each in candidates])

    monkeypatch.setattr(evolution, "_fitness", fitness)
    monkeypatch.setattr(evolution, "_feature_count", lambda bundle: 2)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    return bundle


EVOLVED = ControllerConfig(Axis(3, 0, 1, 2), generations=3, population=6, seed=4)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"temperature": 0.5}, r"temperature was 1\.15 and is now 0\.5"),
        ({"sigma": 0.2}, "sigma"),
        ({"seed": 5}, "seed"),
        ({"form": Scores(3)}, r"form\.kind"),
        ({"population": 8}, "population"),
        ({"max_steps": 9}, "max_steps"),
        ({"generations": 2}, "it has 3 generations and is now asked for 2"),
    ],
)
def test_an_evolution_of_other_settings_is_refused(dreams, tmp_path, changed, says):
    evolve(dreams, tmp_path, EVOLVED)
    kept = (tmp_path / "evolution.npz").read_bytes()
    with pytest.raises(MismatchError, match=says):
        evolve(dreams, tmp_path, replace(EVOLVED, **changed))
    assert (tmp_path / "evolution.npz").read_bytes() == kept
    evolve(dreams, tmp_path, replace(EVOLVED, **changed), restart=True)
    assert read_record(tmp_path / "evolution_run.json")["result"] is not None


def test_an_evolution_in_another_world_is_refused_and_a_longer_one_goes_on(dreams, tmp_path):
    evolve(dreams, tmp_path, EVOLVED)
    longer = evolve(dreams, tmp_path, replace(EVOLVED, generations=5, workers=1))
    whole = evolve(dreams, tmp_path / "whole", replace(EVOLVED, generations=5))
    np.testing.assert_array_equal(longer.weights, whole.weights)
    (dreams / "manifest.json").write_text('{"name": "another"}')
    with pytest.raises(MismatchError, match="bundle was"):
        evolve(dreams, tmp_path, replace(EVOLVED, generations=5))


def test_a_fitness_that_is_not_finite_ends_the_evolution(dreams, tmp_path, monkeypatch):
    monkeypatch.setattr(evolution, "_fitness", lambda *_: np.array([0.0, np.inf, 0, 0, 0, 0]))
    with pytest.raises(DivergedError, match="generation 1: the mean return of candidate 1 is inf"):
        evolve(dreams, tmp_path, EVOLVED)
    assert not (tmp_path / "evolution.npz").exists()


# Collecting and encoding


def episode(seed, steps=6):
    rng = np.random.default_rng(seed)
    return {
        "mu": rng.normal(size=(steps, Z)).astype(np.float16),
        "logvar": np.full((steps, Z), -2, np.float16),
        "actions": rng.integers(2, size=steps),
        "rewards": np.ones(steps, np.float32),
        "terminated": np.arange(steps) == steps - 1,
    }


@pytest.fixture
def quick_games(inline, monkeypatch):
    """Collect episodes of no game, in this process."""

    def record(spec, directory, *others):
        save_episode(directory / f"episode-{others[-1]:06d}.npz", episode(others[-1]))

    monkeypatch.setattr(collecting, "_collect_one", record)


GAME = EnvSpec(
    env="Game-v0",
    env_id="Game-v0",
    observation=VectorSpec(names=("height",), low=(0.0,), high=(1.0,)),
    action_space=DiscreteSpace(n=2, names=("up", "down")),
    max_episode_steps=50,
)


@pytest.mark.usefixtures("quick_games")
@pytest.mark.parametrize(
    ("env", "config", "says"),
    [
        (
            GAME,
            {"seed": 1},
            "seed was 0 and is now 1; episode-000000.npz is not of the seeds",
        ),
        (GAME, {"episodes": 1}, "episode-000001.npz is not of the seeds 0 to 0"),
        (replace(GAME, max_episode_steps=9), {}, r"max_episode_steps was 50 and is now 9"),
    ],
)
def test_episodes_of_another_environment_or_other_seeds_are_refused(tmp_path, env, config, says):
    asked = CollectConfig(episodes=2)
    collect(GAME, tmp_path, asked)
    with pytest.raises(MismatchError, match=says):
        collect(env, tmp_path, replace(asked, **config))
    collect(GAME, tmp_path, replace(asked, episodes=3))
    assert len(list(tmp_path.glob("*.npz"))) == 3
    collect(env, tmp_path, replace(asked, **config), restart=True)


class Encoder:
    """Stands for a converter."""

    def __init__(self, name):
        self.name = name

    def identity(self):
        return self.name


def test_latents_of_episodes_that_changed_are_refused_and_new_ones_added(tmp_path):
    raw, latents = tmp_path / "raw", tmp_path / "latents"
    raw.mkdir()
    save_episode(raw / "a.npz", episode(0))
    begin_encoding(raw, latents, Encoder("v"), restart=False)
    save_episode(latents / "a.npz", episode(0))
    save_episode(raw / "b.npz", episode(1))
    begin_encoding(raw, latents, Encoder("v"), restart=False)
    with pytest.raises(MismatchError, match="encoder was"):
        begin_encoding(raw, latents, Encoder("w"), restart=False)
    save_episode(raw / "a.npz", episode(2))
    with pytest.raises(MismatchError, match=r"a\.npz was"):
        begin_encoding(raw, latents, Encoder("v"), restart=False)
    begin_encoding(raw, latents, Encoder("v"), restart=True)
    assert not (latents / "a.npz").exists()


# Two at once


def test_a_second_training_in_a_directory_is_refused_with_the_pid_of_the_first(tmp_path, dreams):
    with (
        locked(tmp_path, "mdnrnn"),
        pytest.raises(LockedError, match=f"process {os.getpid()} works on mdnrnn here"),
    ):
        train(tmp_path)
    with locked(tmp_path, "evolution"), pytest.raises(LockedError):
        evolve(dreams, tmp_path, EVOLVED)
    train(tmp_path)


# Stopping


@pytest.mark.parametrize(
    ("number", "error", "status"),
    [(signal.SIGTERM, SystemExit, 143), (signal.SIGINT, KeyboardInterrupt, None)],
)
def test_a_signal_ends_m_with_a_line_and_its_status(tmp_path, caplog, number, error, status):
    before = signal.getsignal(number)
    with pytest.raises(error) as raised:
        train(tmp_path, At(1, lambda: signal.raise_signal(number)))
    assert getattr(raised.value, "code", None) == status
    assert f"stopped by {number.name}" in caplog.text
    assert signal.getsignal(number) is before
    resumed, weights = train(tmp_path)
    assert resumed.epochs == 2
    assert_equal(weights, train(tmp_path / "undisturbed")[1])


def test_a_signal_ends_v_and_c(frames, dreams, tmp_path, monkeypatch):
    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(trainer_module.EpochLog, "on_train_batch_end", stop)
    with pytest.raises(SystemExit, match="143"):
        train_vae(frames, frames, tmp_path, vae_config(), "cpu")
    monkeypatch.setattr(evolution, "_fitness", stop)
    with pytest.raises(SystemExit, match="143"):
        evolve(dreams, tmp_path, EVOLVED)
    assert not list(tmp_path.glob("*_best.pth"))


WORKERS = r"""
import os, pathlib, subprocess, sys, time
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.signals import stoppable

def play(end=None, number=0):
    # a game: it holds this program's stdout, which all write a line at a time, and ends for nobody
    program = "import os, time; os.write(1, b'game\\n'); time.sleep(600)"
    game = subprocess.Popen([sys.executable, "-c", program])
    while end is None or not end.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), number)

if __name__ == "__main__":
    end = (pathlib.Path(sys.argv[1]), int(sys.argv[2])) if sys.argv[1:] else ()
    with stoppable(), worker_pool(2) as pool:
        # one more job than workers: a ProcessPoolExecutor watches a worker from the next job on
        jobs = [pool.submit(play, *end) for end in (end, (), ())]
        os.write(1, f"{os.listdir('.')}\n".encode())
        [job.result() for job in jobs]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_and_their_games_end_with_the_process_that_started_them(tmp_path, number):
    script = tmp_path / "play.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as program:
        lines = [program.stdout.readline() for _ in range(3)]
        program.send_signal(number)
        assert lines.count("game\n") == 2
        # the pipes end when the last process that holds them has ended
        _, errors = program.communicate(timeout=PATIENCE_S)
    if number == signal.SIGKILL:
        assert program.returncode == -number
    else:
        assert program.returncode in (128 + number, -number)
        assert f"stopped by {number.name}" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["play.py"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_games_end_when_a_worker_is_killed(tmp_path, number):
    script = tmp_path / "play.py"
    script.write_text(WORKERS)
    end = tmp_path / "end"
    command = [sys.executable, str(script), str(end), str(number.value)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as program:
        assert [program.stdout.readline() for _ in range(3)].count("game\n") == 2
        end.touch()
        # the pipes end when the last process that holds them has ended
        _, errors = program.communicate(timeout=PATIENCE_S)
    assert "a worker process ended abruptly" in errors


# Failing


def small_files(bytes_):
    """Let this process write files of `bytes_` at most, as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))


@pytest.fixture
def full_disk():
    """Return a function after which files cannot be written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: small_files(1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path, full_disk):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=f"File too large: '{tmp_path}/mdnrnn_last.ckpt'"):
        train(tmp_path, At(1, full_disk), epochs=3)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mdnrnn.lock", "mdnrnn_run.json", "mdnrnn_last.ckpt"}
    _, weights = train(tmp_path, epochs=3)
    assert_equal(weights, train(tmp_path / "undisturbed", epochs=3)[1])


def test_a_failed_write_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "file"
    path.write_text("old")
    full_disk()
    with pytest.raises(OSError, match=f"File too large: '{path}'"), atomic_write(path) as file:
        file.write(bytes(10_000))
    with pytest.raises(OSError, match=f"{path}: not written"), atomic_write(path) as file:
        np.save(file, np.zeros(10_000))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def poisoned(monkeypatch, reward):
    """Return batches whose sequence 5 has a reward that no check refuses."""
    loader = batches()
    monkeypatch.setattr(SequenceDataset, "check", lambda *_: None)
    loader.dataset[5]["rewards"][3] = reward
    return loader


def test_a_loss_that_is_not_finite_names_its_data(tmp_path, monkeypatch):
    says = "training loss is inf in epoch 1, batch 2: caused by sequence 5$"
    with pytest.raises(DivergedError, match=says):
        train(tmp_path, data=poisoned(monkeypatch, 1e25))
    assert not list(tmp_path.glob("*.pth"))


def test_a_gradient_that_is_not_finite_names_its_data(tmp_path, monkeypatch):
    terms = MemoryLoop.terms

    def infinitely_steep(self, batch):
        parts = terms(self, batch)
        if (batch["rewards"] == 7).any():
            nothing = (0 * next(self.parameters())).sum().sqrt()
            parts["nll"] = parts["nll"]._replace(total=parts["nll"].total + nothing)
        return parts

    monkeypatch.setattr(MemoryLoop, "terms", infinitely_steep)
    says = "the gradient is not finite in epoch 1, batch 2: caused by sequence 5$"
    with pytest.raises(DivergedError, match=says):
        train(tmp_path, data=poisoned(monkeypatch, 7.0))
    assert not list(tmp_path.glob("*.pth"))


def test_a_validation_loss_that_is_not_finite_names_its_data(tmp_path, monkeypatch):
    held_out = poisoned(monkeypatch, 1e25)
    options = TrainConfig(save_dir=str(tmp_path), mixed_precision=False)
    with pytest.raises(DivergedError, match=r"validation loss is inf in epoch 1, batch 2: .* 5"):
        train_memory(new_model(), batches(), options, held_out)


def test_windows_of_files_are_named_by_file_and_steps(tmp_path, monkeypatch):
    for seed in range(4):
        save_episode(tmp_path / f"episode-{seed}.npz", episode(seed))
    loader = create_window_loader(tmp_path, batch_size=2, sequence_length=4, seed=1)
    monkeypatch.setattr(type(loader.dataset), "check", lambda *_: None)
    broken = loader.dataset._load(2)
    broken["rewards"][1] = 1e25
    loader.dataset._cache[2] = broken
    named = r"caused by .*episode-2\.npz, steps 0 to 3"
    with pytest.raises(DivergedError, match=named):
        train(tmp_path / "run", data=loader, held_out=False)


def test_a_training_that_diverges_blames_no_row(tmp_path):
    def spoil(trainer, module, *_):
        with torch.no_grad():
            next(module.parameters()).fill_(float("nan"))

    spoiling = Callback()
    spoiling.on_train_batch_start = spoil
    with pytest.raises(DivergedError, match=r"no single row .* has diverged, try a lower lr"):
        train(tmp_path, spoiling)


# Progress


def test_an_epoch_that_takes_long_shows_its_batches(frames, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(epoch_log, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", "dreamserve_training"):
        train_vae(frames, frames, tmp_path, vae_config(), "cpu")
    assert re.search(r"epoch 1/1  batch 2/3  loss \S+  \d+ s left", caplog.text)


def test_a_program_without_logging_shows_progress(tmp_path):
    script = "from dreamserve_training.progress import *; show_progress(); logger.info('epoch 1')"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert "epoch 1" in shown.stderr
