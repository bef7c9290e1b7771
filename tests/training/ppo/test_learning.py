"""C learned by PPO: it finds known optima, for every kind of action space and of reward."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dreamserve.local import DreamBatch
from dreamserve_training.evaluation.analytic import Bandit, numpy_world, random_system
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import dreaming

QUICK = PPOConfig(
    iterations=20,
    dreams=64,
    steps=16,
    dream_steps=50,
    temperatures=(1.0, 1.0),
    minibatch=256,
    lr=0.03,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def learned(world, **options):
    learner = dreaming(world, PPOConfig(**{**vars(QUICK), **options}))
    while learner.iteration < learner.config.iterations:
        learner.iterate()
    return learner


def mean_reward(world, policy, steps=40, dreams=100):
    """Return the mean reward of the policy's most likely actions."""
    batch = DreamBatch(world, range(1000, 1000 + dreams), 1.0)
    rewards = []
    for _ in range(steps):
        scores = policy.scores(batch.latent)
        action = world.spec.action_space.from_scores(scores, np.isfinite(scores).all(axis=1))
        rewards.append(batch.step(action)[0])
    return float(np.mean(rewards))


@pytest.mark.parametrize(
    ("kind", "reward"),
    [
        ("Discrete", {"world": 1.0}),
        ("Discrete", {"end": -0.5, "hit": -0.5}),
        ("MultiDiscrete", {"end": -1.0}),
        ("MultiBinary", {"hit": -1.0}),
    ],
)
def test_every_kind_of_choices_and_of_reward_is_learned(matching, kind, reward):
    world = matching(kind)
    most = world.backend.components
    policy = learned(world, reward=reward).model.policy()
    assert mean_reward(world, policy) > 0.92 * most


def test_a_network_learns_what_no_linear_policy_can(matching):
    world = matching("Discrete")
    step = world.backend.step

    def exclusive_or(batch):  # choice 1 is right where both latents have the same sign
        latent = batch.latent.copy()
        latent[:, 0] *= latent[:, 1]
        return step(replace(batch, latent=latent))

    world.backend.step = exclusive_or
    linear, network = (
        mean_reward(world, learned(world, hidden=size, gae_lambda=0.0).model.policy())
        for size in (0, 16)
    )
    assert linear < 0.7
    assert network > 0.9


def test_the_arm_of_the_largest_mean_is_found_in_noise(matching):
    bandit = Bandit()
    world = numpy_world(bandit)
    policy = learned(world, iterations=20).model.policy()
    assert mean_reward(world, policy) > 0.98 * bandit.best(1).value


def test_continuous_control_comes_near_the_optimum():
    system = random_system(seed=0, states=4, actions=2, bound=1.0, starts=32)
    world, horizon = numpy_world(system), 20
    policy = learned(
        world,
        iterations=60,
        dreams=128,
        dream_steps=30,
        minibatch=512,
        action_std=0.3,
        discount=0.95,
    ).model.policy()
    dreams = DreamBatch(world, range(32), 0.0, starts=np.arange(32))
    total = np.zeros(32)
    for _ in range(horizon):
        scores = policy.scores(dreams.latent)
        total += dreams.step(world.spec.action_space.from_scores(scores, np.ones(32, bool)))[0]
    best = np.array([system.best(start, horizon).value for start in system.starts])
    nothing = np.array([system.value(s, np.zeros((horizon, 2))) for s in system.starts])
    print(total.mean(), best.mean(), nothing.mean())
    assert total.mean() > best.mean() + 0.1 * (nothing.mean() - best.mean())


def silent_at_first(world, silence, **options):
    """Return a learner in dreams that earn nothing in the first iterations."""
    learner = dreaming(world, PPOConfig(**{**vars(QUICK), **options}))
    dream = learner.source.run

    def run(*arguments):
        seen = dream(*arguments)
        silent = learner.iteration < silence
        return replace(seen, rewards=torch.zeros_like(seen.rewards)) if silent else seen

    learner.source.run = run
    return learner


@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_the_unit_of_rewards_is_that_of_the_first_iteration_that_has_some(matching, size):
    options = {"reward": {"world": size}, "iterations": 12}
    heard = learned(matching("Discrete"), **options)
    late = silent_at_first(matching("Discrete"), 2, **options)
    late.iterate()
    resumed = silent_at_first(matching("Discrete"), 2, **options)
    resumed.restore(deepcopy(late.content()))
    for learner in (late, resumed):
        while learner.iteration < 12:
            figures = learner.iterate()
        assert learner.unit == pytest.approx(heard.unit, rel=0.3)
        assert figures["value_loss"] < 2.0
    assert late.model.policy().digest() == resumed.model.policy().digest()
