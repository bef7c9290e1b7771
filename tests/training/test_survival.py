"""A recipe that is killed in every stage, and moved in between, ends as an undisturbed one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamserve_training.models.controller import NetworkPolicy, load_policy

PROGRAM = Path(__file__).with_name("dying_recipe.py")
STAGES = {"collect", "vae", "encode", "memory", "controller", "evaluate", "export"}
AGAIN = {f"{stage} of iteration 1" for stage in STAGES - {"export"}}


@pytest.fixture(scope="module")
def killed(tiny_bundle, tmp_path_factory):
    """Run the program; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(PROGRAM), str(tiny_bundle), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_runs_die_in_every_stage_with_the_status_of_their_signal(killed):
    _, printed, errors = killed
    for stage in STAGES:
        statuses = [status for name, status in printed["deaths"] if name == stage]
        assert statuses in ([143, -9], [143, -9, -9], [143, -9, 143]), stage
    assert {(name, status) for name, status in printed["deaths"] if name in AGAIN} == {
        ("collect of iteration 1", -9),
        ("vae of iteration 1", 143),
        ("encode of iteration 1", -9),
        ("memory of iteration 1", 143),
        ("controller of iteration 1", -9),
        ("evaluate of iteration 1", 143),
    }
    assert "stopped by SIGTERM" in errors


@pytest.mark.parametrize(
    ("undisturbed", "disturbed"), [("undisturbed", "killed"), ("learned", "learned-killed")]
)
def test_a_killed_recipe_ends_where_an_undisturbed_one_ends(killed, undisturbed, disturbed):
    folder, *_ = killed
    one, other = folder / undisturbed, folder / disturbed
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    compared = 0
    for name in sorted(names):
        if name.suffix == ".npz" and "bundle" not in name.parts and "draft" not in name.parts:
            with np.load(one / name) as first, np.load(other / name) as second:
                assert first.files == second.files, name
                for key in first.files:
                    np.testing.assert_array_equal(first[key], second[key], err_msg=f"{name}: {key}")
        elif name.suffix == ".pth":
            first, second = (torch.load(root / name)["state_dict"] for root in (one, other))
            assert all(torch.equal(first[key], second[key]) for key in first), name
        elif name.name in ("evaluation.json", "vae_run.json", "mdnrnn_run.json", "ppo_run.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        else:
            continue
        compared += 1
    assert compared > 40


def test_a_network_that_was_killed_while_it_learned_had_learned_in_part(killed):
    folder, printed, _ = killed
    assert printed["learned"] == [2, 1]
    policies = {path: load_policy(path) for path in folder.glob("learned*/**/controller.npz")}
    assert len(policies) == 6
    assert {type(policy) for policy in policies.values()} == {NetworkPolicy}
    digests = [policy.digest() for policy in policies.values()]
    assert len(set(digests)) == 3  # of both passes, and of what the second learned in reality


def test_a_changed_recipe_is_refused_or_goes_on_and_stages_do_not_mix(killed):
    vae, evaluate, memory = killed[1]["told"]
    assert "lr was 0.0015 and is now 0.5" in vae
    assert "evaluate: run memory first" in evaluate
    assert memory == "done"  # it went on to more epochs
