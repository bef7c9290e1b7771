"""A recipe whose experience is a dataset on disk, from there to a served world."""

import shutil

import numpy as np
import pytest

from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve_training import stages, tasks
from dreamserve_training.data.disk import Data
from dreamserve_training.data.episodes import DataError, episode_paths
from dreamserve_training.data.gym_spaces import parse_space
from dreamserve_training.data.sources.importing import import_dataset
from dreamserve_training.defaults import resolve
from dreamserve_training.models.controller import load_policy
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe
from dreamserve_training.recipe_files import RecipeError, load_recipe
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.workspace import Workspace, read_json

LENGTH, SHAPE = 20, (16, 24, 1)
RECIPE = """
from dreamserve_training.data.disk import Data
from dreamserve_training.recipe import Recipe

RECIPE = Recipe(
    data=Data({folder!r}, holdout=0.25),
    vae={{"z_dim": 4, "epochs": 1}},
    memory_options={{"rnn_size": 8, "num_mixtures": 2}},
    train={{"epochs": 1}},
    batch_size=8,
    controller={{"method": "ppo", "iterations": 2, "dreams": 4, "steps": 3}},
    evaluate={{"episodes": 2, "dream_temperatures": (1.0,)}},
    bank_size=4,
    bank={{"beginnings": 0.5, "late": 1.0, "draft": 8}},
)
"""


@pytest.fixture
def dataset(tmp_path):
    """Return a folder of imported episodes: gray pictures of a cart, pushed by at most 2."""
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        push = rng.uniform(-2, 2, (LENGTH, 1)).astype(np.float32)
        place = np.clip(10 + np.cumsum(push[:, 0]), 0, 23).astype(int)
        pictures = np.zeros((LENGTH + 1, *SHAPE[:2]), np.float32)
        pictures[np.arange(1, LENGTH + 1), 8, place] = 1
        pictures[:, 15] = 0.5
        np.savez(
            tmp_path / "source" / f"{number:02d}.npz",
            observations=pictures,
            actions=push,
            rewards=-np.abs(place - 10.0),
            terminations=np.zeros(LENGTH, bool),
            truncations=np.arange(LENGTH) == LENGTH - 1,
        )
    space = parse_space("Box(-2:2)", ["push"])
    import_dataset(str(tmp_path / "source"), tmp_path / "cart", action_space=space)
    return tmp_path / "cart"


@pytest.mark.slow
def test_a_dataset_becomes_a_world_with_its_own_actions(dataset, tmp_path):
    recipe, root = tmp_path / "cart.py", tmp_path / "run"
    recipe.write_text(RECIPE.format(folder=str(dataset)))
    names = tuple(stage.name for stage in stages.STAGES)  # the last export would take as long again
    tasks.run_stages(str(recipe), root, tmp_path / "bundle", names)
    episodes = [len(episode_paths(root / "episodes" / split)) for split in ("train", "holdout")]
    assert episodes == [6, 2]
    evaluation = read_json(root / "evaluation.json", default=None)
    assert evaluation["real"] == {}  # there was no environment to play
    assert evaluation["dream"]["1.0"]["episodes"] == 2
    draft = load_world(root / "draft")
    assert draft.bank_size == 8
    assert draft.ages.max() > 16, "no moment is late"
    assert load_policy(root / "controller" / "controller.npz").inputs == ("latent", "h")
    dream = LocalClient(root / "draft")
    session = dream.reset(seed=1).session_id
    assert dream.step(session, [1.9]).step == 1
    assert abs(float(dream.plan(session, horizon=3, candidates=8).action[0])) <= 2


def test_a_run_does_not_go_on_with_other_data(dataset, tmp_path):
    recipe, root = tmp_path / "cart.py", tmp_path / "run"
    recipe.write_text(RECIPE.format(folder=str(dataset)))

    def take(restart=False):
        tasks.run_stages(str(recipe), root, tmp_path / "bundle", ("collect",), restart)

    take()
    take()
    first = episode_paths(dataset)[0]
    change = dict(np.load(first))
    change["rewards"] = change["rewards"] - 1
    np.savez(first, **change)
    with pytest.raises(MismatchError, match="the data there is another"):
        take()
    take(restart=True)


def test_a_run_whose_data_have_gone_goes_on_with_what_it_took(dataset, tmp_path):
    recipe, root = tmp_path / "cart.py", tmp_path / "run"
    recipe.write_text(RECIPE.format(folder=str(dataset)))
    workspace = Workspace(root, "mdnrnn")

    def collected():
        passes = resolve_passes(found := load_recipe(str(recipe)), probe(found, workspace))
        return passes, tasks.tasks_of(passes, workspace, tmp_path / "bundle")[0].is_done()

    tasks.run_stages(str(recipe), root, tmp_path / "bundle", ("collect",))
    before = collected()
    shutil.rmtree(dataset)
    assert collected() == before
    assert before[1]
    with pytest.raises(DataError, match=f"{dataset}: no such folder"):
        probe(load_recipe(str(recipe)), Workspace(tmp_path / "other", "mdnrnn"))
    tasks.run_stages(str(recipe), root, tmp_path / "bundle", ("collect",))
    assert collected() == before
    episode_paths(root / "episodes" / "train")[0].unlink()  # not all was taken
    assert not collected()[1]


def test_a_played_world_of_data_that_have_gone_is_known(dataset, tmp_path):
    recipe = Recipe(env="CartPole-v1", data=Data(dataset), name="pole")
    workspace = Workspace(tmp_path, "mdnrnn")
    (dataset / "dataset.json").unlink()  # the environment says what its actions are
    before = probe(recipe, workspace)
    assert before.steps == 8 * LENGTH
    shutil.rmtree(dataset)
    assert probe(recipe, workspace) == before


def test_a_recipe_of_data_takes_sizes_and_names_from_it(dataset):
    recipe = Recipe(data=Data(dataset), action_names=("force",))
    resolved = resolve(recipe, probe(recipe))
    assert resolved.env.action_space == parse_space("Box(-2:2)", ["force"])
    assert resolved.env.observation.shape == SHAPE
    assert resolved.env.max_episode_steps == LENGTH
    with pytest.raises(RecipeError, match=r"needs env=\.\.\., data=Data\(\.\.\.\), or both"):
        probe(Recipe())
    with pytest.raises(DataError, match=r"cannot be described: .*names"):
        probe(Recipe(data=Data(dataset), action_names=("a", "b")))
