"""Many trajectories from one state, of MDN-RNNs with each of the three heads."""

from typing import get_args

import gymnasium
import numpy as np
import pytest
import torch

from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.mixture import Head
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.tools.dream_env import DreamEnvironment

Z, K, H = 4, 3, 5
ACTIONS = np.array([0, 2, 1, 1, 0])
INCLUDE = ("mixture", "entropy", "most_likely", "components")


@pytest.fixture(params=get_args(Head))
def env(request):
    """Return an environment for each mixture head; both temperature rules occur."""
    torch.manual_seed(3)
    mdnrnn = MDNRNN(Z, 3, 8, K, head=request.param, predict_reward=True)
    with torch.no_grad():
        mdnrnn.mdn_head.weight.mul_(4)  # so that components differ
    rule = "weights_only" if request.param == "isotropic" else "paper"
    env = DreamEnvironment(world=world_from_models(ConvVAE(Z), mdnrnn, temperature_rule=rule))
    env.reset(seed=2)
    env.step(1)
    return env


def test_futures_come_with_mixtures_in_the_heads_shapes(env):
    found = env.futures(6, H, ACTIONS, include=INCLUDE)
    head = env.world.spec.head.form
    matrix, column = (6, H, K, Z), (6, H, K)
    shapes = {name: part.shape for name, part in found.mixture.items()}
    assert shapes == {
        "weights": matrix if head == "per_dimension" else column,
        "mu": matrix,
        "sigma": column if head == "isotropic" else matrix,
    }
    np.testing.assert_allclose(found.mixture["weights"].sum(axis=2), 1, rtol=1e-5)
    assert ((found.entropy > 0) & (found.entropy < np.log(K))).all()
    assert found.differential_entropy.shape == (6, H)


def test_components_start_at_their_means_with_the_dreams_rewards(env):
    found = env.futures(1, H, ACTIONS, include=INCLUDE)
    parts, mixture = found.components, {n: p[0, 0] for n, p in found.mixture.items()}
    per_dimension = env.world.spec.head.form == "per_dimension"
    assert parts.order.shape == parts.weights.shape == ((K, Z) if per_dimension else (K,))
    assert (np.diff(parts.weights, axis=0) <= 0).all()
    ranked = np.take_along_axis(mixture["weights"], parts.order, axis=0)
    np.testing.assert_allclose(parts.weights, ranked, rtol=1e-6)
    order = parts.order if per_dimension else np.repeat(parts.order[:, None], Z, axis=1)
    means = np.take_along_axis(mixture["mu"], order, axis=0)
    np.testing.assert_allclose(parts.latents[:, 0], means, rtol=1e-6)
    # The reward heads of an MDN-RNN read its memory, which all components share at first.
    assert (parts.rewards[:, 0] == parts.rewards[0, 0]).all()
    assert len(np.unique(parts.latents[:, -1, 0])) == K


def test_the_most_likely_future_is_the_environment_at_temperature_0(env):
    likely = env.futures(1, H, ACTIONS, include=INCLUDE, temperature=1.5).most_likely
    cold = env.futures(1, H, ACTIONS, temperature=0.0)
    np.testing.assert_array_equal(likely.latents, cold.latents[0])
    np.testing.assert_array_equal(likely.rewards, cold.rewards[0])


def test_the_first_component_is_the_most_likely_future(env):
    found = env.futures(1, H, ACTIONS, include=INCLUDE)
    np.testing.assert_array_equal(found.components.latents[0], found.most_likely.latents)
    np.testing.assert_array_equal(found.components.rewards[0], found.most_likely.rewards)


def test_steered_noise_selects_a_components_mean(env):
    """The graph draws the mean itself, without a correction."""
    drawn = []
    step = env.world.backend.step

    def watched(batch):
        output = step(batch)
        drawn.append(output.latent)
        return output

    env.world.backend.step = watched
    found = env.futures(1, 1, ACTIONS[:1], include=("components",))
    np.testing.assert_array_equal(drawn[-1], found.components.latents[:, 0])


def test_the_environment_does_not_change(env):
    env.futures(3, H, include=INCLUDE)
    once = env.futures(3, H, ACTIONS, seed=1)
    np.testing.assert_array_equal(env.futures(3, H, ACTIONS, seed=1).latents, once.latents)
    with pytest.raises(gymnasium.error.ResetNeeded):
        DreamEnvironment(world=env.world).futures(1, 1)
