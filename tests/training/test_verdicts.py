"""A world that is worse than knowing nothing is said to be so."""

from dataclasses import replace

import numpy as np
import pytest

from dreamserve.manifest import DoneRule
from dreamserve_training.evaluation.differences import paired
from dreamserve_training.evaluation.prediction import break_even_threshold, ends, rewards
from dreamserve_training.evaluation.real import EpisodeResults
from dreamserve_training.evaluation.teacher_forcing import LatentEpisode, TeacherForced
from dreamserve_training.evaluation.verdicts import verdicts_on


def played(mean, standard_error=1.0):
    return {"mean": mean, "standard_error": standard_error}


GOOD = {
    "reconstruction": {"mse_per_pixel": 0.01, "mse_of_the_average_picture": 0.05},
    "likelihood": {"nll": -1.0, "gaussian_baseline": 0.9},
    "horizon": {"1": {"most_likely": 0.1, "copy_last": 0.3}},
    "done": {"deaths": 10, "alarms": 12, "episodes": 10},
    "reward": {"rms_error": 0.1, "rms_error_of_the_mean": 0.5},
    "real": {"random": played(20), "controller": played(90), "plan": played(100)},
    "dream": {"T = 1.0": played(95)},
}


def test_a_good_world_gets_no_verdict():
    assert verdicts_on(GOOD) == []
    assert verdicts_on({}) == []


@pytest.mark.parametrize(
    ("section", "figures", "says"),
    [
        ("reconstruction", {"mse_per_pixel": 0.06}, "worse than the average picture"),
        ("likelihood", {"nll": 0.95}, "no better than a Gaussian without a past"),
        (
            "likelihood",
            {"nll": None, "gaussian_baseline": None},
            "no held-out episode has a second step",
        ),
        ("horizon", {"1": {"most_likely": 0.4, "copy_last": 0.3}}, "worse than no change"),
        ("done", {"alarms": 0}, "never ends; 10 of 10 held-out episodes do"),
        ("done", {"alarms": 80}, "ends too early: 80 alarms"),
        ("reward", {"rms_error": 0.6}, "reward is worse than its mean"),
        ("real", {"controller": played(21)}, "controller is no better than random actions: 21 ± 1"),
        (
            "real",
            {"plan": played(19)},
            "plans are no better than random actions: 19 ± 1 and 20",
        ),
        ("dream", {"T = 1.0": played(400)}, "exploits the dream's errors: it earns 400"),
    ],
)
def test_each_fault_is_named(section, figures, says):
    found = verdicts_on({**GOOD, section: {**GOOD[section], **figures}})
    assert says in found[0]


def test_what_has_no_spread_is_not_blamed_for_tiny_errors():
    same = {  # Acrobot: every step costs 1, and no episode ends by itself
        "reconstruction": {"mse_per_pixel": 1e-6, "mse_of_the_average_picture": 0.0},
        "horizon": {"1": {"most_likely": 0.004, "copy_last": 0.0}},
        "reward": {"rms_error": 0.0011, "rms_error_of_the_mean": 0.0, "rms": 1.0},
        "real": {"random": played(-500, 0), "controller": played(-499.9, 0)},
        "dream": {"T = 1.0": played(-499.6, 0.1)},
    }
    assert verdicts_on(same) == []
    coarse = {"reward": {"rms_error": 0.5, "rms_error_of_the_mean": 0.0, "rms": 1.0}}
    assert "worse than its mean" in verdicts_on(coarse)[0]


def test_an_error_of_the_dreams_own_figures_is_no_exploitation():
    real = {"random": played(20, 0), "controller": played(90, 0)}
    assert verdicts_on({"real": real, "dream": {"T = 1.0": played(170, 10)}}) == []
    assert "exploits" in verdicts_on({"real": real, "dream": {"T = 1.0": played(170, 1)}})[0]


def test_a_difference_from_random_actions_is_told_with_its_error():
    real = {"random": played(-809, 250), "controller": played(-503, 300)}
    assert verdicts_on({"real": real}) == [
        "the controller is no better than random actions: -503 ± 300 and -809 ± 250, a difference"
        " of 306 ± 391, which is not above 2 standard errors"
    ]
    pairs = {"controller - random": played(306, 90)}  # on the same seeds
    assert verdicts_on({"real": real, "differences": pairs}) == []


def test_one_episode_has_no_standard_error_and_proves_nothing():
    one, other = EpisodeResults([5.0], [5]), EpisodeResults([1.0], [5])
    figures = one.summary(limit=5)
    assert figures["mean"] == figures["median"] == 5
    assert (figures["std"], figures["standard_error"], figures["episodes"]) == (None, None, 1)
    assert paired(one, EpisodeResults([1.0, 2.0], [5, 5]))["standard_error"] is None
    real = {"random": other.summary(5), "controller": figures, "plan": other.summary(5)}
    dream = {"T = 1.0": {**figures, "mean": 900.0}}
    found = verdicts_on({"real": real, "dream": dream})
    assert found == [
        "nothing says whether the controller is better than random actions: 5 (one episode) and 1"
        " (one episode)",
        "nothing says whether plans are better than random actions: 1 (one episode) and 1 (one"
        " episode)",
    ]
    random, controller = played(20), played(90)
    few = {
        "random": random,
        "controller": controller,
        "plan": {**played(8), "standard_error": None},
    }
    assert verdicts_on({"real": few}) == [
        "nothing says whether plans are better than random actions: 8 (one episode) and 20 ± 1"
    ]


def test_small_returns_and_rewards_keep_their_digits():
    figures = EpisodeResults([0.00012, 0.00034], [5, 5]).summary(limit=5)
    assert figures["mean"] == pytest.approx(0.00023)
    assert figures["standard_error"] == pytest.approx(0.00011)
    runs = [replace(run_of([0.0] * 4, False), reward=np.full(4, 1.5e-6, np.float32))]
    runs[0].episode.rewards[:] = [1e-6, 2e-6, 1e-6, 2e-6]
    assert rewards(runs)["rms_error"] == pytest.approx(0.5e-6, rel=1e-3)
    assert rewards(runs)["rms"] == pytest.approx(2.5**0.5 * 1e-6, rel=1e-3)


def run_of(logits, terminated):
    steps = len(logits)
    episode = LatentEpisode(
        *[np.zeros((steps, 1), np.float32)] * 2,
        np.zeros(steps, np.int64),
        np.zeros(steps, np.float32),
        np.arange(steps) == (steps - 1 if terminated else -1),
    )
    return TeacherForced(episode, np.zeros(steps - 1), None, np.array(logits, np.float32), {})


def test_the_threshold_gives_as_many_alarms_as_there_are_ends():
    runs = [run_of([-9, -8, -2], True), run_of([-7, -1, -5], True), run_of([-6, -6, -6], False)]
    threshold = break_even_threshold(runs)
    assert threshold == -3.5  # between the second largest logit and the third
    assert ends(runs, DoneRule(threshold=threshold))["alarms"] == 2
    assert break_even_threshold(runs[2:]) == 0.0
