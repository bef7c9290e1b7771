"""Which mixture head predicts best? Trains each in the same way on the latents of a recipe's run.

    python benchmarks/mixture_heads.py takecover runs/takecover --epochs 3
    python benchmarks/mixture_heads.py takecover runs/takecover --epochs 2 --components 5

Windows are shuffled, so M's state is not carried over them, whatever the recipe says.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

from dreamserve_training.defaults import resolve
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.mixture import Head
from dreamserve_training.probe import probe
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.tools.dataset_utils import create_mdnrnn_dataloader
from dreamserve_training.train.memory import MemoryLoop, train_memory
from dreamserve_training.workspace import Workspace


def held_out_nll(
    recipe: ResolvedRecipe,
    workspace: Workspace,
    head: Head,
    epochs: int,
    components: int | None,
) -> tuple[float, ...]:
    """Return (held-out NLL in nats per latent dimension, parameters, seconds) of one head."""
    options = recipe.memory_options | {"head": head, "predict_done": True}
    if components is not None:
        options["num_mixtures"] = components
    model = MDNRNN(recipe.vae.z_dim, action_space=recipe.env.action_space, **options)
    train, holdout = (
        create_mdnrnn_dataloader(
            workspace.all_latents(split),
            batch_size=recipe.batch_size,
            sequence_length=recipe.sequence_length,
            shuffle=split == "train",
        )
        for split in ("train", "holdout")
    )
    with tempfile.TemporaryDirectory() as directory:
        config = replace(recipe.train, epochs=epochs, save_dir=directory, carry_state=False)
        began_s = time.monotonic()
        train_memory(model, train, config, holdout)
        took_s = time.monotonic() - began_s
    loop = MemoryLoop(model, config)
    total, steps = 0.0, 0
    for batch in holdout:
        predicted = int(batch["next_mask"].sum())
        total += float(loop.losses(batch)["nll"].detach()) * predicted
        steps += predicted
    return total / steps, sum(p.numel() for p in model.parameters()), took_s


def main() -> None:
    """Train and evaluate every head; print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--components", type=int, help="of the mixtures; default: the recipe's")
    options = parser.parse_args()
    written = load_recipe(options.recipe)
    recipe = resolve(written, probe(written))
    workspace = Workspace(options.run, recipe.memory)
    print(
        f"{options.epochs} epochs each\n\n| head | held-out NLL, nats/dim | parameters | seconds |"
    )
    print("|---|---|---|---|")
    for head in get_args(Head):
        nll, parameters, took_s = held_out_nll(
            recipe, workspace, head, options.epochs, options.components
        )
        print(f"| {head} | {nll:.4f} | {parameters:,} | {took_s:.0f} |", flush=True)


if __name__ == "__main__":
    main()
