"""How dangerous dreams are, on worlds whose dangers are known; rankings with known precision."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dreamserve.backends.base import StepOutput
from dreamserve.heads import GaussianMixture
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, SignalSpec, TensorSpec, WorldSpec
from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.signals import Signal
from dreamserve_training.evaluation.hazard import events_of, hazard
from dreamserve_training.evaluation.measure import measure_world, memory_figures
from dreamserve_training.evaluation.prediction import detection, ends, signals
from dreamserve_training.evaluation.teacher_forcing import LatentEpisode, teacher_force
from dreamserve_training.evaluation.verdicts import verdicts_on

RATE = 0.02
LOGIT = math.log(RATE / (1 - RATE))
SPEC = WorldSpec(
    name="fire",
    action_space=DiscreteSpace(n=2, names=("stay", "burn")),
    observation=VectorSpec(names=("x",), low=(None,), high=(None,)),
    latent_size=1,
    recurrent_state=(TensorSpec(name="steps", shape=(1,)),),
    head=GaussianMixture(form="joint", components=1),
    noise=NoiseSpec(normal=1, uniform=1),
    temperature_rule="paper",
    done=DoneRule(rule="drawn"),
    reward=RewardRule(kind="constant", value=1.0),
    signals=tuple(SignalSpec(name=name, description="") for name in ("burn", "seen", "late")),
)


class Fire:
    """Three signals: `burn` follows the action, `seen` the latent, which dreams leave at 0, and
    `late` the number of steps, from 60 on. The dream ends at any step with the probability RATE.
    """

    name = "fire"

    def __init__(self, logit=LOGIT):
        self.logit = logit

    def step(self, batch):
        steps, rows = batch.state[0] + 1, len(batch.latent)
        still = np.zeros((rows, 1), np.float32)
        said = batch.action == 1, batch.latent[:, 0] > 0.5, steps[:, 0] > 60
        return StepOutput(
            latent=still,
            reward=np.ones(rows, np.float32),
            done_logit=np.full(rows, self.logit, np.float32),
            state=(steps,),
            head=(still, still[:, None], still[:, None]),
            signals=tuple(part.astype(np.float32) for part in said),
        )


def episode(steps, seed):
    """Return a real episode that ends by death, and does what `Fire` expects."""
    rng = np.random.default_rng(seed)
    actions = (rng.random(steps) < 0.3).astype(np.int64)
    shown = rng.random(steps) < 0.2
    return LatentEpisode(
        mu=shown[:, None].astype(np.float32),
        logvar=np.full((steps, 1), -40, np.float32),
        actions=actions,
        rewards=np.ones(steps, np.float32),
        terminated=np.arange(steps) == steps - 1,
        signals={
            "burn": actions.astype(np.float32),
            "seen": shown.astype(np.float32),
            "late": (np.arange(steps) >= 60).astype(np.float32),
        },
    )


@pytest.fixture(scope="module")
def runs():
    lengths = np.random.default_rng(0).geometric(RATE, size=200)
    episodes = [episode(int(steps), seed) for seed, steps in enumerate(lengths)]
    return teacher_force(Fire(), SPEC, episodes, keep_every=8)


def rows_of(runs, spec=SPEC, world=None, done_positive=1.0, **options):
    events = events_of(spec, done_positive, ["burn", "seen", "late"])
    found = hazard(world or Fire(), spec, runs, events, **options)
    by_event = {}
    for name, row in found.items():
        event, ages = name.split(", ")
        if ages != "all ages":
            by_event.setdefault(event, []).append(row)
    return found, by_event


def test_what_the_real_actions_decide_is_as_frequent_in_dreams_as_in_reality(runs):
    _, rows = rows_of(runs)
    assert len(rows["burn"]) == 4
    for row in rows["burn"]:
        assert row["real"] == row["expected"] == pytest.approx(300, abs=60)
        assert row["dreamed"] == row["real_of_dreamed"]


def test_what_only_real_frames_show_is_missed_by_dreams(runs):
    _, rows = rows_of(runs, horizon=20)
    for row in rows["seen"]:
        assert row["real"] == row["expected"] > 100
        assert row["dreamed"] < 0.4 * row["real_of_dreamed"]  # only the first step is seen
        assert row["dreamed_over_real"] < 0.4


def test_ends_that_are_drawn_have_their_probability(runs):
    found, rows = rows_of(runs)
    for row in rows["end"]:
        assert row["expected"] == row["dreamed"] == pytest.approx(1000 * RATE, abs=0.01)
        assert abs(row["real"] - 1000 * RATE) < 4 * row["standard_error"]
    steps = sum(len(run.done_logit) for run in runs)
    deaths = [row["real"] / row["standard_error"] for row in rows["end"]]  # sqrt of their number
    assert sum(square**2 for square in deaths) == pytest.approx(len(runs), rel=0.01)
    assert steps > 5000
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_rates_and_ratios_of_rare_events_are_not_rounded_away(runs):
    found, _ = rows_of(runs, world=Fire(logit=math.log(1e-6)))
    row = found["end, all ages"]
    assert row["dreamed"] == pytest.approx(1e-3, rel=1e-3)
    assert row["dreamed_over_real"] == pytest.approx(row["dreamed"] / row["real_of_dreamed"], 1e-3)


class OwnDanger:
    """A perfect world of episodes that differ: the latent is the episode's rate of ends."""

    name = "own danger"

    def step(self, batch):
        rate = batch.latent[:, 0]
        return StepOutput(
            latent=batch.latent,
            reward=np.ones(len(rate), np.float32),
            done_logit=np.log(rate / (1 - rate)),
            state=batch.state,
            head=(batch.latent[:, :1], batch.latent[:, None], batch.latent[:, None]),
        )


def test_a_perfect_world_of_unlike_episodes_is_neither_safer_nor_more_dangerous():
    rng = np.random.default_rng(1)
    rates = np.repeat([0.05, 0.002], 1000)
    episodes = []
    for rate, length in zip(rates, rng.geometric(rates), strict=True):
        steps = min(int(length), 200)
        one = episode(steps, 0)
        ended = one.terminated & (length <= 200)
        mu = np.full((steps, 1), rate, np.float32)
        episodes.append(replace(one, mu=mu, terminated=ended, signals={}))
    spec = SPEC.model_copy(update={"signals": ()})
    runs = teacher_force(OwnDanger(), spec, episodes, keep_every=32)
    found = hazard(OwnDanger(), spec, runs, events_of(spec, 1.0, []), starts=10_000)
    assert len(found) == 5
    for row in list(found.values())[:2]:  # where both kinds are
        assert row["dreamed_over_real"] == pytest.approx(1.0, abs=0.15)
    assert found["end, all ages"]["dreamed_over_real"] == pytest.approx(1.0, abs=0.06)


def test_ages_are_told_apart(runs):
    found, rows = rows_of(runs)
    *names, everything = [name.split(", ")[1] for name in found if name.startswith("late")]
    assert everything == "all ages"
    assert names[0].startswith("steps 0 to ")
    assert names[-1].endswith(f" to {max(len(run.done_logit) for run in runs) - 1}")
    early, *_, last = rows["late"]
    assert early["real"] == early["dreamed"] == 0.0
    assert early["dreamed_over_real"] is None
    assert last["real"] == last["dreamed"] == 1000.0


def test_all_ages_together_have_the_mean_rate_of_their_steps(runs):
    found, _ = rows_of(runs)
    steps = sum(len(run.done_logit) for run in runs)
    late = sum(max(0, len(run.done_logit) - 60) for run in runs)
    assert found["late, all ages"]["real"] == pytest.approx(1000 * late / steps, abs=0.01)
    assert found["end, all ages"]["dreamed"] == pytest.approx(1000 * RATE, abs=0.01)


def test_a_dream_that_has_ended_is_in_no_danger():
    """Ends cut at a threshold: with an alarm at each step, only a dream's first step counts."""
    spec = SPEC.model_copy(update={"done": DoneRule(threshold=0.0)})
    world = Fire(logit=1.0)
    runs = teacher_force(world, spec, [episode(50, 1), episode(60, 2)], keep_every=7)
    found, rows = rows_of(runs, spec, world, done_positive=10.0)
    assert all(row["dreamed"] == 1000.0 for row in rows["end"])
    undone = 1000 / (1 + math.exp(math.log(10) - 1.0))
    assert rows["end by probability"][0]["dreamed"] == pytest.approx(undone, abs=0.01)
    first_steps = hazard(world, spec, runs, events_of(spec, 1.0, ["burn"]), horizon=1)
    for name, row in first_steps.items():
        if name.startswith("burn"):
            assert found[name]["dreamed"] == row["dreamed"] == row["real_of_dreamed"]


def test_events_that_nobody_expects_are_left_out():
    world = Fire(logit=-1000.0)
    alive = replace(episode(50, 1), terminated=np.zeros(50, np.bool_))
    runs = teacher_force(world, SPEC, [alive], keep_every=7)
    assert hazard(world, SPEC, runs, events_of(SPEC, 1.0, [])) == {}


def test_rankings_have_their_known_precision():
    happened = np.array([True, False, True, False, False])
    best = detection(np.array([5.0, 3.0, 4.0, 2.0, 1.0]), happened)
    assert best == {"average_precision": 1.0, "precision_at_recall_0.8": 1.0}
    worse = detection(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), happened)
    assert worse["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert worse["precision_at_recall_0.8"] == pytest.approx(2 / 3, abs=1e-4)
    equal = detection(np.ones(5), happened)
    assert equal == {"average_precision": 0.4, "precision_at_recall_0.8": 0.4}
    nothing = detection(np.ones(5), np.zeros(5, np.bool_))
    assert nothing == {"average_precision": None, "precision_at_recall_0.8": None}


def test_signals_are_measured_where_they_are_known(runs):
    episodes = [replace(run.episode, signals={**run.episode.signals}) for run in runs[:20]]
    for one in episodes:
        one.signals["burn"] = np.where(np.arange(len(one.mu)) == 0, np.nan, one.signals["burn"])
    some = teacher_force(Fire(), SPEC, episodes)
    figures = signals(some, SPEC, ["burn"])
    steps = sum(len(one.mu) for one in episodes)
    assert figures["burn"]["steps"] == steps - 20
    assert figures["burn"]["average_precision"] == 1.0
    assert figures["burn"]["events"] == figures["burn"]["expected"]
    assert figures["late"]["rms_error"] == 0.0
    assert figures["late"]["rms_error_of_the_mean"] > 0.3


def test_drawn_ends_are_judged_by_their_sum_and_not_by_a_threshold(runs):
    figures = ends(runs, SPEC.done)
    steps = sum(len(run.done_logit) for run in runs)
    assert figures["expected"] == pytest.approx(RATE * steps, rel=1e-3)
    assert verdicts_on({"done": figures}) == []
    often = teacher_force(Fire(logit=0.0), SPEC, [run.episode for run in runs[:10]])
    [verdict] = verdicts_on({"done": ends(often, SPEC.done)})
    assert "ends too early" in verdict
    never = teacher_force(Fire(logit=-50.0), SPEC, [run.episode for run in runs[:10]])
    [verdict] = verdicts_on({"done": ends(never, SPEC.done)})
    assert "never ends" in verdict


def test_hazard_and_signals_are_among_a_worlds_measurements(tmp_path):
    for folder in ("raw", "latents"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        one = episode(40, seed)
        steps = {"actions": one.actions, "rewards": one.rewards, "terminated": one.terminated}
        health = 100 - np.cumsum(one.actions).astype(np.float32)
        latents = {"mu": one.mu.astype(np.float16), "logvar": np.full((40, 1), -10, np.float16)}
        save_episode(tmp_path / "latents" / f"{seed}.npz", {**latents, **steps, "health": health})
        save_episode(tmp_path / "raw" / f"{seed}.npz", {"vectors": one.mu, **steps})
    world = {"raw": tmp_path / "raw", "latents": tmp_path / "latents"}
    burn = {"burn": Signal("health", "falls")}
    quality = measure_world(Fire(), SPEC, **world, signals=burn)
    assert quality["signals"]["burn"]["average_precision"] == 1.0
    assert any(name.startswith("burn, steps 0") for name in quality["hazard"])
    assert not any(name.startswith("seen") for name in quality["hazard"])
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    ends = quality["hazard"]["end, all ages"]
    assert memory_figures(quality) == {
        "NLL of M": quality["likelihood"]["nll"],
        "precision of ends at recall 0.8": quality["done"]["precision_at_recall_0.8"],
        "ends dreamed over real": ends["dreamed_over_real"],
    }
