"""A device that a recipe names is there, or the recipe does not start."""

import pytest
import torch

from dreamserve_training import tasks
from dreamserve_training.train.devices import check_device


@pytest.fixture
def no_gpu(monkeypatch):
    """Hide the machine's GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def run(tmp_path):
    """Return what runs stages of a recipe with such fields, in the folder `run`."""

    def run(fields, names=None):
        path = tmp_path / "pole.py"
        path.write_text(
            "from dreamserve_training.recipe import Iteration, Recipe\n"
            f"RECIPE = Recipe(env='CartPole-v1', {fields})"
        )
        tasks.run_stages(str(path), tmp_path / "run", tmp_path / "bundle", names)

    return run


@pytest.mark.usefixtures("no_gpu")
def test_devices_that_a_machine_lacks_are_refused():
    for device in ("cuda", "mps"):
        with pytest.raises(ValueError, match=f"device='{device}': this machine has none"):
            check_device(device)
    for device in ("auto", "cpu"):
        check_device(device, devices=2)


def test_more_devices_than_a_machine_has_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("auto", devices=2)
    for device in ("auto", "cuda"):
        with pytest.raises(ValueError, match="devices=3: this machine has 2"):
            check_device(device, devices=3)


STAGES = {
    "train={'device': 'cuda'}": "memory: .*device='cuda'",
    "controller={'method': 'ppo', 'device': 'cuda'}": "controller: .*device='cuda'",
    "iterations=[Iteration(episodes=9, train={'device': 'mps'})]": "memory of iteration 1: .*'mps'",
}


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("fields", STAGES)
def test_a_recipe_for_a_device_that_is_missing_does_not_start(fields, run, tmp_path):
    with pytest.raises(ValueError, match=STAGES[fields]):
        run(fields)
    assert not (tmp_path / "run" / "collected").exists()


@pytest.mark.usefixtures("no_gpu")
def test_a_stage_that_was_done_on_another_machine_needs_its_device_no_more(run, monkeypatch):
    monkeypatch.setattr(tasks.Task, "is_done", lambda task: True)
    monkeypatch.setattr(tasks.Export, "is_done", lambda task: True)
    run("train={'device': 'cuda'}")
    with pytest.raises(ValueError, match="device='cuda'"):
        run("train={'device': 'cuda'}", ("memory",))
