"""A model's view of actions: choices one-hot, numbers from their bounds to [-1, 1]."""

import numpy as np
import pytest
import torch

from dreamserve.backends.fake import SPACES
from dreamserve.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace
from dreamserve_training.dreams.agents import DreamAgent
from dreamserve_training.dreams.environment import DreamEnvironment
from dreamserve_training.dreams.worlds import world_from_models
from dreamserve_training.models.actions import ActionInput, action_input_of
from dreamserve_training.models.catalog import load_memory, save_memory
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.vae import ConvVAE

every_space = pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))


def drawn(space, *leading):
    uniforms = np.random.default_rng(0).random((*leading, *space.shape), np.float32)
    return torch.from_numpy(space.uniform(uniforms))


def test_choices_are_one_hot_in_a_row():
    space = MultiDiscreteSpace(nvec=(3, 2), names=("move", "fire"))
    features = ActionInput(space)(torch.tensor([[2, 0], [0, 1]]))
    assert features.tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]
    discrete = ActionInput(SPACES["Discrete"])(torch.tensor([[2], [0]]))
    assert discrete.tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    assert ActionInput(SPACES["MultiBinary"])(torch.tensor([1, 0, 1])).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("low", "high"), [(-2, 2), (0, 1), (10, 1e9), (-3.4e38, 3.4e38), (1, 1 + 1e-6), (-1e-44, 0)]
)
def test_a_box_is_seen_from_minus_one_to_one(low, high):
    space = BoxSpace(low=(low,), high=(high,), names=("x",))
    ends = torch.from_numpy(space.uniform(np.float32([[0], [1], [0.5]])))
    np.testing.assert_allclose(ActionInput(space)(ends)[:, 0], [-1, 1, 0], atol=0.15)
    assert ActionInput(space)(ends)[:2, 0].tolist() == [-1, 1]


@every_space
def test_the_features_of_a_space_are_as_many_as_a_policys_scores(space):
    features = ActionInput(space)(drawn(space, 4, 6))
    assert (features.shape, features.dtype) == ((4, 6, space.width), torch.float32)
    assert (features.abs() <= 1).all()


@pytest.mark.parametrize(
    ("space", "actions", "message"),
    [
        ("Discrete", torch.rand(1, 1), r"integers of Discrete\(3\): 0 back, 1 stay, 2 forth, not"),
        ("Discrete", torch.tensor([[3]]), "not in Discrete"),
        ("Discrete", torch.tensor([[[0]]]), r"must be \(1, 1\), not \(1, 1, 1\)"),
        ("MultiDiscrete", torch.tensor([[[0, 0, 5, 0]]]), "not in MultiDiscrete"),
        ("MultiDiscrete", torch.zeros(1, 1, 4), "must be integers"),
        ("MultiBinary", torch.tensor([[[0, -1, 0]]]), "not in MultiBinary"),
        ("Box", torch.zeros(1, 1), r"must be \(1, 1, 2\), not \(1, 1\)"),
    ],
)
def test_a_model_refuses_actions_of_another_space(space, actions, message):
    model = MDNRNN(2, rnn_size=4, action_space=SPACES[space])
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 1, 2), actions)


@every_space
def test_a_checkpoint_keeps_the_action_space(space, tmp_path):
    model = MDNRNN(2, rnn_size=4, action_space=space).eval()
    save_memory(model, tmp_path / "m.pth")
    loaded = load_memory(tmp_path / "m.pth")
    assert loaded.action_input.space == space
    z, actions = torch.zeros(1, 3, 2), drawn(space, 1, 3)
    assert torch.equal(loaded(z, actions).mixture.mu, model(z, actions).mixture.mu)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, True), "give action_space, or an action_dim"),
        ((None, 0, False), "give action_space, or an action_dim"),
        ((SPACES["MultiDiscrete"], 4, True), r"action_dim is 4, but .* has the width 12"),
    ],
)
def test_a_model_of_no_actions_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        action_input_of(*arguments)


def test_a_model_fits_the_spaces_with_its_bounds_or_choices_whatever_their_names():
    box = ActionInput(SPACES["Box"])
    assert box.fits(BoxSpace(low=(-1, -0.5), high=(1, 0.5), names=("a", "b")))
    assert not box.fits(BoxSpace(low=(-1, -1), high=(1, 1), names=("a", "b")))
    several = ActionInput(SPACES["MultiDiscrete"])
    assert several.fits(MultiDiscreteSpace(nvec=(3, 2, 5, 2), names=tuple("abcd")))
    assert not several.fits(MultiDiscreteSpace(nvec=(3, 2, 2, 5), names=tuple("abcd")))
    plain = action_input_of(None, 2, discrete=False)  # whose bounds are not known
    assert plain.fits(SPACES["Box"])
    assert not plain.fits(SPACES["MultiBinary"])
    assert not plain.fits(DiscreteSpace(n=2, names=("a", "b")))


@every_space
@pytest.mark.parametrize("kind", ["random", "constant", "neural"])
def test_agents_act_in_dreams_of_every_space(space, kind):
    memory = MDNRNN(4, rnn_size=4, num_mixtures=1, action_space=space).eval()
    env = DreamEnvironment(world=world_from_models(ConvVAE(4), memory))
    action = env.action_space.sample() if kind == "constant" else 0
    agent = DreamAgent(policy_type=kind, space=space, action=action, observation_dim=4)
    latent, _ = env.reset(seed=1)
    for _ in range(3):
        action = agent.act(latent)
        assert env.action_space.contains(np.asarray(action, env.action_space.dtype))
        latent, *_ = env.step(action)
