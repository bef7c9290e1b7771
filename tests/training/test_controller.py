"""C: its forms, its evolution in the dream, and its evaluation in the real game."""

from concurrent.futures import Future

import numpy as np
import pytest

from dreamserve.loading import load_world
from dreamserve.local import DreamBatch
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.agents import BlindAgent
from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.data.policies import random_actions
from dreamserve_training.dreams.returns import dream_returns, features, latent_of
from dreamserve_training.evaluation.dreaming import AverageAgent, DreamingAgent
from dreamserve_training.evaluation.real import (
    EpisodeResults,
    blind_agents,
    compare_agents,
    controller_agents,
)
from dreamserve_training.models.controller import (
    Axis,
    LinearPolicy,
    Scores,
    load_policy,
    save_policy,
)
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.train import controller as train_controller
from dreamserve_training.train.controller import ControllerConfig, evolve

FEATURES = 4 + 8
AXIS = Axis(actions=3, still=0, positive=1, negative=2)
THREE = DiscreteSpace(n=3, names=("noop", "right", "left"))


def actions_of(policy, features):
    scores = policy.scores(features)
    return THREE.from_scores(scores, np.isfinite(scores).all(axis=1))


@pytest.mark.parametrize(("push", "action"), [(1.0, 1), (-1.0, 2), (0.3, 0), (-0.3, 0)])
def test_an_axis_moves_in_both_directions_or_stands_still(push, action):
    candidate = np.zeros(FEATURES + 1)
    candidate[0] = push
    seen = np.zeros((1, FEATURES), np.float32)
    seen[0, 0] = 1.0
    assert actions_of(AXIS.policy(candidate), seen).tolist() == [action]


def test_an_axis_never_takes_an_action_that_is_not_on_it():
    axis = Axis(actions=5, still=0, positive=1, negative=2)
    rng = np.random.default_rng(0)
    policy = axis.policy(10 * rng.normal(size=FEATURES + 1))
    seen = rng.normal(size=(500, FEATURES)).astype(np.float32)
    acts = np.argmax(policy.scores(seen), axis=1)
    assert set(acts.tolist()) <= {0, 1, 2}


def test_scores_take_the_action_of_the_largest():
    form = Scores(actions=3)
    candidate = np.zeros((3, FEATURES + 1))
    candidate[:, -1] = [0.0, 2.0, 1.0]
    policy = form.policy(candidate.ravel())
    assert form.parameters(FEATURES) == candidate.size
    assert actions_of(policy, np.zeros((2, FEATURES), np.float32)).tolist() == [1, 1]


def test_a_policy_is_read_back_as_it_was_written(tmp_path):
    policy = AXIS.policy(np.arange(FEATURES + 1.0))
    save_policy(policy, tmp_path / "c.npz")
    again = load_policy(tmp_path / "c.npz")
    np.testing.assert_array_equal(again.weights, policy.weights)
    np.testing.assert_array_equal(again.bias, policy.bias)


def constant_policy(action):
    bias = np.zeros(3, np.float32)
    bias[action] = 1.0
    return LinearPolicy(np.zeros((3, FEATURES), np.float32), bias)


def test_policies_in_one_batch_have_the_returns_they_have_alone(tiny_bundle):
    world = load_world(tiny_bundle)
    policies = [constant_policy(1), constant_policy(2), AXIS.policy(np.ones(FEATURES + 1))]
    together, lengths = dream_returns(world, policies, [3, 4, 5, 6], 1.0, 40)
    for index, policy in enumerate(policies):
        alone, _ = dream_returns(world, [policy], [3, 4, 5, 6], 1.0, 40)
        np.testing.assert_array_equal(together[index], alone[0])
    np.testing.assert_array_equal(together, lengths)  # this world pays 1 a step
    assert len(np.unique(lengths)) > 1, "no dream ended before another: the test shows nothing"


def test_a_resumed_evolution_arrives_at_the_same_controller(tiny_bundle, tmp_path):
    def config(generations, workers=1):
        return ControllerConfig(
            AXIS, generations=generations, population=6, episodes=2, max_steps=30, workers=workers
        )

    unbroken = evolve(tiny_bundle, tmp_path / "unbroken", config(3, workers=2))
    evolve(tiny_bundle, tmp_path / "stopped", config(2))
    resumed = evolve(tiny_bundle, tmp_path / "stopped", config(3))
    np.testing.assert_array_equal(resumed.weights, unbroken.weights)
    with np.load(tmp_path / "stopped" / "evolution.npz") as history:
        assert history["fitness"].shape == (3, 6)


def test_an_evolution_with_more_workers_than_candidates_is_that_with_one(
    tiny_bundle, tmp_path, inline
):
    def evolved(workers):
        config = ControllerConfig(
            AXIS, generations=1, population=3, episodes=2, max_steps=9, workers=workers
        )
        return evolve(tiny_bundle, tmp_path / str(workers), config)

    np.testing.assert_array_equal(evolved(8).weights, evolved(1).weights)


def test_a_sighted_agent_sees_every_frame_and_a_blind_one_the_first_only(tiny_bundle):
    world, rng = load_world(tiny_bundle), np.random.default_rng(0)
    frames = rng.integers(1, 256, (4, 64, 64, 3), dtype=np.uint8)
    for vision in (True, False):
        agent = DreamingAgent(world, constant_policy(1), vision=vision)
        agent.begin(frames[0], seed=7)
        twin = DreamBatch(world, [7], 1.0, starts=latent_of(world, frames[0]))
        for frame in frames[1:]:
            assert agent.act() == 1
            agent.see(1, frame)
            twin.step(np.array([1]))
            seen, dreamt = agent.dreams.latent, twin.latent
            assert np.array_equal(seen, dreamt) is not vision
            if vision:
                expected, _ = world.backend.encode(frame[None].astype(np.float32) / 255)
                np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)
                twin.correct(expected)
            np.testing.assert_array_equal(features(agent.dreams), features(twin))


def test_an_agent_that_sees_the_average_sees_it_whatever_is_observed(tiny_bundle):
    world, rng = load_world(tiny_bundle), np.random.default_rng(0)
    frames = rng.integers(1, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    states = []
    for episode in frames:
        agent = AverageAgent(world, constant_policy(1))
        agent.begin(episode[0], seed=7)
        for frame in episode[1:]:
            np.testing.assert_allclose(agent.dreams.latent[0], world.bank["mu"].mean(axis=0), 1e-5)
            agent.see(agent.act(), frame)
        states.append(features(agent.dreams))
    np.testing.assert_array_equal(*states)
    assert np.abs(states[0][:, 4:]).max() > 0  # what was done is remembered


@pytest.mark.slow
@pytest.mark.usefixtures("vizdoom")
def test_controllers_and_blind_policies_play_the_same_real_episodes(tiny_bundle):
    recipe = load_recipe("takecover")
    game = probe(recipe).env
    baselines = [("nothing", recipe.baselines["nothing"])]
    entries = [
        *blind_agents(game, CollectConfig(), baselines),
        *controller_agents(tiny_bundle, constant_policy(0), 1.0),
    ]
    returns = compare_agents(game, entries, seeds=[11, 12], workers=2)
    blind = ["random", "as collected", "nothing"]
    assert list(returns) == [*blind, "controller", "vision cut", "average seen"]
    assert all(len(played.returns) == 2 and min(played.returns) > 20 for played in returns.values())
    assert all(played.returns == played.lengths for played in returns.values())  # 1 a step
    # a controller that always stands still equals doing nothing, with or without vision
    assert returns["controller"] == returns["vision cut"] == returns["nothing"]
    assert returns["average seen"] == returns["nothing"]


def test_a_summary_has_the_standard_error_of_the_mean():
    results = EpisodeResults([100.0, 300.0, 2100.0, 2100.0], [50, 2100, 2100, 40])
    figures = results.summary(limit=2100)
    assert figures["mean"] == 1150.0
    assert figures["median"] == 1200.0
    assert figures["share_at_limit"] == 0.5
    assert figures["standard_error"] == pytest.approx(figures["std"] / 2, abs=0.1)


def test_evolution_finds_the_best_candidate(tiny_bundle, tmp_path, monkeypatch):
    target = np.linspace(-1, 1, FEATURES + 1)

    def fitness(pool, bundle, candidates, generation, config):
        return np.array([-np.square(candidate - target).sum() for candidate in candidates])

    monkeypatch.setattr(train_controller, "_fitness", fitness)
    config = ControllerConfig(AXIS, generations=150, population=12, sigma=0.3)
    policy = evolve(tiny_bundle, tmp_path, config)
    np.testing.assert_allclose(policy.weights[1], target[:-1], atol=0.1)


class _Pool:
    """Records jobs without running them."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, *arguments):
        self.jobs.append((function, arguments))
        job = Future()
        job.set_result(np.zeros(len(arguments[1])))
        return job


def test_candidates_of_a_generation_share_seeds_and_generations_do_not(tiny_bundle, monkeypatch):
    config = ControllerConfig(AXIS, population=6, episodes=3, temperature=0.7, max_steps=9)
    candidates = [np.zeros(FEATURES + 1)] * 6
    seeds = []
    for generation in (0, 1):
        pool = _Pool()
        train_controller._fitness(pool, tiny_bundle, candidates, generation, config)
        assert len({tuple(arguments[2]) for _, arguments in pool.jobs}) == 1
        seeds += pool.jobs[0][1][2]
    assert len(set(seeds)) == 6

    calls = []
    monkeypatch.setattr(train_controller, "worker_world", lambda bundle: bundle)
    monkeypatch.setattr(
        train_controller, "dream_returns", lambda *call: calls.append(call) or (np.eye(1), None)
    )
    function, arguments = pool.jobs[0]
    function(*arguments)
    assert calls[0][3:] == (0.7, 9)


def test_a_blind_agents_actions_depend_on_the_episodes_seed():
    agent = BlindAgent(random_actions, THREE)

    def actions(seed):
        agent.begin(np.zeros((64, 64, 3), np.uint8), seed)
        return [agent.act() for _ in range(30)]

    assert actions(1) == actions(1)
    assert actions(1) != actions(2)
