"""The worlds of this repository keep the contract, and their controllers play."""

from pathlib import Path

import numpy as np
import pytest

from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve.testing import check_bundle

WORLDS = ("carracing", "takecover")
BUNDLES = Path(__file__).parents[3] / "bundles"


def test_these_are_all() -> None:
    assert sorted(path.name for path in BUNDLES.iterdir()) == list(WORLDS)


@pytest.mark.parametrize("name", WORLDS)
def test_a_bundled_world_is_without_errors_and_its_card_is_of_this_version(name: str) -> None:
    assert not check_bundle(BUNDLES / name).errors()
    version = load_world(BUNDLES / name).version
    assert f"version `{version}`" in (BUNDLES / name / "card.md").read_text()


@pytest.mark.parametrize("name", WORLDS)
def test_a_bundled_controller_earns_more_than_chance_in_dreams(name: str) -> None:
    client = LocalClient(load_world(BUNDLES / name), capacity=1)
    means = {
        policy: client.rollout(policy=policy, seeds=np.arange(32), max_steps=300).returns.mean()
        for policy in ("bundled", "random")
    }
    assert means["bundled"] > means["random"] + 20


@pytest.mark.parametrize(("name", "usual"), [("takecover", -0.3), ("carracing", -0.2)])
def test_a_worlds_own_frames_surprise_it_less_than_draws_as_the_docs_say(
    name: str, usual: float
) -> None:
    client = LocalClient(load_world(BUNDLES / name), capacity=2)
    space, rng, excess = client.world.spec.action_space, np.random.default_rng(0), []
    for seed in range(2):
        first = client.reset(session_id="system", seed=seed, include=["frame"])
        client.reset(session_id="twin", seed=100, start={"frames": [first.frame]})
        for _ in range(30):
            action = space.single(space.uniform(rng.random((1, *space.shape), np.float32))[0])
            frame = client.step("system", action, include=["frame"]).frame
            info = client.step("twin", action, observation=frame).info
            excess.append(info["surprise"] - info["expected_surprise"])
    assert np.mean(excess) == pytest.approx(usual, abs=0.1)
