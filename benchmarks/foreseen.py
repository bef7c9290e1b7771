"""Which ends and hits of the real episodes does the M of each pass see coming, and in whose hands?

    python benchmarks/foreseen.py takecover runs/takecover     # a recipe, and its run; five minutes

The world predicts along the held-out episodes, each observation known. A controller that dodges
what it sees is hit by what it does not see: the same M foresees less of what happens to it.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamserve.loading import load_world
from dreamserve_training.data.episodes import episode_paths, load_episode
from dreamserve_training.data.players import player_of
from dreamserve_training.data.signals import Signals
from dreamserve_training.evaluation.prediction import ends
from dreamserve_training.evaluation.teacher_forcing import encode_episode, teacher_force
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.stage_inputs import players
from dreamserve_training.tasks import workspaces_of
from dreamserve_training.workspace import Workspace
from tables import print_circumstances, print_table

NEAR_STEPS = 3  # an event is foreseen in these steps before it, or in its own
UNFORESEEN, FORESEEN = 0.02, 0.5  # probabilities


def by_player(
    passes: Sequence[ResolvedRecipe], workspaces: Sequence[Workspace]
) -> dict[str, list[Path]]:
    """Return the files of the held-out raw episodes of all passes, by who played."""
    paths = defaultdict(list)
    for recipe, workspace in zip(passes, workspaces, strict=True):
        who = players(recipe, workspace)
        for path in episode_paths(workspace.episodes("holdout")):
            name = player_of(int(path.stem.split("-")[-1]), who).name if who else "random"
            player = f"{name} of pass {recipe.number - 1}" if name == "controller" else name
            paths[player].append(path)
    return paths


def row(workspace: Workspace, paths: Sequence[Path], signals: Signals) -> list[str]:
    """Return how well a pass's V and M foresee the ends, and the events of its first signal."""
    world = load_world(workspace.draft)
    episodes = [encode_episode(world, load_episode(path), signals, path) for path in paths]
    runs = teacher_force(world.backend, world.spec, episodes)
    figures: dict[str, Any] = ends(runs, world.spec.done)
    shown = [figures["average_precision"], figures["precision_at_recall_0.8"]]
    cells = [str(figures["deaths"]), *("" if each is None else f"{each:.2f}" for each in shown)]
    if not world.spec.signals:
        return [*cells, "", "", ""]
    name = world.spec.signals[0].name
    foreseen = np.array(
        [
            run.signals[0][max(0, step - NEAR_STEPS) : step + 1].max()
            for run in runs
            for step in np.flatnonzero(run.episode.signals[name] > 0)
        ]
    )
    shares = [(foreseen < UNFORESEEN).mean(), (foreseen > FORESEEN).mean()]
    return [*cells, str(len(foreseen)), *(f"{share:.2f}" for share in shares)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    written = load_recipe(arguments.recipe)
    first = Workspace(arguments.run, written.memory)
    passes = resolve_passes(written, probe(written, first))
    workspaces = workspaces_of(passes, first)
    rows = [
        [f"pass {number}", player, *row(workspace, paths, passes[0].signals)]
        for player, paths in by_player(passes, workspaces).items()
        for number, workspace in enumerate(workspaces)
    ]
    columns = ["M of", "played by", "ends", "average precision", "precision at recall 0.8"]
    print_table([*columns, "events", f"below {UNFORESEEN}", f"above {FORESEEN}"], rows)
    print_circumstances(["onnxruntime", "numpy"], cores="one thread")


if __name__ == "__main__":
    main()
