"""M: its shapes, its heads, its training and its exact resume."""

import itertools

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.mdnrnn import (
    MDNRNN,
    SequenceDataset,
    load_mdnrnn,
    save_mdnrnn,
    train_mdnrnn,
)
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.train.memory import MemoryLoop, TrainConfig

Z, A, R = 4, 3, 8


def model_of(**options):
    torch.manual_seed(0)
    return MDNRNN(Z, A, rnn_size=R, num_mixtures=2, **options)


def sequences(count=12, length=10, seed=0):
    """Return learnable sequences: each action moves every latent in its own direction."""
    rng = np.random.default_rng(seed)
    push = rng.normal(size=(A, Z)).astype(np.float32)
    zs, actions, ends = [], [], []
    for _ in range(count):
        a = rng.integers(A, size=length)
        z = np.zeros((length, Z), np.float32)
        for t in range(length - 1):
            z[t + 1] = 0.5 * z[t] + push[a[t]] + 0.05 * rng.normal(size=Z)
        zs.append(z)
        actions.append(a)
        ends.append(np.arange(length) == length - 1)
    return SequenceDataset(zs, actions, [np.ones(length)] * count, ends)


def loader(seed=0):
    return DataLoader(sequences(seed=seed), batch_size=4)


@pytest.mark.parametrize("head", ["joint", "per_dimension", "isotropic"])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7)])
def test_every_output_has_the_documented_shape(head, batch, length):
    model = model_of(head=head, predict_reward=True, predict_done=True)
    output = model(torch.zeros(batch, length, Z), torch.zeros(batch, length, dtype=torch.long))
    assert output.mixture.mu.shape == (batch, length, 2, Z)
    assert output.reward.shape == output.done_logit.shape == (batch, length)
    assert output.state[0].shape == output.state[1].shape == (batch, R)


def test_heads_that_were_not_requested_are_absent():
    output = model_of()(torch.zeros(1, 2, Z), torch.zeros(1, 2, dtype=torch.long))
    assert output.reward is None
    assert output.done_logit is None


def test_a_sequence_run_in_two_parts_equals_the_whole():
    model = model_of(predict_done=True).eval()
    z, actions = torch.randn(2, 9, Z), torch.randint(A, (2, 9))
    whole = model(z, actions)
    first = model(z[:, :4], actions[:, :4])
    second = model(z[:, 4:], actions[:, 4:], first.state)
    torch.testing.assert_close(second.mixture.mu, whole.mixture.mu[:, 4:])
    torch.testing.assert_close(second.state, whole.state)


def test_gradient_checkpointing_changes_memory_and_not_gradients():
    plain, thrifty = model_of(), model_of(gradient_checkpointing=True)
    z, actions = torch.randn(2, 150, Z), torch.randint(A, (2, 150))
    for model in (plain, thrifty):
        model.train()(z, actions).mixture.mu.square().sum().backward()
    for one, other in zip(plain.parameters(), thrifty.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_continuous_actions_go_in_as_they_are():
    model = model_of(discrete_actions=False)
    assert model(torch.zeros(1, 2, Z), torch.zeros(1, 2, A)).mixture.mu.shape == (1, 2, 2, Z)


@pytest.mark.parametrize(
    ("z", "actions"),
    [
        (torch.zeros(1, 2, Z + 1), torch.zeros(1, 2, dtype=torch.long)),
        (torch.zeros(2, Z), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(1, 2, Z), torch.zeros(1, 3, dtype=torch.long)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(z, actions):
    with pytest.raises(ValueError, match="must be"):
        model_of()(z, actions)


def test_the_done_heads_gradient_into_the_memory_is_held_back():
    def gradient(scale):
        model = model_of(predict_done=True, done_gradient_scale=scale).eval()
        model(torch.ones(1, 3, Z), torch.zeros(1, 3, dtype=torch.long)).done_logit.sum().backward()
        return model.lstm.weight_hh_l0.grad, model.done_head.weight.grad

    (whole, head), (tenth, same_head) = gradient(1.0), gradient(0.1)
    torch.testing.assert_close(tenth, 0.1 * whole)
    torch.testing.assert_close(same_head, head)


def test_the_step_after_an_episodes_end_has_no_loss():
    """The last step has no next latent: values there do not change the loss."""
    loop = MemoryLoop(model_of(predict_done=True), TrainConfig())
    batch = next(iter(loader()))
    before = loop.losses(batch)["loss"]
    batch["next_z"][:, -1] = torch.nan
    assert torch.equal(loop.losses(batch)["loss"], before)


def test_training_learns_the_world(tmp_path):
    model = model_of(predict_done=True, predict_reward=True)
    losses = MemoryLoop(model, TrainConfig()).losses(next(iter(loader())))
    untrained = {name: float(value.detach()) for name, value in losses.items()}
    config = {"epochs": 30, "lr": 0.02, "save_dir": str(tmp_path), "mixed_precision": False}
    result = train_mdnrnn(model, loader(), config, validation=loader())
    losses = MemoryLoop(model, TrainConfig()).losses(next(iter(loader())))
    trained = {name: float(value.detach()) for name, value in losses.items()}
    assert trained["nll"] < untrained["nll"] - 0.5
    assert trained["reward"] < 0.1
    assert result.path == tmp_path / "mdnrnn_best.pth"
    assert result.epochs == 30
    again = load_mdnrnn(result.path)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


class _StopAfter(Exception):
    pass


class _Stopping:
    """Batches that fail in the middle of an epoch."""

    def __init__(self, batches, after):
        self.batches, self.left = batches, after
        self.dataset, self.sampler = batches.dataset, batches.sampler
        self.batch_size = batches.batch_size

    def __iter__(self):
        for batch in self.batches:
            if self.left == 0:
                raise _StopAfter
            self.left -= 1
            yield batch

    def __len__(self):
        return len(self.batches)


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_a_resumed_training_arrives_at_the_same_weights(tmp_path, schedule):
    def train(directory, batches):
        model = model_of(predict_done=True, done_dropout=0.5)
        config = {
            "epochs": 5,
            "schedule": schedule,
            "save_dir": str(directory),
            "mixed_precision": False,
        }
        train_mdnrnn(model, batches, config, validation=loader())
        return torch.load(directory / "mdnrnn_last.ckpt", weights_only=True)["state_dict"]

    unbroken = train(tmp_path / "unbroken", loader())
    with pytest.raises(_StopAfter):
        train(tmp_path / "stopped", _Stopping(loader(), after=2 * len(loader()) + 1))
    resumed = train(tmp_path / "stopped", loader())
    for name, weight in unbroken.items():
        assert torch.equal(weight, resumed[name]), name


def test_early_stopping_ends_a_training_that_no_longer_improves(tmp_path):
    config = {
        "epochs": 50,
        "lr": 0.0,
        "early_stopping_patience": 2,
        "save_dir": str(tmp_path),
        "mixed_precision": False,
    }
    result = train_mdnrnn(model_of(), loader(), config, validation=loader())
    assert result.epochs <= 4


def test_an_unknown_training_option_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="learning_rate"):
        train_mdnrnn(model_of(), loader(), {"learning_rate": 1e-3, "save_dir": str(tmp_path)})


def test_a_checkpoint_is_read_back_whole_and_a_broken_one_refused(tmp_path):
    path = tmp_path / "m.pth"
    save_mdnrnn(model_of(predict_done=True), path)
    assert load_mdnrnn(path).predict_done
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        load_mdnrnn(path)
    with pytest.raises(CheckpointError, match="no such"):
        load_mdnrnn(tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["z", "rewards"])
def test_sequences_with_numbers_that_are_not_finite_are_refused(name):
    data = {"z": [np.zeros((3, Z))], "actions": [np.zeros(3, int)], "rewards": [np.zeros(3)]}
    data[name][0][1] = np.nan
    with pytest.raises(ValueError, match=r"sequence 0.*NaN"):
        SequenceDataset(**data)


def test_sequences_whose_lengths_differ_are_refused():
    with pytest.raises(ValueError, match="sequence 1"):
        SequenceDataset([np.zeros((3, Z)), np.zeros((3, Z))], [np.zeros(3, int), np.zeros(2, int)])


def test_the_model_size_is_what_the_heads_formula_says():
    for head, size in itertools.product(("joint", "isotropic", "per_dimension"), (1, 3)):
        model = MDNRNN(Z, A, R, size, head=head)
        expected = {
            "joint": size * (2 * Z + 1),
            "isotropic": size * (Z + 2),
            "per_dimension": 3 * size * Z,
        }
        assert model.mdn_head.out_features == expected[head]


def test_steps_that_the_mask_leaves_out_count_in_no_part_of_the_loss():
    model = model_of(predict_reward=True, predict_done=True)
    batch = next(iter(loader()))
    shorter = {name: part[:, :6].clone() for name, part in batch.items() if part.ndim > 1}
    shorter["next_mask"][:, -1] = False
    for name in ("mask", "next_mask"):
        batch[name][:, 6:] = False
    batch["next_mask"][:, 5] = False
    for name in ("rewards", "done", "next_z"):
        batch[name][:, 6:] = torch.nan
    masked, expected = (model.losses(part, LossWeights()) for part in (batch, shorter))
    assert masked.keys() == {"loss", "nll", "reward", "done"}
    for name, part in expected.items():
        torch.testing.assert_close(masked[name], part)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    model, batch = model_of(predict_reward=True, predict_done=True), next(iter(loader()))
    parts = model.losses(batch, LossWeights(reward=2.0, done=3.0))
    weighted = parts["nll"] + 2 * parts["reward"] + 3 * parts["done"]
    torch.testing.assert_close(parts["loss"], weighted)
    once = model.losses(batch, LossWeights(done_positive=1.0))["done"]
    twice = model.losses(batch, LossWeights(done_positive=2.0))["done"]
    assert twice > once


def test_rewards_of_every_size_are_learned_as_well_as_small_ones():
    options = {"predict_reward": True, "predict_done": True}
    small, large = model_of(**options), model_of(**options, reward_mean=-400, reward_scale=1000)
    batch = dict(next(iter(loader())))
    batch["rewards"] = torch.randn_like(batch["rewards"])
    scaled = {**batch, "rewards": 1000 * batch["rewards"] - 400}
    losses = large.losses(scaled, LossWeights())
    for name, part in small.losses(batch, LossWeights()).items():
        torch.testing.assert_close(losses[name], part, rtol=1e-4, atol=0)
    predicted = large(batch["z"], batch["actions"]).reward
    torch.testing.assert_close(predicted, 1000 * small(batch["z"], batch["actions"]).reward - 400)


def test_the_graph_and_a_loaded_model_predict_rewards_of_the_environments_size(tmp_path):
    model = model_of(predict_reward=True, reward_mean=-400, reward_scale=1000).eval()
    save_mdnrnn(model, tmp_path / "m.pth")
    latent, action = torch.randn(3, Z), torch.tensor([0, 1, 2])
    state = model.initial_state(3, latent)
    expected = model.predict(latent, action, state).reward
    assert abs(float(expected.detach().mean()) + 400) < 400
    loaded = load_mdnrnn(tmp_path / "m.pth")
    torch.testing.assert_close(loaded.predict(latent, action, state).reward, expected)
    torch.testing.assert_close(model.graph()(latent, action, *state).reward, expected)


class _Spoil(Callback):
    """Overwrites the weights in the last epoch."""

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == trainer.max_epochs - 1:
            with torch.no_grad():
                module.model.mdn_head.bias.fill_(5.0)

    def on_validation_start(self, trainer, module):
        self.on_train_epoch_end(trainer, module)


def test_the_best_epochs_weights_are_kept_and_not_the_last_ones(tmp_path):
    model, config = model_of(), TrainConfig(epochs=3, save_dir=str(tmp_path), mixed_precision=False)
    held_out = DataLoader(sequences(4), batch_size=4)
    result = train_mdnrnn(model, loader(), config, held_out, callbacks=(_Spoil(),))
    loss = float(MemoryLoop(model, config).losses(next(iter(held_out)))["loss"].detach())
    assert loss == pytest.approx(result.best_loss, rel=1e-5)


def test_folding_the_biases_changes_no_output():
    model = model_of()
    torch.nn.init.normal_(model.lstm.bias_hh_l0)
    z, actions = torch.randn(2, 5, Z), torch.randint(A, (2, 5))
    before = model(z, actions).mixture.mu
    model.fold()
    torch.testing.assert_close(model(z, actions).mixture.mu, before)
    model.fold()
    torch.testing.assert_close(model(z, actions).mixture.mu, before)
