"""Each measurement on worlds and frames whose true values are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dreamserve.backends.base import StepOutput
from dreamserve.heads import GaussianMixture
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, SignalSpec, TensorSpec, WorldSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.episodes import DataError, save_episode
from dreamserve_training.data.signals import Signal
from dreamserve_training.evaluation.horizon import horizon_errors
from dreamserve_training.evaluation.measure import (
    card_pictures,
    measure_memory,
    measure_world,
    memory_figures,
)
from dreamserve_training.evaluation.pictures import busiest_start
from dreamserve_training.evaluation.prediction import ends, likelihood, rewards
from dreamserve_training.evaluation.prediction import signals as signal_figures
from dreamserve_training.evaluation.reconstruction import (
    Tally,
    compare,
    held_out_frames,
    reconstruction,
)
from dreamserve_training.evaluation.teacher_forcing import (
    LatentEpisode,
    TeacherForced,
    load_latents,
    teacher_force,
)
from dreamserve_training.evaluation.verdicts import verdicts_on

Z, SIGMA = 2, 0.5
SPEC = WorldSpec(
    name="walk",
    action_space=DiscreteSpace(n=2, names=("stay", "go")),
    observation=FrameSpec(
        source_shape=(16, 16, 3), crop=Crop(top=0, bottom=16, left=0, right=16), shape=(16, 16, 3)
    ),
    latent_size=Z,
    recurrent_state=(TensorSpec(name="steps", shape=(1,)),),
    head=GaussianMixture(form="joint", components=1),
    noise=NoiseSpec(normal=Z, uniform=1),
    temperature_rule="paper",
    done=DoneRule(),
    reward=RewardRule(kind="head"),
)


class Walk:
    """z' = z + action plus noise of SIGMA; its state counts steps; the dream ends at step 100."""

    name = "walk"

    def encode(self, frames):
        mu = frames[:, :, :, 0].mean(axis=(1, 2))
        return np.repeat(mu[:, None], Z, axis=1), np.zeros((len(frames), Z), np.float32)

    def decode(self, latent):
        grey = np.clip(latent.mean(axis=1), 0, 1)[:, None, None, None]
        return np.broadcast_to(grey, (len(latent), 16, 16, 3)).astype(np.float32)

    def step(self, batch):
        mean = batch.latent + batch.action[:, None].astype(np.float32)
        steps = batch.state[0] + 1
        spread = SIGMA * np.sqrt(batch.temperature)[:, None]
        rows = len(mean)
        return StepOutput(
            latent=mean + spread * batch.noise[:, :Z],
            reward=steps[:, 0],
            done_logit=np.where(steps[:, 0] >= 100, 1, -1).astype(np.float32),
            state=(steps,),
            head=(
                np.zeros((rows, 1), np.float32),
                mean[:, None],
                np.full((rows, 1, Z), math.log(SIGMA), np.float32),
            ),
        )


def walk_episode(steps, seed=0, noise=0.0, logvar=-40.0, died=True):
    """Return a real episode of the walk with `noise` in each step; logvar -40: no variance of z."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(2, size=steps)
    moves = actions[:, None] + noise * rng.standard_normal((steps, Z))
    mu = np.concatenate([np.zeros((1, Z)), np.cumsum(moves, axis=0)[:-1]])
    return LatentEpisode(
        mu=mu.astype(np.float32),
        logvar=np.full((steps, Z), logvar, np.float32),
        actions=actions,
        rewards=np.arange(1, steps + 1, dtype=np.float32),
        terminated=(np.arange(steps) == steps - 1) & died,
    )


def walk_with_done(done_logit, died=True):
    """Return the walk of a world that gave these done logits."""
    episode = walk_episode(len(done_logit), died=died)
    logits = np.array(done_logit, np.float32)
    return TeacherForced(
        episode, np.zeros(len(logits) - 1), np.zeros(len(logits), np.float32), logits, {}
    )


def test_the_likelihood_of_a_known_world_is_its_entropy():
    episodes = [walk_episode(2000, seed, noise=SIGMA) for seed in range(3)]
    figures = likelihood(teacher_force(Walk(), SPEC, episodes))
    entropy = 0.5 * math.log(2 * math.pi * math.e * SIGMA**2)
    assert figures["nll"] == pytest.approx(entropy, abs=0.02)
    assert figures["floor"] == pytest.approx(0.5 * (math.log(2 * math.pi * math.e) - 40), abs=1e-3)
    assert figures["gaussian_baseline"] > figures["nll"] + 3  # a walk goes far from its mean
    assert figures["steps"] == 3 * 1999


def test_floor_and_baseline_are_equal_if_the_past_is_uninformative():
    rng = np.random.default_rng(0)
    still = walk_episode(5000, logvar=0.0)
    still = LatentEpisode(
        np.zeros_like(still.mu), still.logvar, still.actions, still.rewards, still.terminated
    )
    figures = likelihood(teacher_force(Walk(), SPEC, [still], seed=int(rng.integers(100))))
    assert figures["floor"] == pytest.approx(1.4189, abs=1e-3)
    assert figures["gaussian_baseline"] == pytest.approx(1.4189, abs=1e-3)
    assert figures["nll"] > figures["floor"]


def test_batched_episodes_are_measured_as_if_alone():
    lengths = (5, 40, 17)
    episodes = [walk_episode(steps, seed=steps) for steps in lengths]
    together = teacher_force(Walk(), SPEC, episodes, keep_every=4)
    for steps, walk, episode in zip(lengths, together, episodes, strict=True):
        [alone] = teacher_force(Walk(), SPEC, [episode], keep_every=4)
        np.testing.assert_array_equal(walk.reward, np.arange(1, steps + 1))  # memory from zero
        np.testing.assert_allclose(walk.nll, alone.nll, atol=1e-6)
        assert sorted(walk.states) == list(range(4, steps, 4))
        assert all(state[0] == step for step, (state,) in walk.states.items())
        assert walk.episode is episode


def test_a_perfect_world_does_not_drift_and_copying_the_last_latent_does():
    episodes = [walk_episode(200, seed) for seed in range(4)]
    errors = horizon_errors(
        Walk(), SPEC, teacher_force(Walk(), SPEC, episodes, keep_every=20), dreams=8
    )
    assert list(errors) == ["1", "5", "20", "50"]
    for k, figures in errors.items():
        assert figures["most_likely"] == pytest.approx(0, abs=1e-3)
        assert figures["one_dream"] == pytest.approx(SIGMA * math.sqrt(int(k)), rel=0.15)
        assert figures["mean_of_dreams"] == pytest.approx(
            SIGMA * math.sqrt(int(k) / 8), rel=0.25
        )  # eight dreams a start
    assert errors["50"]["copy_last"] > errors["5"]["copy_last"] > errors["1"]["copy_last"] > 0.5


def test_horizons_that_no_episode_is_long_enough_for_are_not_measured():
    runs = teacher_force(Walk(), SPEC, [walk_episode(50)], 10)
    assert list(horizon_errors(Walk(), SPEC, runs, dreams=2)) == ["1", "5", "20"]
    without_starts = teacher_force(Walk(), SPEC, [walk_episode(10)], 10)
    assert horizon_errors(Walk(), SPEC, without_starts) == {}


def test_ends_count_exact_alarms_near_alarms_and_dreams_cut_short():
    quiet = [-1.0] * 20
    walks = [
        walk_with_done([*quiet, 1.0]),  # a hit
        walk_with_done([*quiet, 1.0, -1.0, -1.0]),  # two steps early
        walk_with_done([1.0, *quiet, -1.0]),  # far too early, and missed
        walk_with_done(quiet),  # missed
        walk_with_done([*quiet, 1.0], died=False),  # alarm without a death
    ]
    figures = ends(walks, DoneRule(threshold=0.0))
    assert (figures["deaths"], figures["alarms"], figures["episodes"]) == (4, 4, 5)
    assert figures["recall"] == pytest.approx(1 / 4)
    assert figures["precision"] == pytest.approx(1 / 4)
    assert figures["recall_within_5"] == pytest.approx(2 / 4)
    assert figures["precision_within_5"] == pytest.approx(2 / 4)
    assert figures["cut_short"] == pytest.approx(2 / 5)


def test_the_threshold_is_a_hard_cut():
    assert ends([walk_with_done([-1.0, 0.0])], DoneRule(threshold=0.0))["alarms"] == 0
    assert ends([walk_with_done([-1.0, 0.0])], DoneRule(threshold=-0.5))["recall"] == 1.0


def test_a_world_that_never_raises_an_alarm_has_no_precision():
    figures = ends([walk_with_done([-1.0, -1.0])], DoneRule(threshold=0.0))
    assert figures["recall"] == 0.0
    assert figures["precision"] is None


def test_the_reward_error_is_reported_beside_that_of_the_mean():
    figures = rewards(teacher_force(Walk(), SPEC, [walk_episode(30)]))
    assert figures["rms_error"] == 0.0
    assert figures["rms_error_of_the_mean"] == pytest.approx(np.arange(30).std(), abs=1e-3)


def scene(*things, contrast=0.8):
    """Return a grey frame with bright objects: (top, left, height, width)."""
    picture = np.full((16, 16, 3), 0.1, np.float32)
    for top, left, height, width in things:
        picture[top : top + height, left : left + width] += contrast
    return picture


@pytest.mark.parametrize(
    ("copy", "kept"),
    [
        (scene((4, 4, 2, 2)), True),
        (scene((4, 4, 2, 2), contrast=0.41), True),
        (scene((4, 4, 2, 2), contrast=0.39), False),
        (scene(), False),
        (scene((8, 8, 2, 2)), False),  # at another place
        (scene((4, 4, 2, 2), contrast=-0.1), False),  # dark instead of bright
    ],
)
def test_an_object_is_recalled_if_half_of_its_contrast_remains(copy, kept):
    tally = Tally()
    compare(scene((4, 4, 2, 2)), copy, scene(), tally)
    assert (tally.areas, tally.kept) == ([4.0], [kept])


def test_faint_objects_do_not_count_and_touching_pixels_are_one_object():
    tally = Tally()
    compare(scene((4, 4, 3, 3), contrast=0.3), scene(), scene(), tally)
    assert tally.areas == []
    compare(scene((2, 2, 1, 2), (3, 4, 1, 2), (10, 10, 5, 6)), scene(), scene(), tally)
    assert sorted(tally.areas) == [4.0, 30.0]
    compare(scene((2, 2, 1, 1), (8, 4, 2, 3)), scene((2, 2, 1, 1)), scene(), tally)
    assert list(tally.by_band()) == [
        ("1 px", 1, 1),
        ("2 to 5 px", 1, 0),
        ("6 to 24 px", 1, 0),
        ("25 px and more", 1, 0),
    ]


class Empty(Walk):
    """Decodes the empty scene, and on every eighth frame an object that is not in it."""

    def encode(self, frames):
        return np.zeros((len(frames), Z), np.float32), np.zeros((len(frames), Z), np.float32)

    def decode(self, latent):
        empty, invented = scene(), scene((12, 2, 2, 2))
        return np.stack([invented if row % 8 == 0 else empty for row in range(len(latent))])


def test_a_world_without_objects_recalls_none_and_its_invented_ones_are_counted():
    frames = np.stack([scene((row % 8, row % 8, 2, 2)) for row in range(64)])
    pixels, things = reconstruction(Empty(), (frames * 255).round().astype(np.uint8))
    assert things["2 to 5 px"]["in_frames"] == 64
    assert things["2 to 5 px"]["recalled"] == 0.0
    assert things["2 to 5 px"]["in_reconstructions"] == 8
    assert things["2 to 5 px"]["invented"] == 1.0
    assert things["25 px and more"]["recalled"] is None
    expected = (64 * 4 + 8 * 4) * 0.8**2 / (64 * 256)
    assert pixels["mse_per_pixel"] == pytest.approx(expected, rel=0.02)


@pytest.fixture
def held_out(tmp_path):
    """Return the directories of the same three episodes, raw and latent."""
    raw, latents = tmp_path / "raw", tmp_path / "latents"
    for directory in (raw, latents):
        directory.mkdir()
    for seed, steps in enumerate((30, 120, 160)):
        walk = walk_episode(steps, seed, logvar=-2.0)
        common = {
            "actions": walk.actions,
            "rewards": walk.rewards,
            "terminated": walk.terminated,
        }
        frames = [scene((t % 12, 5, 2, 2)) for t in range(steps)]
        frames = (np.stack(frames) * 255).astype(np.uint8)
        save_episode(raw / f"{seed}.npz", {"frames": frames, **common})
        posterior = {"mu": walk.mu.astype(np.float16), "logvar": walk.logvar.astype(np.float16)}
        save_episode(latents / f"{seed}.npz", {**posterior, **common})
    return raw, latents


def test_all_measurements_together_are_plain_json(held_out):
    quality = measure_world(Walk(), SPEC, *held_out, frames=60)
    assert list(quality) == [
        "reconstruction",
        "salient_things",
        "likelihood",
        "horizon",
        "done",
        "hazard",
        "reward",
    ]
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    assert quality["done"]["deaths"] == 3
    assert measure_world(Walk(), SPEC, *held_out, frames=60) == quality


def test_episodes_of_one_step_are_measured_as_far_as_they_tell(tmp_path):
    class Told(Walk):
        def step(self, batch):
            output = super().step(batch)
            return replace(output, signals=(output.reward, output.reward))

    for seed in range(3):
        walk = walk_episode(1, seed, logvar=-2.0)
        columns = {"mu": walk.mu, "logvar": walk.logvar, "actions": walk.actions}
        columns |= {"rewards": walk.rewards, "terminated": walk.terminated}
        save_episode(tmp_path / f"{seed}.npz", {**columns, "x": np.zeros(1, np.float32)})
    signals = {"up": Signal("x", "rises"), "x": Signal("x")}
    heads = [SignalSpec(name=name, description=name) for name in signals]
    spec = SPEC.model_copy(update={"signals": tuple(heads)})
    quality = measure_memory(Told(), spec, tmp_path, signals=signals)
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    assert quality["likelihood"] == {
        "nll": None,
        "floor": None,
        "gaussian_baseline": None,
        "steps": 0,
        "episodes": 3,
    }
    assert quality["signals"]["up"] == {
        "average_precision": None,
        "precision_at_recall_0.8": None,
        "events": 0,
        "expected": 0.0,
        "steps": 0,
    }
    assert quality["signals"]["x"]["rms_error"] == 1.0
    assert "NLL of M" not in memory_figures(quality)
    assert "no held-out episode has a second step" in verdicts_on(quality)[0]


def test_a_level_that_nothing_is_known_of_has_no_error():
    run = replace(walk_with_done([0.0, 1.0]), signals=(np.zeros(2, np.float32),))
    run = replace(run, episode=replace(run.episode, signals={"x": np.full(2, np.nan)}))
    spec = SPEC.model_copy(update={"signals": (SignalSpec(name="x", description="x"),)})
    nothing = {"rms_error": None, "rms_error_of_the_mean": None, "steps": 0}
    assert signal_figures([run], spec, []) == {"x": nothing}


def test_the_cards_pictures_show_frames_and_a_dream(held_out):
    pictures = card_pictures(Walk(), SPEC, *held_out)
    assert set(pictures) == {"reconstruction", "dream"}
    for picture in pictures.values():
        assert isinstance(picture.image, Image.Image)
        assert picture.image.width > 8 * 32
        assert picture.caption.endswith(".")


def test_frames_are_taken_evenly_and_never_a_terminal_blank(tmp_path):
    frames = np.stack([np.full((16, 16, 3), value, np.uint8) for value in range(1, 101)])
    blank = np.concatenate([frames, np.zeros((1, 16, 16, 3), np.uint8)])
    steps = len(blank)
    save_episode(
        tmp_path / "0.npz",
        {
            "frames": blank,
            "actions": np.zeros(steps, np.int64),
            "rewards": np.ones(steps, np.float32),
            "terminated": np.arange(steps) == steps - 1,
        },
    )
    values = held_out_frames(tmp_path, 10)[:, 0, 0, 0]
    np.testing.assert_array_equal(values, np.arange(6, 100, 10))


def test_an_episode_too_short_for_a_strip_is_refused():
    with pytest.raises(ValueError, match="too few"):
        busiest_start(np.zeros((60, 16, 16, 3), np.uint8))


def test_latents_without_their_posteriors_cannot_be_measured(tmp_path):
    walk = walk_episode(5)
    save_episode(
        tmp_path / "0.npz",
        {
            "z": walk.mu,
            "actions": walk.actions,
            "rewards": walk.rewards,
            "terminated": walk.terminated,
        },
    )
    with pytest.raises(DataError, match=r"0\.npz: holds z, but"):
        load_latents(tmp_path)


def test_latents_are_drawn_with_the_posteriors_own_spread():
    class Recording(Walk):
        def __init__(self):
            self.latents = []

        def step(self, batch):
            self.latents.append(batch.latent)
            return super().step(batch)

    episode = walk_episode(400)
    logvar = np.full_like(episode.logvar, np.log(4.0))
    episode = replace(episode, mu=0 * episode.mu, logvar=logvar)
    world = Recording()
    teacher_force(world, SPEC, [episode])
    assert np.concatenate(world.latents).std() == pytest.approx(2.0, abs=0.25)
