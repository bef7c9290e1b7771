"""M's state carried over windows in training, and training that begins with another M's weights."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dreamserve_training.data.episodes import DataError, save_episode
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.data.windows import TrajectoryDataset
from dreamserve_training.models.catalog import save_memory
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.train.carried import CarriedState, state_in
from dreamserve_training.train.memory import MemoryLoop, TrainConfig, train_memory

Z, A, R = 4, 3, 8
LENGTHS = (5, 23, 8, 17, 1, 12)


def memory(seed=0, **options):
    torch.manual_seed(seed)
    return MDNRNN(Z, A, rnn_size=R, num_mixtures=2, predict_done=True, **options)


@pytest.fixture
def latents(tmp_path):
    """Return a folder of episodes of LENGTHS whose z is not drawn."""
    folder, rng = tmp_path / "latents", np.random.default_rng(0)
    folder.mkdir()
    for number, steps in enumerate(LENGTHS):
        episode = {
            "z": rng.standard_normal((steps, Z)).astype(np.float32),
            "actions": rng.integers(A, size=steps),
            "rewards": np.ones(steps, np.float32),
            "terminated": np.arange(steps) == steps - 1,
        }
        save_episode(folder / f"{number}.npz", episode)
    return folder


def in_order(folder, **options):
    return create_window_loader(folder, 3, 4, in_order=True, seed=5, **options)


def epochs(loader, count):
    return [list(loader) for _ in range(count)]


def test_every_step_counts_once_an_epoch_and_a_window_follows_its_predecessor(latents):
    loader = in_order(latents)
    first, second = epochs(loader, 2)
    orders = []
    for batches in (first, second):
        assert len(batches) == len(loader)
        seen = {number: [] for number in range(len(LENGTHS))}
        last = set()
        for batch in batches:
            rows, starts = batch["episode"].tolist(), batch["start"].tolist()
            assert len(set(rows)) == len(rows)
            going_on = {row for row, start in zip(rows, starts, strict=True) if not start}
            assert going_on <= last
            last = set(rows)
            for row, number in enumerate(rows):
                seen[number].append(batch["z"][row][batch["mask"][row]])
        for number, parts in seen.items():
            z = np.load(latents / f"{number}.npz")["z"]
            np.testing.assert_array_equal(torch.cat(parts), z)
        orders.append([batch["episode"].tolist() for batch in batches])
    assert orders[0] != orders[1]


def test_an_epoch_is_as_long_as_its_streams_are_and_these_are_balanced(latents):
    windows = len(TrajectoryDataset(latents, 4, burn_in=None))
    loader = in_order(latents)
    assert -(-windows // 3) <= len(loader) <= windows // 3 + 2
    assert {len(batch["start"]) for batch in list(loader)[: windows // 3 - 2]} == {3}


def losses_of(model, batches, carry):
    """Return each loss term's mean over the counted steps, as a training's loop computes them."""
    loop, states = MemoryLoop(model, TrainConfig(carry_state=carry)), CarriedState(model)
    sums, steps = {"nll": 0.0, "done": 0.0}, {"nll": 0, "done": 0}
    for batch in batches:
        if carry:
            states.give(batch)
            states.keep(batch, model(batch["z"], batch["actions"], state_in(batch)).state)
        terms = loop.losses(batch)
        for name, mask in (("nll", "next_mask"), ("done", "mask")):
            count = int(batch[mask].sum())
            sums[name] += float(terms[name].detach()) * count
            steps[name] += count
    return {name: total / steps[name] for name, total in sums.items()}


def test_windows_with_carried_state_give_the_losses_of_whole_episodes(latents):
    model = memory().eval()
    with torch.no_grad():
        model.lstm.weight_hh_l0.mul_(5)  # so that the past matters
    whole = losses_of(model, create_window_loader(latents, 3, max(LENGTHS), shuffle=False), False)
    for batches in epochs(in_order(latents), 2):
        carried = losses_of(model, batches, carry=True)
        assert carried == pytest.approx(whole, rel=1e-5)
    assert losses_of(model, in_order(latents), carry=False) != pytest.approx(whole, rel=1e-3)


def test_no_gradient_goes_back_over_a_windows_border(latents):
    model = memory()
    loop, states = MemoryLoop(model, TrainConfig(carry_state=True)), CarriedState(model)
    first, second = list(in_order(latents, shuffle=False))[:2]
    states.give(first)
    states.keep(first, model(first["z"], first["actions"], state_in(first)).state)
    states.give(second)
    assert not second["state.0"].requires_grad
    assert second["state.0"].abs().sum() > 0
    one_row = loop.row_of(second, 1)
    torch.testing.assert_close(one_row["state.0"][0], second["state.0"][1])


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        (lambda folder: create_window_loader(folder, 3, 4), "different episodes|in order"),
        (
            lambda folder: DataLoader(SequenceDataset([np.zeros((3, Z))], [np.zeros(3, int)])),
            "windows of episodes on disk",
        ),
    ],
)
def test_batches_that_are_not_in_order_are_refused(latents, tmp_path, batches, says):
    options = {"carry_state": True, "save_dir": str(tmp_path / "m"), "mixed_precision": False}
    with pytest.raises(DataError, match=rf"({says}).*create_window_loader\(in_order=True\)"):
        train_memory(memory(), batches(latents), options)


class _StopAfter(Exception):
    pass


def stopping(loader, after):
    """Return `loader`, which fails after `after` batches."""
    collate, left = loader.collate_fn, iter(range(after))

    def stop(items):
        if next(left, None) is None:
            raise _StopAfter
        return collate(items)

    loader.collate_fn = stop
    return loader


@pytest.mark.parametrize("mixed", [False, True])
def test_a_resumed_training_with_carried_state_arrives_at_the_same_weights(
    latents, tmp_path, mixed
):
    def train(directory, batches):
        options = {"epochs": 3, "carry_state": True, "mixed_precision": mixed}
        options["save_dir"] = str(directory)
        held_out = in_order(latents, shuffle=False)
        train_memory(memory(done_dropout=0.5), batches, options, held_out)
        return torch.load(directory / "mdnrnn_last.ckpt", weights_only=True)["state_dict"]

    unbroken = train(tmp_path / "unbroken", in_order(latents))
    batches = in_order(latents)
    with pytest.raises(_StopAfter):
        train(tmp_path / "stopped", stopping(batches, len(batches) + 2))
    resumed = train(tmp_path / "stopped", in_order(latents))
    assert unbroken.keys() == resumed.keys()
    for name, weight in unbroken.items():
        assert torch.equal(weight, resumed[name]), name


def test_a_training_begins_with_the_weights_of_another_and_remembers_which(latents, tmp_path):
    path, other = tmp_path / "other.pth", memory(seed=1)
    save_memory(other, path)
    options = {"epochs": 1, "lr": 0.0, "save_dir": str(tmp_path / "m"), "mixed_precision": False}
    model = memory()
    train_memory(model, in_order(latents), options, initial=path)
    for name, weight in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    save_memory(memory(seed=2), path)
    with pytest.raises(MismatchError, match=r"initial\.sha256"):
        train_memory(memory(), in_order(latents), options, initial=path)
    with pytest.raises(MismatchError, match="initial"):
        train_memory(memory(), in_order(latents), options)


def test_weights_of_other_sizes_are_refused_with_both_and_change_nothing(latents, tmp_path):
    path = tmp_path / "small.pth"
    save_memory(MDNRNN(Z, A, rnn_size=4, num_mixtures=2, predict_done=True), path)
    model = memory()
    before = model.losses(next(iter(in_order(latents, shuffle=False))), LossWeights())["loss"]
    options = {"save_dir": str(tmp_path / "m")}
    with pytest.raises(
        CheckpointError, match=r"small\.pth: done_head\.weight is \(1, 4\).*\(1, 8\)"
    ):
        train_memory(model, in_order(latents), options, initial=path)
    after = model.losses(next(iter(in_order(latents, shuffle=False))), LossWeights())["loss"]
    assert torch.equal(before, after)
    assert not (tmp_path / "m").exists()
