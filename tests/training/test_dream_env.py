"""The dream as an environment: Gymnasium's rules, reproducible dreams, agents, rollouts, plans."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from dreamserve.backends.fake import KINDS
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import DreamEndedError, InvalidActionError, InvalidRequestError
from dreamserve_protocol.wire import fields_of
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.controller import Layer, policy_of
from dreamserve_training.models.mdnrnn import MDNRNN, rollout_in_dream, save_mdnrnn
from dreamserve_training.models.vae import ConvVAE, save_vae
from dreamserve_training.tools.dream_env import (
    DreamAgent,
    DreamEnvironment,
    DreamPlanner,
    DreamRollout,
)

Z = 4


@pytest.fixture
def world(tiny_models):
    return world_from_models(*tiny_models)


@pytest.fixture
def env(world):
    return DreamEnvironment(world=world, render_mode="rgb_array")


@pytest.fixture
def continuous():
    torch.manual_seed(1)
    return DreamEnvironment(
        world=world_from_models(
            ConvVAE(Z), MDNRNN(Z, 2, 8, 2, discrete_actions=False, predict_reward=True)
        )
    )


def ending_above(world, threshold):
    """Return the same world with another done threshold."""
    rule = world.spec.done.model_copy(update={"threshold": threshold})
    world.spec = world.spec.model_copy(update={"done": rule})
    return world


def lasting(world):
    return ending_above(world, 1e9)


# The environment


def test_gymnasiums_own_checker_passes(env, continuous):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Box observation space m.*imum value.*")
        warnings.filterwarnings("ignore", ".*not having a spec.*")
        check_env(env)
        check_env(continuous)


def test_checkpoints_make_the_environment(tmp_path, tiny_models):
    vae, mdnrnn = tiny_models
    save_vae(vae, tmp_path / "vae.pth")
    save_mdnrnn(mdnrnn, tmp_path / "mdnrnn.pth")
    env = DreamEnvironment(
        vae_model_path=tmp_path / "vae.pth",
        mdnrnn_model_path=tmp_path / "mdnrnn.pth",
        action_space_size=3,
        temperature=0.5,
    )
    latent, info = env.reset(seed=5)
    assert latent.shape == (Z,)
    assert info == {"seed": 5, "temperature": 0.5}
    assert env.action_space == gymnasium.spaces.Discrete(3)


def test_what_does_not_fit_is_refused_by_name(tmp_path, tiny_models, world):
    _, mdnrnn = tiny_models
    with pytest.raises(ValueError, match=r"action_space_size is 2, but .* trained with 3"):
        DreamEnvironment(world=world, action_space_size=2)
    with pytest.raises(ValueError, match="paths of both models, or a world"):
        DreamEnvironment(tmp_path / "vae.pth")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        DreamEnvironment(tmp_path / "vae.pth", tmp_path / "mdnrnn.pth")
    with pytest.raises(ValueError, match="8 latents, M has 4"):
        world_from_models(ConvVAE(8), mdnrnn)
    with pytest.raises(ValueError, match="render_mode"):
        DreamEnvironment(world=world, render_mode="human")
    with pytest.raises(ValueError, match="max_episode_steps"):
        DreamEnvironment(world=world, max_episode_steps=0)


def test_a_dream_equals_the_engines_dream_bit_for_bit(world):
    env, dream = DreamEnvironment(world=lasting(world)), LocalClient(world)
    latent, _ = env.reset(seed=9)
    session = dream.reset(seed=9)
    assert np.array_equal(latent, session.latent)
    for action in (0, 2, 1, 1):
        latent, reward, terminated, truncated, info = env.step(action)
        answer = dream.step(session_id=session.session_id, action=action)
        assert np.array_equal(latent, answer.latent)
        assert (reward, terminated) == (answer.reward, answer.terminated)
        assert (truncated, info["step"]) == (False, answer.step)


def test_a_bundle_dreams_like_the_models_it_was_exported_from(tiny_bundle, world):
    exported = DreamEnvironment.from_bundle(tiny_bundle, temperature=0.7)
    models = DreamEnvironment(world=lasting(world), temperature=0.7)
    lasting(exported.world)
    start = {"initial_observation": np.full(Z, 0.3, np.float32)}
    for env in (exported, models):
        env.reset(seed=3, options=start)
    for action in (0, 1, 2, 2, 1):
        np.testing.assert_allclose(
            exported.step(action)[0], models.step(action)[0], rtol=1e-4, atol=1e-5
        )


def test_the_same_seed_dreams_the_same_dream_and_another_seed_another(env):
    first, _ = env.reset(seed=1)
    again, _ = env.reset(seed=1)
    other, _ = env.reset(seed=2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_unseeded_resets_differ_but_follow_from_the_seed_before(env):
    def three():
        return [env.reset(seed=4)[0], env.reset()[0], env.reset()[0]]

    one, two = three(), three()
    assert not np.array_equal(one[1], one[2])
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_dream_starts_where_the_options_say(env):
    latent = torch.linspace(-1, 1, Z)
    assert np.array_equal(
        env.reset(seed=0, options={"initial_observation": latent})[0], latent.numpy()
    )
    frame = np.full((64, 64, 3), 90, np.uint8)
    seen, _ = env.reset(seed=0, options={"initial_observation": frame, "temperature": 0.2})
    mu, logvar = env.world.backend.encode(frame[None].astype(np.float32) / 255)
    assert (np.abs(seen - mu[0]) < 5 * np.exp(0.5 * logvar[0])).all()
    context = {"initial_observation": np.stack([frame] * 3), "actions": [0, 2]}
    burnt_in, _ = env.reset(seed=0, options=context)
    assert np.array_equal(burnt_in, seen)  # the same last frame and seed; the memory differs
    env.reset(seed=0, options={"bank": 0})


def test_in_a_world_of_vectors_a_dream_starts_at_real_vectors_or_a_latent():
    env = DreamEnvironment(world=fake_world(**KINDS["vector"]))
    dream = LocalClient(env.world)
    vectors, latent = np.full((2, 4), 0.2, np.float32), np.full(4, 0.5, np.float32)
    starts = [
        ({"initial_observation": vectors[0]}, {"vectors": vectors[:1]}),
        ({"initial_observation": vectors, "actions": [1]}, {"vectors": vectors, "actions": [1]}),
        ({"latent": latent}, {"latent": latent}),
    ]
    for options, start in starts:
        expected = dream.reset(seed=3, start=Start(**start)).latent
        np.testing.assert_array_equal(env.reset(seed=3, options=options)[0], expected)
    plan = DreamPlanner(env).plan("cem", vectors[0], horizon=2, candidates=4, iterations=1)
    dream.reset(session_id="planned", seed=0, start=Start(vectors=vectors[:1]))
    asked = {"candidates": 4, "iterations": 1, "discount": 1.0, "seed": 0, "warm_start": False}
    expected = dream.plan(session_id="planned", planner="cem", horizon=2, **asked)
    assert (plan.action, plan.value) == (expected.action, expected.value)


@pytest.mark.parametrize("kind", ["vector", "without decode"])
def test_a_world_that_shows_no_frames_renders_none(kind):
    world = fake_world(**KINDS[kind])
    with pytest.raises(ValueError, match=r"render_mode .*fake shows no frames"):
        DreamEnvironment(world=world, render_mode="rgb_array")
    env = DreamEnvironment(world=world)
    env.reset(seed=0)
    assert env.render() is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": 1}, ValueError, "unknown reset options"),
        ({"initial_observation": np.zeros(3)}, InvalidRequestError, "must be numbers of shape"),
        ({"initial_observation": np.zeros((9, 9, 3), np.uint8)}, InvalidRequestError, "a frame"),
        ({"initial_observation": np.zeros(Z), "bank": 0}, ValueError, "one of .*not both"),
        ({"initial_observation": np.zeros(Z), "latent": np.zeros(Z)}, ValueError, "not both"),
        ({"latent": np.zeros(Z), "bank": 0}, ValueError, "not both"),
        ({"latent": np.zeros(Z), "actions": [1]}, ValueError, "actions need"),
        ({"latent": ["a"] * Z}, InvalidRequestError, "latent"),
        ({"initial_observation": np.zeros(Z), "actions": [1]}, ValueError, "actions need frames"),
        ({"actions": [1]}, ValueError, "actions need the observations"),
        ({"bank": 7}, InvalidRequestError, "bank"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(env, options, error, message):
    with pytest.raises(error, match=message):
        env.reset(seed=0, options=options)


def test_an_episode_is_truncated_at_its_limit(world):
    env = DreamEnvironment(world=lasting(world), max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_a_dream_that_has_ended_can_be_reset(world):
    env = DreamEnvironment(world=ending_above(world, -1e9))
    env.reset(seed=0)
    assert env.step(0)[2]
    with pytest.raises(DreamEndedError, match="ended"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)


def test_steps_out_of_order_and_wrong_actions_are_refused(env):
    for early in (lambda: env.step(0), env.render, env.plan_session):
        with pytest.raises(gymnasium.error.ResetNeeded):
            early()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="action 3"):
        env.step(3)


def test_the_dream_can_be_rendered(env, world):
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert DreamEnvironment(world=world).render() is None


def test_numbers_of_numpy_start_and_plan_dreams():
    env = DreamEnvironment(world=fake_world(), max_episode_steps=np.int64(5))
    first, _ = env.reset(seed=1, options={"bank": np.int64(3), "temperature": np.float32(0.5)})
    np.testing.assert_array_equal(
        first, env.reset(seed=1, options={"bank": 3, "temperature": 0.5})[0]
    )
    found = DreamPlanner(env).cem(horizon=np.int64(3), num_candidates=np.int32(4))
    assert found == DreamPlanner(env).cem(horizon=3, num_candidates=4)


def test_a_snapshot_restores_in_this_and_in_another_environment(env, world):
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.snapshot()
    env.reset(seed=3)
    latent, *_ = env.step(1)
    kept = env.snapshot()
    first = [env.step(action) for action in (2, 0)]
    other = DreamEnvironment(world=lasting(world), max_episode_steps=3)
    for environment in (env, other):
        np.testing.assert_array_equal(environment.restore(kept), latent)
        again = [environment.step(action) for action in (2, 0)]
        for (one, *_), (two, *_) in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, two)
    assert again[1][3]  # an episode has the length of its dream


def test_a_returned_latent_is_a_copy(env):
    latent, _ = env.reset(seed=0)
    picture = env.render()
    latent[:] = 100
    assert np.array_equal(env.render(), picture)


# Agents


def test_a_random_agent_draws_every_action_and_follows_its_seed():
    draws = [[DreamAgent(3, seed=s).act(np.zeros(Z)) for _ in range(1)] for s in (0, 0)]
    assert draws[0] == draws[1]
    agent = DreamAgent(3, "random", seed=0)
    assert {agent.act(np.zeros(Z)) for _ in range(50)} == {0, 1, 2}
    box = DreamAgent(2, discrete=False, low=[0, -1], high=[1, 5])
    drawn = np.stack([box.act(np.zeros(Z)) for _ in range(200)])
    assert drawn.dtype == np.float32
    assert (drawn.min(axis=0) >= [0, -1]).all()
    assert (drawn.max(axis=0) <= [1, 5]).all()
    assert drawn[:, 1].max() > 4


def test_a_constant_agent_repeats_its_action():
    assert DreamAgent(3, "constant", action=2).act(np.zeros(Z)) == 2
    assert DreamAgent(2, "constant", action=0.5, discrete=False).act(None).tolist() == [0.5, 0.5]


def test_a_neural_agent_takes_the_best_scored_action():
    class Scores(torch.nn.Module):
        def forward(self, latent):
            return latent[:, :3]

    agent = DreamAgent(3, "neural", network=Scores())
    assert agent.act(np.array([0.1, 0.9, 0.3, 5.0])) == 1
    assert agent.act(torch.tensor([0.1, 0.2, 0.3, 5.0])) == 2
    box = DreamAgent(3, "neural", network=Scores(), discrete=False, low=0, high=2)
    assert np.allclose(box.act(np.array([0.0, 99.0, -99.0, 0.0])), [1, 2, 0])


def test_a_neural_agent_can_make_its_own_network_from_a_seed():
    latents = np.random.default_rng(0).standard_normal((20, Z)).astype(np.float32)
    before = torch.random.get_rng_state()
    one, two = (DreamAgent(3, "neural", observation_dim=Z, seed=7) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [one.act(z) for z in latents] == [two.act(z) for z in latents]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy_type": "greedy"}, "policy_type must be one of"),
        ({"policy_type": "constant", "action": 3}, r"action 3 is not in Discrete\(3\)"),
        ({"policy_type": "constant", "action": 1.5}, "must be integers of Discrete"),
        ({"policy_type": "constant", "action": 2.0, "discrete": False}, r"= 2 is not in Box"),
        ({"policy_type": "neural"}, "observation_dim"),
        ({"action_dim": 0}, "at least 1"),
    ],
)
def test_an_agent_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DreamAgent(**{"action_dim": 3, **arguments})


def test_a_network_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match=r"must output \(3,\) scores, not \(2,\)"):
        DreamAgent(3, "neural", network=torch.nn.Linear(Z, 2)).act(np.zeros(Z))


def network(features, scores):
    return torch.nn.Sequential(torch.nn.Linear(features, 5), torch.nn.Linear(5, scores))


def layered(*inputs):
    return policy_of([Layer(np.ones((3, 9)), np.ones(3))] * 2, inputs)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (DreamAgent(5, "neural", observation_dim=Z), r"gives 5 scores; .* takes 3, for Discrete"),
        (DreamAgent(2, "neural", network=network(Z, 2)), "gives 2 scores; the world takes 3"),
        (DreamAgent(3, "neural", network=network(7, 3)), r"of latent \(4\): RuntimeError: mat1"),
        (
            layered("latent", "h"),
            r"of latent \(4\), h \(8\): ValueError",
        ),
        (
            layered("latent", "c", "d"),
            r"sees \['d'\]; the world has \['latent', 'h', 'c'\]",
        ),
    ],
)
def test_a_policy_that_does_not_fit_the_world_is_never_played(env, policy, message):
    with pytest.raises(InvalidRequestError, match=message):
        DreamRollout.evaluate(env, policy, 2, max_steps=4)


def test_a_policy_that_changes_its_width_is_stopped(env):
    class Growing:
        inputs = ("latent",)

        def scores(self, features):
            return np.ones((len(features), max(3, len(features))), np.float32)

    with pytest.raises(InvalidRequestError, match="gives 7 scores; the world takes 3"):
        DreamRollout.evaluate(env, Growing(), 7, max_steps=4)


# Rollouts


def test_a_rollout_is_aligned_and_ends_where_the_dream_does(world):
    env = DreamEnvironment(world=ending_above(world, -0.3))
    rollout = DreamRollout.generate_rollout(env, DreamAgent(3), max_steps=500, seed=1)
    steps = len(rollout["rewards"])
    assert 1 < steps < 500
    assert rollout["observations"].shape == (steps + 1, Z)
    assert rollout["actions"].shape == rollout["terminated"].shape == (steps,)
    assert rollout["terminated"].tolist() == [False] * (steps - 1) + [True]
    env.reset(seed=1)
    replayed = [env.step(action)[0] for action in rollout["actions"]]
    assert np.array_equal(np.stack(replayed), rollout["observations"][1:])


def test_statistics_summarise_an_episode():
    rollout = {
        "observations": np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]),
        "actions": np.array([0, 1]),
        "rewards": np.array([1.0, 3.0], np.float32),
        "terminated": np.array([False, True]),
        "truncated": np.array([False, False]),
    }
    assert DreamRollout.rollout_statistics(rollout) == {
        "episode_length": 2,
        "total_reward": 4.0,
        "mean_reward": 2.0,
        "std_reward": 1.0,
        "min_reward": 1.0,
        "max_reward": 3.0,
        "terminated": 1.0,
        "truncated": 0.0,
        "mean_latent_change": 2.5,
    }
    assert DreamRollout.summary([rollout, rollout]) == {
        "episodes": 2,
        "mean_return": 4.0,
        "std_return": 0.0,
        "mean_length": 2.0,
        "std_length": 0.0,
        "share_terminated": 1.0,
    }
    with pytest.raises(ValueError, match="no rollouts"):
        DreamRollout.summary([])


def test_many_rollouts_are_many_different_dreams(env):
    rollouts = DreamRollout.generate_rollouts(env, DreamAgent(3), 3, max_steps=5, seed=8)
    starts = [rollout["observations"][0].tolist() for rollout in rollouts]
    assert len(rollouts) == 3
    assert len({tuple(start) for start in starts}) == 3
    with pytest.raises(ValueError, match="max_steps"):
        DreamRollout.generate_rollout(env, DreamAgent(3), max_steps=0)


def linear_agent():
    torch.manual_seed(2)
    return DreamAgent(3, "neural", network=torch.nn.Linear(Z, 3))


@pytest.mark.parametrize(
    "agent",
    [
        DreamAgent(3, "constant", action=1),
        linear_agent(),
        DreamAgent(3, "neural", observation_dim=Z),
    ],
)
def test_what_the_engine_evaluates_is_what_the_agent_plays(world, agent):
    env = DreamEnvironment(world=ending_above(world, -0.3), temperature=0.8, max_episode_steps=30)
    result = DreamRollout.evaluate(env, agent, 6, max_steps=50, seed=3, trajectories=True)
    played = DreamRollout.generate_rollouts(env, agent, 6, max_steps=50, seed=3)
    dreamt = DreamRollout.episodes_of(result)
    assert len({len(rollout["rewards"]) for rollout in played}) > 1
    for one, other in zip(dreamt, played, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
            assert one[name].dtype == other[name].dtype
    statistics = {name: figures[0] for name, figures in fields_of(result.statistics).items()}
    summary = DreamRollout.summary(played)
    assert statistics.keys() >= summary.keys()
    for name, figure in summary.items():
        assert statistics[name] == pytest.approx(figure), name


def test_random_agents_are_evaluated_in_any_space(env, continuous):
    for somewhere, actions in ((env, 3), (continuous, 2)):
        agent = DreamAgent(actions, "random", discrete=somewhere is env)
        result = DreamRollout.evaluate(somewhere, agent, 4, max_steps=5)
        assert result.returns.shape == (1, 4)
        with pytest.raises(ValueError, match="no trajectories"):
            DreamRollout.episodes_of(result)


def test_a_controller_is_evaluated_like_an_agent(env):
    layers = [Layer(np.ones((5, Z), np.float32), np.zeros(5, np.float32))]
    layers += [Layer(np.ones((3, 5), np.float32), np.array([0, 0, 9], np.float32))]
    result = DreamRollout.evaluate(env, policy_of(layers, ("latent",)), 4, max_steps=5, seed=3)
    expected = DreamRollout.evaluate(env, DreamAgent(3, "constant", action=2), 4, 5, seed=3)
    np.testing.assert_array_equal(result.returns, expected.returns)


# Planning


@pytest.mark.parametrize("planner", ["random_shooting", "cem", "icem", "mppi"])
def test_a_plan_starts_at_the_given_state_and_leaves_the_environment_unchanged(env, planner):
    plan = getattr(DreamPlanner(env), planner)
    latent, _ = env.reset(seed=0)
    env.step(1)
    before = env.dream.session("environment")
    from_latent = plan(initial_obs=torch.from_numpy(latent), horizon=5, num_candidates=32)
    from_present = plan(horizon=5, num_candidates=32)
    for action, value in (from_latent, from_present):
        assert env.action_space.contains(action)
        assert 0 <= value <= 5
    assert env.dream.session("environment").step == before.step == 1
    assert plan(latent, 5, 32, seed=3) == plan(latent, 5, 32, seed=3)


@pytest.mark.parametrize("planner", ["random_shooting", "cem", "icem", "mppi"])
def test_planners_find_the_action_with_the_longer_survival(tiny_models, planner):
    vae, mdnrnn = tiny_models
    deadly = MDNRNN(**mdnrnn.config)
    deadly.load_state_dict(mdnrnn.state_dict())
    with torch.no_grad():  # action 2 charges one unit of the memory, and that unit alone kills
        deadly.done_head.weight.zero_()
        deadly.done_head.weight[0, 0] = 40.0
        deadly.done_head.bias.fill_(-5.0)
        for gates in (deadly.lstm.weight_ih_l0, deadly.lstm.weight_hh_l0):
            gates.view(4, 8, -1)[:, 0] = 0.0
        deadly.lstm.weight_ih_l0.view(4, 8, -1)[2, 0, Z:] = torch.tensor([-2.0, -2.0, 2.0])
    env = DreamEnvironment(world=world_from_models(vae, deadly))
    action, value = getattr(DreamPlanner(env), planner)(np.zeros(Z), horizon=4, num_candidates=200)
    assert action in (0, 1)
    assert value == 4.0


def test_plans_over_continuous_actions_stay_in_their_box(continuous):
    continuous.reset(seed=0)
    for plan in (DreamPlanner(continuous).random_shooting, DreamPlanner(continuous).cem):
        action, value = plan(horizon=3, num_candidates=16)
        assert continuous.action_space.contains(action)
        assert np.isfinite(value)


def test_a_dream_that_has_ended_gets_no_more_reward(tiny_models):
    deadly = MDNRNN(**tiny_models[1].config)
    torch.nn.init.constant_(deadly.done_head.bias, 100.0)
    rollout = rollout_in_dream(deadly.eval(), np.zeros((2, Z)), np.zeros((2, 4), int), horizon=4)
    assert rollout.terminated.all()
    assert rollout.rewards[:, 0].tolist() == [1.0, 1.0]
    assert not rollout.rewards[:, 1:].any()
