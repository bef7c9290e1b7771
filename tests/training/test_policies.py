"""Policies of both kinds: saved, played in dreams and in real episodes, and served by a bundle."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from dreamserve.bundle import load_bundle
from dreamserve.loading import load_world
from dreamserve.local import DreamBatch, LocalClient
from dreamserve.testing import check_bundle
from dreamserve_training.comparison import contestant
from dreamserve_training.data.agents import Exploration
from dreamserve_training.dreams.policies import policy_returns, world_with
from dreamserve_training.dreams.returns import dream_returns, features
from dreamserve_training.evaluation.dreaming import ControllerPlayer
from dreamserve_training.export import export_world, world_spec
from dreamserve_training.models.controller import (
    Layer,
    LinearPolicy,
    NetworkPolicy,
    load_policy,
    policy_of,
    save_policy,
)

INPUTS = ("h", "latent")


def layer(inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((outputs, inputs), np.float32)
    return Layer(weights, rng.standard_normal(outputs, np.float32))


NETWORK = policy_of([layer(12, 5, 0), layer(5, 3, 1)], INPUTS)
LINEAR = policy_of([layer(12, 3, 2)], INPUTS)
BOTH = pytest.mark.parametrize("policy", [LINEAR, NETWORK], ids=["linear", "network"])


@pytest.fixture(scope="module")
def with_network(tiny_bundle, tiny_models, take_cover, tmp_path_factory):
    """Export the tiny bundle with the network; return its folder."""
    vae, memory = tiny_models
    return export_world(
        tmp_path_factory.mktemp("with") / "tiny",
        spec=world_spec("tiny", take_cover, memory, constant_reward=1.0),
        vae=vae,
        memory=memory,
        bank=load_bundle(tiny_bundle).bank,
        origin={},
        quality={},
        controller=NETWORK,
    )


@BOTH
def test_a_policy_is_read_back_as_it_was_written(tmp_path, policy):
    save_policy(policy, tmp_path / "c.npz")
    again = load_policy(tmp_path / "c.npz")
    assert type(again) is type(policy)
    assert (again.digest(), again.inputs) == (policy.digest(), INPUTS)
    assert isinstance(policy, LinearPolicy | NetworkPolicy)


def test_a_network_gives_the_scores_of_its_layers():
    seen = np.ones((2, 12), np.float32)
    hidden, last = NETWORK.layers
    units = np.tanh(seen @ hidden.weights.T + hidden.bias)
    np.testing.assert_allclose(NETWORK.scores(seen), units @ last.weights.T + last.bias, rtol=1e-6)
    other = replace(NETWORK, inputs=("latent", "h"))
    assert other.digest() != NETWORK.digest()


def test_a_network_holds_what_its_graph_will_hold():
    for part in (*NETWORK.hidden, *NETWORK.last):
        np.testing.assert_array_equal(part, part.astype(np.float16).astype(np.float32))


def test_a_policy_earns_in_a_dream_what_the_engines_own_earns(tiny_bundle):
    world = load_world(tiny_bundle)
    returns, lengths = policy_returns(world, LINEAR, range(20), 1.0, 40)
    expected = dream_returns(world, [LINEAR], range(20), 1.0, 40)
    np.testing.assert_array_equal(returns, expected[0][0])
    np.testing.assert_array_equal(lengths, expected[1][0])
    others, _ = policy_returns(world, NETWORK, range(20), 1.0, 40)
    assert others.tolist() != returns.tolist()


def test_a_bundle_serves_a_network_as_its_policy_graph(with_network):
    check_bundle(with_network)
    world = load_world(with_network)
    assert world.spec.has_policy
    asked = {"policy": "bundled", "seeds": np.arange(20), "max_steps": 40}
    result = LocalClient(world).rollout(**asked)
    here = LocalClient(world_with(world, NETWORK)).rollout(**asked)
    np.testing.assert_array_equal(result.lengths, here.lengths)
    assert len(np.unique(result.lengths)) > 1


def test_a_bundles_policy_can_be_compared_in_other_processes(with_network):
    sent = pickle.loads(pickle.dumps(contestant(with_network).policy))
    dreams = DreamBatch(load_world(with_network), range(30))
    expected = NETWORK.scores(features(dreams, INPUTS))
    scores = sent.scores(features(dreams, sent.inputs))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_a_policy_plays_the_real_episodes_that_are_collected(tiny_bundle, tmp_path, policy):
    save_policy(policy, tmp_path / "c.npz")
    player = ControllerPlayer(tiny_bundle, tmp_path / "c.npz", "", Exploration(share=0.0))
    agent = player.agent(load_bundle(tiny_bundle).manifest.action_space)
    frame = np.full((64, 64, 3), 90, np.uint8)
    agent.begin(frame, 3)
    taken = []
    for _ in range(20):
        taken.append(agent.act())
        agent.see(taken[-1], frame)
    assert set(taken) <= {0, 1, 2}
