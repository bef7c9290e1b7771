"""The passes of a recipe: their options, who plays, what M goes on from, and their figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.pole import PROBED, RECIPE

from dreamserve.observations import Crop, FrameSpec
from dreamserve_training.assemble import memory_options, memory_to_go_on
from dreamserve_training.data.agents import Exploration
from dreamserve_training.data.episodes import save_episode
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.data.players import SequencePlayer
from dreamserve_training.evaluation.dreaming import ControllerPlayer
from dreamserve_training.models.catalog import save_memory
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Iteration
from dreamserve_training.recipe_files import RecipeError
from dreamserve_training.stage_inputs import INPUTS, controller_to_go_on, players
from dreamserve_training.tasks import tasks_of
from dreamserve_training.train.memory import train_memory
from dreamserve_training.workspace import Workspace


def test_an_iteration_has_the_recipes_options_except_its_own():
    first, second, third = resolve_passes(RECIPE, PROBED)
    assert [each.number for each in (first, second, third)] == [0, 1, 2]
    assert [each.train.epochs for each in (first, second, third)] == [8, 3, 8]
    assert (second.exploration.share, third.exploration.share) == (0.3, Exploration().share)
    assert [name for name, _ in second.players] == ["controller", "baselines", "random"]
    assert third.players == (("controller", 3.0), ("random", 1.0))
    assert first.players == ()


def test_no_two_passes_nor_judges_share_a_seed():
    passes = resolve_passes(RECIPE, PROBED)
    seeds = [
        seed for each in passes for part in (each.collect, each.holdout) for seed in part.seeds
    ]
    assert len(set(seeds)) == len(seeds) == 100 + 10 + 50 + 5 + 20 + 4
    assert max(seeds) < passes[0].evaluate.seed
    with pytest.raises(RecipeError, match=r"110 to 159, and those that judge .* 150 to 249"):
        resolve_passes(replace(RECIPE, evaluate={"seed": 150}), PROBED)
    judged = Iteration(episodes=5, evaluate={"seed": 7})
    with pytest.raises(RecipeError, match=r"0 to 99, and those that judge have the seeds 7 to "):
        resolve_passes(replace(RECIPE, iterations=(judged,)), PROBED)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"baselines": {}, "players": {"baselines": 1.0}}, "iteration 1: nobody plays"),
        ({"train": {"epoch": 3}}, "train: unknown options"),
        ({"exploration": {"shares": 3}}, "exploration: unknown options"),
        ({"vae": {}}, "vectors have no V that could be trained on"),
    ],
)
def test_an_iteration_that_cannot_be_run_is_refused(change, says):
    baselines = change.pop("baselines", RECIPE.baselines)
    recipe = replace(RECIPE, baselines=baselines, iterations=(Iteration(episodes=5, **change),))
    with pytest.raises(RecipeError, match=says):
        resolve_passes(recipe, PROBED)


def test_unknown_players_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'controller', 'baselines' or 'random'"):
        Iteration(episodes=5, players={"expert": 1.0})


def test_recorded_data_cannot_be_iterated_without_its_environment():
    recorded = Probed(replace(PROBED.env, env=None), 20.0)
    with pytest.raises(RecipeError, match="iteration 1: needs env"):
        resolve_passes(RECIPE, recorded)


def test_the_controller_that_plays_is_that_of_the_pass_before(tmp_path):
    _, second, _ = resolve_passes(RECIPE, PROBED)
    before = Workspace(tmp_path, "mdnrnn")
    workspace = before.next()
    for path in (before.vae_model, before.memory_model, before.controller / "controller.npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"one")
    controller, sequences, _ = players(second, workspace)
    assert isinstance(controller.plays, ControllerPlayer)
    assert controller.plays.bundle == before.draft
    assert isinstance(sequences.plays, SequencePlayer)
    assert sequences.plays.sequences == ((0, 1),)
    inputs = INPUTS["collect"](second, workspace)
    (before.controller / "controller.npz").write_bytes(b"another")
    assert INPUTS["collect"](second, workspace) != inputs


def test_an_iterations_stages_read_the_data_of_all_passes_and_the_first_ones_vae(tmp_path):
    first = Workspace(tmp_path, "mdnrnn")
    third = first.next().next()
    assert third.root == tmp_path / "iterations" / "2"
    assert third.vae_model == first.vae_model
    roots = [tmp_path, tmp_path / "iterations" / "1", tmp_path / "iterations" / "2"]
    assert third.all_latents("train") == [root / "latents" / "train" for root in roots]
    tasks = tasks_of(resolve_passes(RECIPE, PROBED), first, tmp_path / "bundle")
    assert [task.title for task in tasks[5:8]] == [
        "evaluate",
        "collect of iteration 1",
        "encode of iteration 1",
    ]
    assert [task.title for task in tasks].count("vae") == 1
    assert tasks[-1].title == "export"
    assert tasks[-1].workspace == third


def test_an_iteration_that_trains_v_on_encodes_the_data_of_all_passes_again(tmp_path):
    first = Workspace(tmp_path, "mdnrnn")
    second = first.next(trains_vae=True)
    third = second.next()
    assert third.vae_model == second.vae_model != first.vae_model
    again = second.root / "latents" / "train-of-pass-0"
    own = [each.root / "latents" / "train" for each in (first, second, third)]
    assert first.all_latents("train") == own[:1]
    assert second.all_latents("train") == [again, own[1]]
    assert third.all_latents("train") == [again, *own[1:]]
    assert second.to_encode("train") == [
        (first.episodes("train"), again),
        (second.episodes("train"), own[1]),
    ]
    assert third.to_encode("train") == [(third.episodes("train"), own[2])]


def test_vs_training_in_an_iteration_has_its_own_options():
    picture = FrameSpec(
        source_shape=(64, 64, 3), crop=Crop(top=0, bottom=64, left=0, right=64), shape=(64, 64, 3)
    )
    probed = Probed(replace(PROBED.env, observation=picture), mean_steps=20.0)
    on = Iteration(episodes=5, vae={"epochs": 2})
    recipe = replace(RECIPE, vae={"frames": 500}, iterations=(on, Iteration(episodes=5)))
    first, second, third = resolve_passes(recipe, probed)
    assert [each.trains_vae for each in (first, second, third)] == [True, True, False]
    assert (second.vae.frames, second.vae.epochs) == (500, 2)
    wider = replace(recipe, iterations=(Iteration(episodes=5, vae={"z_dim": 8}),))
    with pytest.raises(RecipeError, match="iteration 1: vae: z_dim stays 32"):
        resolve_passes(wider, probed)


def latents(folder, count, first=0):
    rng = np.random.default_rng(first)
    folder.mkdir(parents=True)
    for index in range(first, first + count):
        episode = {
            "mu": rng.normal(size=(12, 4)).astype(np.float16),
            "logvar": np.full((12, 4), -2, np.float16),
            "actions": rng.integers(3, size=12),
            "rewards": np.ones(12, np.float32),
            "terminated": np.arange(12) == 11,
        }
        save_episode(folder / f"episode-{index}.npz", episode)
    return folder


def test_m_goes_on_from_other_weights_and_says_so(tmp_path):
    folders = [latents(tmp_path / "a", 2), latents(tmp_path / "b", 3, first=2)]
    loader = create_window_loader(folders, batch_size=4, sequence_length=8)
    assert len(loader.dataset.paths) == 5

    def model(**options):
        torch.manual_seed(3)
        return MDNRNN(4, 3, num_mixtures=2, **{"rnn_size": 8, **options})

    config = {"epochs": 1, "lr": 0.0, "mixed_precision": False, "save_dir": str(tmp_path / "m")}
    torch.manual_seed(7)
    other = MDNRNN(4, 3, rnn_size=8, num_mixtures=2)
    save_memory(other, tmp_path / "other.pth")
    trained = model()
    train_memory(trained, loader, config, initial=tmp_path / "other.pth")
    for name, weights in trained.state_dict().items():
        torch.testing.assert_close(weights, other.state_dict()[name])

    with pytest.raises(ValueError, match=r"initial\.sha256 was .* and is now absent"):
        train_memory(model(), loader, config)
    before = Workspace(tmp_path / "run", "mdnrnn")
    save_memory(other, before.memory_model)
    assert memory_to_go_on(model(), before) is None
    assert memory_to_go_on(model(), before.next()) == before.memory_model
    assert memory_to_go_on(model(predict_reward=True), before.next()) is None


def test_m_scales_rewards_as_in_the_first_pass_so_that_it_goes_on(tmp_path):
    recipe, second, _ = resolve_passes(RECIPE, PROBED)
    first = Workspace(tmp_path, "mdnrnn")
    for workspace, rewards in ((first, [0.0, 2.0]), (first.next(), [5.0, 9.0])):
        folder = workspace.episodes("train")
        folder.mkdir(parents=True)
        episode = {
            "vectors": np.zeros((2, 1)),
            "actions": np.zeros(2, np.int64),
            "rewards": np.array(rewards, np.float32),
            "terminated": np.zeros(2, np.bool_),
        }
        save_episode(folder / "episode-0.npz", episode)
    options = memory_options(recipe, first)
    assert (options["reward_mean"], options["reward_scale"]) == (1.0, 1.0)
    assert memory_options(second, first.next()) == options


def test_c_begins_anew_with_another_m_whose_state_it_does_not_know(tmp_path):
    evolved = resolve_passes(RECIPE, PROBED)[1]
    recipe = resolve_passes(replace(RECIPE, controller={"method": "ppo"}), PROBED)[1]
    first = Workspace(tmp_path, "mdnrnn")
    second = first.next()
    assert controller_to_go_on(recipe, first) is None
    save_memory(MDNRNN(4, 3, rnn_size=8, num_mixtures=2), first.memory_model)
    assert controller_to_go_on(recipe, second) is None, "M is not trained yet"
    for mixtures, expected in ((2, first.controller / "controller.npz"), (3, None)):
        save_memory(MDNRNN(4, 3, rnn_size=8, num_mixtures=mixtures), second.memory_model)
        assert controller_to_go_on(recipe, second) == expected
        assert controller_to_go_on(evolved, second) is None, "CMA-ES begins anew"


def test_c_begins_anew_in_another_form(tmp_path):
    first = Workspace(tmp_path, "mdnrnn")
    second = first.next()
    for each in (first, second):
        save_memory(MDNRNN(4, 3, rnn_size=8, num_mixtures=2), each.memory_model)
    for options, goes_on in (({"lr": 0.1}, True), ({"hidden": 5}, False)):
        iteration = Iteration(episodes=5, controller=options)
        recipe = replace(RECIPE, controller={"method": "ppo"}, iterations=(iteration,))
        passes = resolve_passes(recipe, PROBED)
        assert (controller_to_go_on(passes[1], second) is not None) == goes_on


def test_the_weight_of_ends_that_c_takes_out_is_that_of_the_passs_own_m():
    iterations = (
        Iteration(episodes=5, train={"done_pos_weight": 2.0}),
        Iteration(episodes=5, train={"done_pos_weight": 0.0}),
        Iteration(episodes=5, controller={"done_weight": 3.0}),
    )
    recipe = replace(RECIPE, controller={"method": "ppo"}, iterations=iterations, finetune={})
    passes = resolve_passes(recipe, PROBED)
    assert [each.controller.done_weight for each in passes] == [10.0, 2.0, 1.0, 3.0]
    assert passes[-1].finetune.done_weight == 3.0
    evolved = replace(RECIPE, iterations=iterations[:1], finetune={"ends": "expected"})
    assert resolve_passes(evolved, PROBED)[-1].finetune.done_weight == 2.0
    drawn = replace(recipe, done_rule="drawn")
    with pytest.raises(RecipeError, match="done_pos_weight must be above 0"):
        resolve_passes(drawn, PROBED)


def test_an_iteration_may_have_another_m():
    other = Iteration(episodes=5, memory_options={"rnn_size": 9})
    first, second, third = resolve_passes(
        replace(RECIPE, iterations=(other, Iteration(episodes=5))), PROBED
    )
    sizes = [each.memory_options["rnn_size"] for each in (first, second, third)]
    assert sizes == [128, 9, 128]
    unknown = replace(RECIPE, iterations=(replace(other, memory_options={"size": 9}),))
    with pytest.raises(RecipeError, match=r"memory_options: .*size"):
        resolve_passes(unknown, PROBED)
