"""C learns on in the real environment: what it does there, what it learns, and when it is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.noise import NOISE, Noise

from dreamserve.loading import load_world
from dreamserve_training.data.episodes import DataError
from dreamserve_training.data.signals import Signal
from dreamserve_training.evaluation import real
from dreamserve_training.evaluation.analytic import numpy_world, random_system
from dreamserve_training.evaluation.dreaming import DreamingAgent
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Iteration, Recipe
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.tasks import tasks_of
from dreamserve_training.train.ppo import resumable
from dreamserve_training.train.ppo.config import Features, FinetuneConfig, PPOConfig
from dreamserve_training.train.ppo.finetune import finetune, in_a_row, take_critic
from dreamserve_training.train.ppo.learning import dreaming, learn
from dreamserve_training.train.ppo.model import ActorCritic
from dreamserve_training.train.ppo.real_episode import Game, Played, play
from dreamserve_training.workspace import Workspace

QUICK = FinetuneConfig(iterations=3, episodes=2, workers=1, minibatch=16, lr=0.05)


class Preference(Noise):
    """Noise, in which the last action earns 1; chance ends it."""

    def step(self, action):
        is_over = bool(self.np_random.random() < 0.2)
        return self._frame(), float(action == 2), is_over, False, {}


class Hurting(Preference):
    """Preference that hurts: the first two actions cost health."""

    health = 100.0

    def step(self, action):
        self.health -= 10.0 * (action < 2)
        return super().step(action)


ENV = replace(NOISE, env=Preference, env_id="Preference", max_episode_steps=25)


@pytest.fixture
def policy():
    rng = np.random.default_rng(0)
    return LinearPolicy(rng.normal(size=(3, 12)).astype(np.float32), np.zeros(3, np.float32))


HURTING = replace(
    ENV, env=Hurting, record=lambda env, observation: {"health": env.unwrapped.health}
)
HIT = Signal("health", "falls")


def played(bundle, policy, config, seed, env=ENV, signals=None):
    spec = load_world(bundle).spec
    model = ActorCritic(spec, Features.of(spec, config), config, policy)
    game = Game(env, bundle, Features.of(spec, config), config, signals or {})
    return play(game, model.scores, model.distribution, seed)


def mean_reward(bundle, policy):
    episodes = [played(bundle, policy, QUICK, seed) for seed in range(20)]
    return float(torch.cat([each.rewards for each in episodes]).mean())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sure_controller_plays_the_very_episode_that_judges_it(tiny_bundle, policy, seed):
    sure = replace(QUICK, initial_scale=1e6)
    episode = played(tiny_bundle, policy, sure, seed)
    agent = DreamingAgent(load_world(tiny_bundle), policy)
    returned, steps = real.play(ENV.open(), agent, seed)
    assert (float(episode.rewards.sum()), len(episode.rewards)) == (returned, steps)
    assert len(episode.features) == steps + 1


def test_an_episode_ends_where_enough_steps_in_a_row_earn_nothing(tiny_bundle, policy):
    seed = 3  # of an episode that goes on after two such steps
    whole = played(tiny_bundle, policy, QUICK, seed).rewards.tolist()
    steps = 1 + next(i for i in range(1, len(whole)) if whole[i - 1 : i + 1] == [0.0, 0.0])
    cut = played(tiny_bundle, policy, replace(QUICK, idle_steps=2), seed)
    assert cut.rewards.tolist() == whole[:steps] != whole
    assert cut.ends.tolist() == [0.0] * (steps - 1) + [1.0]


def test_ends_are_those_that_happened_or_their_probability(tiny_bundle, policy):
    happened = played(tiny_bundle, policy, QUICK, 1)
    assert len(happened.ends) < ENV.max_episode_steps
    assert happened.ends.tolist() == [0.0] * (len(happened.ends) - 1) + [1.0]
    expected = played(tiny_bundle, policy, replace(QUICK, ends="expected"), 1)
    assert ((expected.ends > 0) & (expected.ends < 1)).all()
    torch.testing.assert_close(expected.rewards, happened.rewards)


def test_signals_are_those_that_happened_or_what_the_world_expects(hurting_bundle, policy):
    config = replace(QUICK, reward={"hit": -1.0}, signals="real")
    seed = 4  # of an episode of several steps
    happened = played(hurting_bundle, policy, config, seed, HURTING, {"hit": HIT})
    expected = played(hurting_bundle, policy, replace(config, signals="expected"), seed, HURTING)
    hurt = happened.drawn.flatten() < 2
    assert 0 < int(hurt[1:].sum()) < len(hurt) - 1
    assert happened.rewards[1:].tolist() == (-hurt[1:].float()).tolist()
    assert ((expected.rewards < 0) & (expected.rewards > -1)).all()
    assert happened.rewards[0] == expected.rewards[0]  # nothing was recorded before the first step


def test_a_signal_needs_its_recorded_number(hurting_bundle, policy):
    config = replace(QUICK, reward={"hit": -1.0}, signals="real")
    with pytest.raises(DataError, match="signal 'hit' needs 'armour', which is not recorded"):
        played(hurting_bundle, policy, config, 1, HURTING, {"hit": Signal("armour", "falls")})


def test_signals_that_are_not_the_worlds_are_refused(hurting_bundle, policy, tmp_path):
    config = replace(QUICK, reward={"hit": -1.0}, signals="real")
    with pytest.raises(ValueError, match=r"the world's signals \['hit'\] are, not \[\]"):
        finetune(HURTING, hurting_bundle, policy, tmp_path, config)


@pytest.mark.usefixtures("inline")
def test_a_world_without_signals_has_none_that_happened(tiny_bundle, policy, tmp_path):
    config = replace(QUICK, signals="real", iterations=1)
    finetune(ENV, tiny_bundle, policy, tmp_path, config)


@pytest.mark.usefixtures("inline")
def test_it_learns_to_avoid_what_happens_though_the_world_knows_nothing_of_it(
    hurting_bundle, policy, tmp_path
):
    config = replace(QUICK, reward={"hit": -1.0}, signals="real", iterations=12, episodes=8)
    learned = finetune(HURTING, hurting_bundle, policy, tmp_path, config, signals={"hit": HIT})
    before, after = (mean_reward(hurting_bundle, each) for each in (policy, learned))
    assert after > before + 0.3  # the action that does not hurt is the one that earns


def test_episodes_follow_one_another_in_a_row_and_each_is_cut_at_its_end():
    def episode(first, steps):
        states = torch.arange(first, first + steps + 1.0)[:, None]
        ones = torch.ones(steps)
        return Played(states, ones[:, None], ones[:, None].long(), ones * first, ones)

    seen = in_a_row([episode(10, 2), episode(20, 3)])
    assert seen.features.flatten().tolist() == [10, 11, 20, 21, 22, 23]
    assert seen.cut.flatten().tolist() == [False, True, False, False, True]
    assert seen.finals.flatten().tolist() == [12, 23]
    assert seen.rewards.flatten().tolist() == [10, 10, 20, 20, 20]
    assert seen.scores.shape == (5, 1, 1)


@pytest.mark.usefixtures("inline")
def test_it_learns_what_the_environment_pays_for(tiny_bundle, policy, tmp_path):
    config = replace(QUICK, iterations=12, episodes=8)
    learned = finetune(ENV, tiny_bundle, policy, tmp_path, config)
    before, after = (mean_reward(tiny_bundle, each) for each in (policy, learned))
    assert after > before + 0.3


@pytest.mark.usefixtures("inline")
def test_an_interrupted_one_goes_on_to_the_same_bits(tiny_bundle, policy, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = finetune(ENV, tiny_bundle, policy, tmp_path / "whole", QUICK)
    iterate = resumable.Learner.iterate

    def stopped(self):
        if self.iteration == 2:
            raise KeyboardInterrupt
        return iterate(self)

    with monkeypatch.context() as patch:
        patch.setattr(resumable.Learner, "iterate", stopped)
        with pytest.raises(KeyboardInterrupt):
            finetune(ENV, tiny_bundle, policy, tmp_path / "stopped", QUICK)
    resumed = finetune(ENV, tiny_bundle, policy, tmp_path / "stopped", QUICK)
    assert resumed.digest() == whole.digest()
    with pytest.raises(MismatchError, match="episodes was 2 and is now 3"):
        finetune(ENV, tiny_bundle, policy, tmp_path / "whole", replace(QUICK, episodes=3))


@pytest.mark.usefixtures("inline")
def test_its_critic_is_that_of_the_dreams(tiny_bundle, policy, tmp_path):
    dreamt = PPOConfig(iterations=1, dreams=8, steps=4, dream_steps=6, minibatch=16)
    learn(tiny_bundle, tmp_path / "dreams", dreamt)
    critic = tmp_path / "dreams" / resumable.CHECKPOINT_FILE
    still = replace(QUICK, iterations=1, lr=1e-12)
    finetune(ENV, tiny_bundle, policy, tmp_path / "real", still, critic=critic)
    was, now = (
        resumable.read_checkpoint(path)
        for path in (critic, tmp_path / "real" / resumable.CHECKPOINT_FILE)
    )
    torch.testing.assert_close(now["model"]["critic.0.weight"], was["model"]["critic.0.weight"])
    np.testing.assert_allclose(now["model"]["actor.0.weight"], policy.weights, rtol=1e-5)
    assert now["unit"] == was["unit"]


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    "changed", [{"reward": {"end": -1.0}}, {"discount": 0.5}, {"done_weight": 3.0}]
)
def test_a_critic_that_counted_something_else_stays_behind(tiny_bundle, policy, tmp_path, changed):
    dreamt = PPOConfig(iterations=1, dreams=8, steps=4, dream_steps=6, minibatch=16)
    learn(tiny_bundle, tmp_path / "dreams", replace(dreamt, lr=0.1))
    critic = tmp_path / "dreams" / resumable.CHECKPOINT_FILE
    still = replace(QUICK, iterations=1, lr=1e-12, **changed)
    taken = {}
    for name, path in (("of dreams", critic), ("new", None)):
        finetune(ENV, tiny_bundle, policy, tmp_path / name, still, critic=path)
        taken[name] = resumable.read_checkpoint(tmp_path / name / resumable.CHECKPOINT_FILE)
    was, now = taken["new"], taken["of dreams"]
    assert now["unit"] == was["unit"]
    torch.testing.assert_close(now["model"]["critic.0.weight"], was["model"]["critic.0.weight"])


@pytest.mark.parametrize("discount", [QUICK.discount, 0.5])
def test_the_spread_of_a_boxs_actions_goes_on_with_and_without_the_critic(tmp_path, discount):
    world = numpy_world(random_system(seed=0, states=4, actions=2, bound=1.0, starts=8))
    dreamt = PPOConfig(iterations=1, dreams=8, steps=4, minibatch=16, lr=0.1, action_std=0.3)
    before = dreaming(world, dreamt)
    before.iterate()
    torch.save(before.content(), tmp_path / "ppo_last.ckpt")
    now = dreaming(world, replace(dreamt, discount=discount))
    take_critic(now, tmp_path / "ppo_last.ckpt")
    spread, was = now.model.distribution.log_std, before.model.distribution.log_std
    assert spread.tolist() == was.tolist() != [np.log(0.3)] * 2
    assert (now.unit == before.unit) == (discount == QUICK.discount)


def test_a_recipe_lets_the_last_c_learn_on_as_it_has_learned_in_dreams(tmp_path):
    recipe = Recipe(
        env=Preference,
        name="preference",
        collect={"episodes": 9},
        controller={"method": "ppo", "entropy": 0.01, "reward": {"end": -1.0}},
        finetune={"episodes": 5, "iterations": 4},
        iterations=(Iteration(episodes=5, controller={"entropy": 0.02}),),
    )
    first, last = resolve_passes(recipe, Probed(ENV, 20.0))
    assert first.finetune is None
    assert (last.finetune.entropy, last.finetune.reward) == (0.02, {"end": -1.0})
    assert (last.finetune.lr, last.finetune.initial_scale) == (1e-3, 1.0)
    assert len(last.finetune.seeds) == 20
    titles = [each.title for each in tasks_of((first, last), Workspace(tmp_path, "m"), tmp_path)]
    assert titles[-4:] == [
        "controller of iteration 1",
        "finetune of iteration 1",
        "evaluate of iteration 1",
        "export",
    ]
    assert "finetune" not in titles
    judged = replace(recipe, finetune={"first_seed": 2_000_010})
    with pytest.raises(RecipeError, match=r"2000010 to 2000489, and those that judge"):
        resolve_passes(judged, Probed(ENV, 20.0))
    evolved = replace(recipe, controller={}, iterations=())
    assert resolve_passes(evolved, Probed(ENV, 20.0))[-1].finetune.reward == {"world": 1.0}
