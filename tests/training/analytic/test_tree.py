"""The tree of choices: the values of all paths, by formula and by the engine."""

import numpy as np
import pytest

from dreamserve.local import LocalClient
from dreamserve_training.evaluation.analytic import Tree, deceptive_tree, ending_tree, random_tree

TREES = ["tree", "tree-deceptive", "tree-ending"]


def test_the_values_of_a_small_tree_match_hand_computed_ones():
    tree = Tree(2, [99, 1, 2, 4, *range(10, 19)], ends=np.arange(13) == 3)
    values = tree.value(tree.paths(2))
    np.testing.assert_array_equal(values, [11, 12, 13, 15, 16, 17, 4, 4, 4])
    assert tree.best().actions.tolist() == [1, 2]
    assert tree.best(horizon=1).actions.tolist() == [2]
    assert tree.best(discount=0.5).value == 2 + 15 / 2
    assert tree.value([1, 2, 0, 0]) == tree.best(horizon=4).value == 17


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_the_engine_values_every_path_as_the_tree_does(loaded, dreamt_values, name, discount):
    tree, world = loaded(name)
    paths = tree.paths(6)
    assert paths.shape == (729, 6)
    assert len(np.unique(paths, axis=0)) == 729
    dreamt = dreamt_values(world, paths, discount=discount, temperature=1.0)
    np.testing.assert_allclose(dreamt, tree.value(paths, discount), atol=1e-5)
    best = tree.best(discount=discount)
    assert dreamt.argmax() == (paths == best.actions).all(axis=1).argmax()


def test_the_best_path_of_a_deceptive_tree_begins_with_the_worst_action():
    tree = deceptive_tree()
    paths = tree.paths(6)
    values = tree.value(paths)
    means = [values[paths[:, 0] == action].mean() for action in range(3)]
    assert np.argmin(tree.rewards[1:4]) == tree.best().actions[0] == 2
    assert means[0] > means[1] > means[2]
    best, second = np.sort(values)[[-1, -2]]
    assert second == tree.value(np.zeros(6, np.int64)) < best == tree.best().value


def test_counting_rewards_after_the_end_misleads_in_an_ending_tree():
    tree, endless = ending_tree(), random_tree()
    paths = tree.paths(6)
    misled = endless.best().actions
    assert (tree.best().actions != misled).any()
    assert tree.value(misled) < 0.7 * tree.best().value
    assert (tree.value(paths) <= endless.value(paths)).all()


@pytest.mark.parametrize("name", TREES)
def test_enough_candidates_of_either_planner_find_the_best_path(loaded, name):
    tree, world = loaded(name)
    dream = LocalClient(world)
    session = dream.reset(seed=1).session_id
    for planner in ("random_shooting", "cem"):
        plan = dream.plan(
            session_id=session,
            planner=planner,
            horizon=6,
            candidates=8000,
            iterations=2,
            discount=1.0,
            seed=1,
        )
        np.testing.assert_array_equal(plan.actions, tree.best().actions)
        assert plan.value == pytest.approx(tree.best().value, abs=1e-5)


def test_a_session_ends_on_a_leaf(loaded):
    tree, world = loaded("tree")
    dream = LocalClient(world)
    session = dream.reset(seed=1).session_id
    steps = [dream.step(session_id=session, action=int(a)) for a in tree.best().actions]
    assert [step.terminated for step in steps] == [False] * 5 + [True]
    assert sum(step.reward for step in steps) == pytest.approx(tree.best().value, abs=1e-5)
    assert float(steps[-1].latent[0]).is_integer()


def test_a_tree_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="has 13 nodes"):
        Tree(2, np.zeros(12))
    with pytest.raises(ValueError, match="at most 65,536"):
        random_tree(depth=11)
