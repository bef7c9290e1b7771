"""One training in several processes: they share the batches, and end as one process does."""

import runpy
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.training.latents import save_latents
from torch.utils.data import BatchSampler, DataLoader, Sampler

from dreamserve_training import stages, tasks
from dreamserve_training.data.loaders import PassSampler
from dreamserve_training.data.shares import ShareSampler, share
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.processes import leads

PROGRAM = Path(__file__).with_name("two_processes.py")
WINDOWS, EPOCHS = 12, 3
STEPS = (8, 1, 7, 2, 8, 1, 8, 3, 8, 1, 6, 2)  # of each window: a batch's shares are unequal


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Train in one process, and in two that are stopped once; return the folder and statuses."""
    folder = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    for split, count in (("train", WINDOWS), ("holdout", 4)):
        (folder / split).mkdir()
        for number, steps in enumerate(STEPS[:count]):
            path = folder / split / f"episode-{number:02}.npz"
            save_latents(path, rng, steps, logvar=-2)
    statuses = []
    for arguments in (["stop"], []):
        command = [sys.executable, str(PROGRAM), str(folder), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        statuses.append((ran.returncode, ran.stderr))
    return folder, statuses


def rows_read(folder):
    """Return (process ids, indices) of each process's windows, as they were read."""
    lines = [(folder / f"read-{rank}").read_text().split() for rank in (0, 1)]
    return [(list(map(int, line[::2])), list(map(int, line[1::2]))) for line in lines]


def test_sigterm_ends_all_processes_and_the_same_call_goes_on(two_processes):
    _, ((stopped, told), (ended, errors)) = two_processes
    assert stopped == 143, told
    assert "stopped by SIGTERM; the same call goes on from here" in told
    assert ended == 0, errors
    assert "goes on after epoch 1 of 3" in errors
    for processes, _ in rows_read(two_processes[0]):
        for process in set(processes):
            assert not Path(f"/proc/{process}").exists()


def test_two_processes_read_each_window_once_per_epoch(two_processes):
    (_, one), (_, other) = rows_read(two_processes[0])
    last = set(range((EPOCHS - 1) * WINDOWS, EPOCHS * WINDOWS))  # of the last epoch
    shares = [sorted(set(share) & last) for share in (one, other)]
    assert sorted(shares[0] + shares[1]) == sorted(last)
    assert [len(share) for share in shares] == [WINDOWS // 2, WINDOWS // 2]


def test_two_processes_end_with_the_weights_of_one(two_processes, tmp_path):
    folder, _ = two_processes
    for split in ("train", "holdout"):
        (tmp_path / split).symlink_to(folder / split)
    train = runpy.run_path(str(PROGRAM))["train"]
    alone = train(tmp_path, 1, tmp_path / "one").state_dict()
    together = torch.load(folder / "two" / "mdnrnn_best.pth", weights_only=True)["state_dict"]
    for name, weights in alone.items():
        torch.testing.assert_close(together[name], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "batch", "world"), [(10, 4, 2), (9, 4, 2), (9, 4, 4), (13, 6, 3)])
def test_shares_have_each_row_once_and_equally_many_batches(rows, batch, world):
    shares = []
    for rank in range(world):
        whole = BatchSampler(PassSampler(rows, shuffle=True, seed=0), batch, drop_last=False)
        sampler = ShareSampler(whole, rank, world, rows)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == len(shares[0])
    batches = [batch for batches in shares for batch in batches]
    assert all(batches)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))


def test_unshuffled_shares_together_are_all_rows():
    whole = BatchSampler(PassSampler(9, shuffle=False, seed=0), 4, drop_last=False)
    shares = [list(ShareSampler(whole, rank, 2, 9)) for rank in (0, 1)]
    assert shares == [[[0, 2], [4, 6, 8]], [[1, 3], [5, 7]]]


class Endless(Sampler[int]):
    """A sampler without a length."""

    def __iter__(self):
        return cycle(range(9))


def test_batches_that_cannot_be_shared_are_refused(tmp_path):
    whole = BatchSampler(PassSampler(9, shuffle=False, seed=0), 4, drop_last=False)
    with pytest.raises(ValueError, match="8 processes cannot share batches of 4 rows"):
        ShareSampler(whole, 0, 8, 9)
    with pytest.raises(ValueError, match="these cannot be shared"):
        share([1, 2], 0, 2)
    endless = DataLoader(list(range(9)), batch_size=4, sampler=Endless())
    with pytest.raises(ValueError, match="these cannot be shared"):
        share(endless, 0, 2)
    batches = [1, 2]
    assert share(batches, 0, 1) is batches


def test_only_the_first_process_leads(monkeypatch):
    two, alone = TrainConfig(devices=2), TrainConfig()
    assert leads(two)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not leads(two)
    assert leads(alone)  # a process that something else has numbered


def test_another_process_joins_trainings_and_runs_no_other_stage():
    joined = []
    vae, memory, other = (
        tasks.Task(
            stages.Stage(name, lambda *_, name=name: joined.append(name), None),
            SimpleNamespace(number=0),
            None,
        )
        for name in ("vae", "memory", "evaluate")
    )
    tasks.join_training([vae, memory], skip_done=False)
    assert joined == ["vae", "memory"]
    with pytest.raises(ValueError, match="evaluate: is run by the first process only"):
        tasks.join_training([other], skip_done=False)
