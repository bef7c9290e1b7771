"""Who collects episodes: exploring agents, sequences at a random pace, and players by shares."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.training.noise import NOISE, Noise

from dreamserve.loading import load_world
from dreamserve.spaces import BoxSpace
from dreamserve_training.data.agents import Exploration, ExploringAgent
from dreamserve_training.data.collect import CollectConfig, collect, record_episode
from dreamserve_training.data.episodes import load_episode
from dreamserve_training.data.players import Player, RandomPlayer, SequencePlayer, player_of
from dreamserve_training.data.policies import varied_sequence
from dreamserve_training.dreams.returns import latent_of
from dreamserve_training.evaluation.dreaming import ControllerPlayer, DreamingAgent
from dreamserve_training.models.controller import LinearPolicy, save_policy
from dreamserve_training.runs.errors import MismatchError

THREE = NOISE.action_space
LEVER = BoxSpace(low=(-1.0,), high=(1.0,), names=("lever",))
FRAME = np.zeros((64, 64, 3), np.uint8)


class Still:
    """Always takes action 2; remembers what it was shown."""

    def begin(self, observation, seed):
        self.seen = []

    def act(self):
        return 2

    def see(self, action, observation):
        self.seen.append(action)


def played(agent, seed, steps):
    agent.begin(FRAME, seed)
    actions = []
    for _ in range(steps):
        actions.append(agent.act())
        agent.see(actions[-1], FRAME)
    return actions


def test_bursts_take_their_share_of_the_steps_and_the_agent_sees_them():
    agent = ExploringAgent(Still(), Exploration(share=0.3, length=8.0), THREE)
    shares = []
    for seed in range(60):
        actions = np.array(played(agent, seed, 600))
        assert agent.agent.seen == actions.tolist()
        shares.append((actions != 2).mean() * 3 / 2)  # a third of random actions are 2 as well
    assert np.mean(shares) == pytest.approx(0.3, abs=0.06)
    assert min(shares) < 0.1  # episodes that are almost the agent's alone
    assert max(shares) > 0.45
    assert played(agent, 3, 50) == played(agent, 3, 50) != played(agent, 4, 50)


def test_some_bursts_are_independent_and_some_last():
    agent = ExploringAgent(Still(), Exploration(share=0.5, length=200.0), LEVER)
    kept = set()
    for seed in range(12):
        actions = [np.ravel(action)[0] for action in played(agent, seed, 1000)]
        for own, burst in itertools.groupby(actions, lambda action: action == 2):
            values = np.array(list(burst))
            if not own and len(values) > 100:
                kept.add(bool(np.corrcoef(values[1:], values[:-1])[0, 1] > 0.3))
    assert kept == {True, False}


def test_an_agent_without_exploration_is_never_interrupted():
    agent = ExploringAgent(Still(), Exploration(share=0.0), THREE)
    assert set(played(agent, 1, 500)) == {2}


def test_exploration_of_more_than_half_of_the_steps_is_refused():
    with pytest.raises(ValueError, match="share must be less than or equal to"):
        Exploration(share=0.6)


def test_sequences_are_played_at_a_pace_and_from_a_step_of_their_own():
    sweep, still = (2,) * 40 + (1,) * 40, (0,)
    lengths, kinds = [], Counter()
    for seed in range(60):
        policy = varied_sequence(np.random.default_rng(seed), THREE, (sweep, still))
        actions = list(itertools.islice(policy, 400))
        kinds[set(actions) == {0}] += 1
        runs = [len(list(run)) for _, run in itertools.groupby(actions)][1:-1]
        assert set(actions) in ({0}, {1, 2})
        assert not runs or max(runs) - min(runs) <= 1
        lengths += runs
    assert min(kinds.values()) > 15
    assert 20 <= min(lengths) < 30
    assert 55 < max(lengths) <= 80


def test_players_have_their_shares_of_any_stretch_of_seeds():
    players = tuple(Player(name, weight, RandomPlayer()) for name, weight in [("a", 2), ("b", 6)])
    for first in (0, 777, 2_000_000):
        names = Counter(player_of(seed, players).name for seed in range(first, first + 40))
        assert abs(names["a"] - 10) <= 2
    absent = (Player("none", 0.0, RandomPlayer()), *players)
    assert "none" not in {player_of(seed, absent).name for seed in range(200)}


def game_config(bundle, path, **fields):
    explore = Exploration(share=0.3, length=3.0)
    players = (
        Player("controller", 1.0, ControllerPlayer(bundle, path, "bundle 1", explore)),
        Player("baselines", 1.0, SequencePlayer(((2,) * 3 + (1,) * 3,), explore)),
        Player("random", 1.0, RandomPlayer()),
    )
    return CollectConfig(**{"episodes": 6, "workers": 1, "players": players, **fields})


@pytest.fixture
def config(tiny_bundle, tmp_path, inline):
    """Return a collection by a controller that stands still, a sweep and random actions."""
    path = tmp_path / "controller.npz"
    still = LinearPolicy(np.zeros((3, 12), np.float32), np.array([1, 0, 0], np.float32))
    save_policy(still, path)
    return game_config(tiny_bundle, path)


def test_a_collected_episode_depends_on_its_seed_and_players_alone(config, tmp_path):
    collect(NOISE, tmp_path / "raw", config)
    names = {player_of(seed, config.players).name for seed in config.seeds}
    assert names == {"controller", "baselines", "random"}
    for seed in config.seeds:
        stored = load_episode(tmp_path / "raw" / f"episode-{seed:06d}.npz")
        again = record_episode(NOISE.open(), config, seed)
        for name in ("frames", "actions"):
            np.testing.assert_array_equal(stored[name], again[name])
        if player_of(seed, config.players).name == "controller":
            assert (stored["actions"] == 0).mean() > 0.3


def test_an_episode_is_cut_after_its_most_steps_and_is_otherwise_the_same(config, tmp_path):
    for seed in config.seeds:
        whole = record_episode(NOISE.open(), config, seed)
        cut = record_episode(NOISE.open(), replace(config, max_steps=5), seed)
        for name, rows in whole.items():
            np.testing.assert_array_equal(cut[name], rows[:5])
    collect(NOISE, tmp_path / "raw", replace(config, max_steps=5))
    with pytest.raises(MismatchError, match="max_steps"):
        collect(NOISE, tmp_path / "raw", config)


def pays(*steps):
    """Return the game of noise, but only these of its steps are paid."""

    class Paying(Noise):
        def reset(self, *, seed=None, options=None):
            self.taken = 0
            return super().reset(seed=seed, options=options)

        def step(self, action):
            self.taken += 1
            return self._frame(), float(self.taken in steps) - 0.1, False, False, {}

    return replace(NOISE, env=Paying, env_id="Paying")


@pytest.mark.parametrize(
    ("paid", "steps"), [((), 4), ((4, 8), 12), ((2, 3), 7), ((1, 6), 5), (range(3, 40, 4), 30)]
)
def test_an_episode_is_cut_after_enough_steps_that_earn_nothing(paid, steps):
    episode = record_episode(pays(*paid).open(), CollectConfig(idle_steps=4), seed=1)
    assert len(episode["rewards"]) == steps
    assert not episode["terminated"].any()


def test_episodes_that_are_cut_elsewhere_are_others(tmp_path, inline):
    config = CollectConfig(episodes=2, workers=1)
    collect(NOISE, tmp_path / "raw", config)
    with pytest.raises(MismatchError, match="idle_steps"):
        collect(NOISE, tmp_path / "raw", replace(config, idle_steps=9))


def test_episodes_of_other_players_are_refused(config, tmp_path):
    collect(NOISE, tmp_path / "raw", config)
    collect(NOISE, tmp_path / "raw", config)
    first, *others = config.players
    for changed in (
        replace(first, weight=2.0),
        replace(first, plays=replace(first.plays, made_of="bundle 2")),
    ):
        with pytest.raises(MismatchError, match="players"):
            collect(NOISE, tmp_path / "raw", replace(config, players=(changed, *others)))
    with pytest.raises(MismatchError, match="players"):
        collect(NOISE, tmp_path / "raw", replace(config, players=()))


def test_a_controller_that_is_interrupted_dreams_on_with_what_was_done(tiny_bundle):
    world, rng = load_world(tiny_bundle), np.random.default_rng(0)
    frames = rng.integers(1, 256, (3, 64, 64, 3), dtype=np.uint8)
    policy = LinearPolicy(np.zeros((3, 12), np.float32), np.array([1, 0, 0], np.float32))
    states = []
    for action in (0, 2):
        agent = DreamingAgent(world, policy)
        agent.begin(frames[0], seed=7)
        assert agent.act() == 0
        agent.see(action, frames[1])
        np.testing.assert_array_equal(agent.dreams.latent, latent_of(world, frames[1]))
        states.append(agent.dreams.state["h"])
    assert not np.array_equal(*states)


def test_a_policy_that_ends_ends_its_episode():
    short = RandomPlayer(lambda rng, space: iter([1, 1]))
    config = CollectConfig(players=(Player("short", 1.0, short),))
    assert record_episode(NOISE.open(), config, 3)["actions"].tolist() == [1, 1]
