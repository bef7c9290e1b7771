"""What agents see of a real environment is what a session of the server would see of it."""

import numpy as np
import pytest

from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve.observations import Crop, FrameSpec
from dreamserve_training.data.disk import as_seen
from dreamserve_training.dreams.returns import latent_of
from dreamserve_training.evaluation.dreaming import DreamingAgent, PlanningAgent
from dreamserve_training.models.controller import LinearPolicy

SIDE = 8
CAMERA = FrameSpec(  # its pictures and what V takes of them have one shape
    source_shape=(SIDE, SIDE, 3),
    crop=Crop(top=2, bottom=6, left=2, right=6),
    shape=(SIDE, SIDE, 3),
)


def fake(**fields):
    spec = fake_spec(**fields)
    return World(spec, FakeBackend(spec))


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 255, (4, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("encode_memory", [False, True])
def test_a_controller_sees_what_a_session_sees(pictures, encode_memory):
    world = fake(encode_memory=encode_memory)
    agent = DreamingAgent(world, LinearPolicy(np.zeros((3, 4)), np.zeros(3), ("latent",)))
    agent.begin(pictures[0], seed=5)
    client = LocalClient(world)
    client.reset(session_id="a", seed=5, start={"latent": latent_of(world, pictures[0])[0]})
    for action, picture in enumerate(pictures[1:]):
        agent.see(action, picture)
        client.step("a", action, observation=picture)
        np.testing.assert_array_equal(agent.dreams.latent[0], client.snapshot("a").latent)


def test_a_planner_sees_an_environments_picture_which_was_cropped_once(pictures):
    world = fake(observation=CAMERA)
    agent = PlanningAgent(world, {"candidates": 2, "iterations": 1, "horizon": 2})
    agent.begin(pictures[0], seed=5)
    agent.see(agent.act(), pictures[1])
    expected = latent_of(world, pictures[1])[0]
    np.testing.assert_array_equal(agent.client.snapshot(agent.session_id).latent, expected)


def test_recorded_pictures_are_cropped_as_a_server_crops_them(pictures):
    episode = {"frames": pictures, "rewards": np.zeros(len(pictures))}
    seen = as_seen(episode, CAMERA, "here")["frames"]
    assert (seen != pictures).any()
    world = fake(observation=CAMERA)
    client = LocalClient(world)
    client.reset(session_id="a")
    client.step("a", 0, observation=pictures[0])
    np.testing.assert_array_equal(latent_of(world, seen[0])[0], client.snapshot("a").latent)
