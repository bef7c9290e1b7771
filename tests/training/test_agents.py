"""Who acts draws other random numbers than the environment that he acts in, and bursts as asked."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.data.agents import BlindAgent, Exploration, ExploringAgent, learner_seed
from dreamserve_training.data.collect import CollectConfig, record_episode
from dreamserve_training.data.players import Player, RandomPlayer
from dreamserve_training.envs import EnvSpec
from dreamserve_training.evaluation.real import blind_agents, play

CHOICES, STEPS, SEEDS = 4, 25, range(40)


class Wind(gymnasium.Env):
    """Each step the wind blows to one of four sides; a step to that side earns 1."""

    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(CHOICES)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        wind = int(self.blow())
        return np.full(1, wind, np.float32), float(int(wind) == action), False, False, {}

    def blow(self):
        return self.np_random.integers(CHOICES)


class UniformWind(Wind):
    """The wind is what a random action is of the same random number."""

    def blow(self):
        return CHOICES * self.np_random.random(dtype=np.float32)


WIND = EnvSpec(
    env=Wind,
    env_id="Wind",
    observation=VectorSpec(names=("wind",), low=(-9.0,), high=(9.0,)),
    action_space=DiscreteSpace(n=CHOICES, names=("n", "e", "s", "w")),
    max_episode_steps=STEPS,
)


def guesses(rng, space):
    while True:
        yield int(rng.integers(space.n))


def right(env, config):
    """Return the share of steps in which the action was that of the wind."""
    real = env.open()
    return np.mean([record_episode(real, config, seed)["rewards"].mean() for seed in SEEDS])


PLAYERS = {
    "a policy": CollectConfig(policy=guesses),
    "brief actions": CollectConfig(shortest=1.0, longest=1.0),
    "a player": CollectConfig(players=(Player("random", 1.0, RandomPlayer(guesses)),)),
}


@pytest.mark.parametrize("env", [Wind, UniformWind])
@pytest.mark.parametrize("config", PLAYERS.values(), ids=PLAYERS)
def test_who_collects_cannot_know_what_the_environment_draws(env, config):
    assert right(replace(WIND, env=env), config) == pytest.approx(1 / CHOICES, abs=0.07)


def test_blind_agents_that_are_judged_cannot_know_what_the_environment_draws():
    env = replace(WIND, env=UniformWind).open()
    for agent in blind_agents(env.spec, CollectConfig(policy=guesses)):
        returns = [play(env, agent.build(), seed)[0] for seed in SEEDS]
        assert np.mean(returns) / STEPS == pytest.approx(1 / CHOICES, abs=0.07), agent.name


def test_a_blind_agent_draws_numbers_of_its_own_from_any_seed():
    for seed in (0, 1, 2**32, 2**40 + 3):
        agent = BlindAgent(lambda rng, _: (rng.random() for _ in range(9)), None)
        agent.begin(None, seed)
        theirs = np.random.default_rng(seed).random(9)
        assert not np.isin([agent.act() for _ in range(9)], theirs).any()


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3])
def test_who_learns_in_reality_draws_other_numbers_than_an_environment_of_torch(seed):
    drawn, theirs = (
        torch.rand(9, generator=torch.Generator().manual_seed(each))
        for each in (learner_seed(seed), seed)
    )
    assert not torch.isin(drawn, theirs).any()


class Still:
    """Takes no action of its own."""

    def begin(self, observation, seed):
        pass

    def act(self):
        return None


@pytest.mark.parametrize(("share", "length"), [(0.15, 12.0), (0.5, 1.0), (0.5, 12.0), (0.3, 1.0)])
def test_bursts_have_their_share_of_every_step_of_episodes_however_short(share, length):
    agent = ExploringAgent(Still(), Exploration(share=share, length=length), WIND.action_space)
    steps = []
    for seed in range(1500):
        agent.begin(None, seed)
        steps.append([agent.act() is not None for _ in range(20)])
    at_each = np.mean(steps, axis=0)
    assert at_each == pytest.approx(share, abs=0.05)  # four standard errors
    assert at_each.mean() == pytest.approx(share, abs=0.035)
