"""dreamserve-train: train a world and export it as a bundle, stage by stage or in one run."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dreamserve_protocol.errors import DreamserveError
from dreamserve_training.command_options import (
    Bundle,
    IterationNumber,
    Out,
    RecipeName,
    Restart,
    TrustTorchscript,
    example,
    on_workers,
    refuse_options,
)
from dreamserve_training.data_commands import commands
from dreamserve_training.runs.signals import stoppable

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    epilog=example("recipe takecover --out runs/takecover"),
)  # fmt: skip


def _run(
    stage: str, name: str, out: Path | None, restart: bool, *, bundle: Path | None = None,
    iteration: int = 0,
) -> None:  # fmt: skip
    # imported here because torch takes seconds to import, and --help should not
    from dreamserve_training.recipe_files import recipe_name
    from dreamserve_training.tasks import run_stages

    names, world = None if stage == "recipe" else (stage,), recipe_name(name)
    run_stages(
        name,
        out or Path("runs") / world,
        bundle or Path("bundles") / world,
        names,
        restart,
        iteration,
    )


# Stages whose commands have the same options: what they do, and whether they play episodes.
PLAIN_STAGES = {
    "collect": ("Record episodes of the real environment.", True),
    "vae": ("Train V, the VAE, on a sample of frames, or fit the scale of vectors.", False),
    "encode": ("Encode the recorded observations to latents.", False),
    "memory": ("Train M, the memory model, on the latents.", False),
    "controller": ("Train C, the controller, in imagined episodes.", True),
    "finetune": ("Let C learn on in the real environment, if the recipe says so.", True),
}
FORMER_NAMES = {"mdnrnn": "memory"}  # of commands, which still work


def _stage_command(stage: str) -> Callable[..., None]:
    says, plays = PLAIN_STAGES[stage]

    def command(
        recipe: RecipeName,
        out: Out = None,
        restart: Restart = False,
        iteration: IterationNumber = 0,
    ) -> None:
        _run(stage, recipe, out, restart, iteration=iteration)

    command.__doc__ = says
    return on_workers(command) if plays else command


for _name in PLAIN_STAGES:
    app.command(_name, epilog=example(f"{_name} takecover"))(_stage_command(_name))
for _name, _stage in FORMER_NAMES.items():
    app.command(_name, hidden=True)(_stage_command(_stage))


@app.command(epilog=example("evaluate bundles/takecover --episodes 400"))
@on_workers
def evaluate(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="A recipe, whose stage is run; or the folder of a bundle or run, whose controller"
            " plays again, with other seeds."
        ),
    ],
    out: Out = None,
    restart: Restart = False,
    iteration: IterationNumber = 0,
    against: Annotated[
        Path | None, typer.Option("--against", help="A bundle or run to compare a folder with.")
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", help="Real episodes of a folder.")] = 400,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of a folder's first episode.")
    ] = 4_000_000,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that play. Default: one for each core."),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="A folder's controller only: no blind twins, no baselines."),
    ] = False,
    environment: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="The recipe's file, for the environment of a folder of your own world."
        ),
    ] = None,
) -> None:
    """Evaluate C in the real environment and compare it with agents that ignore observations."""
    of_folders = {"against", "episodes", "seed", "workers", "alone", "environment"}
    if not Path(what).is_dir():
        refuse_options(context, of_folders, "a folder of a bundle or run")
        _run("evaluate", what, out, restart, iteration=iteration)
        return
    refuse_options(context, {"out", "restart", "iteration"}, "a recipe")
    from dreamserve.backends.choose import cores
    from dreamserve_training.comparison import ComparisonConfig, compare

    config = ComparisonConfig(episodes, seed, workers or cores(), alone)
    typer.echo(compare(Path(what), environment, against, config))


@app.command(epilog=example("export takecover"))
def export(
    recipe: RecipeName, out: Out = None, bundle: Bundle = None, restart: Restart = False
) -> None:
    """Measure the world's quality and write it as a bundle."""
    _run("export", recipe, out, restart, bundle=bundle)


@app.command(epilog=example("learn bundles/takecover --out runs/ppo --set iterations=50"))
def learn(
    bundle: Annotated[Path, typer.Argument(help="Folder of any bundle; C learns in its dreams.")],
    out: Annotated[
        Path, typer.Option("--out", help="Where to keep the training and write controller.npz.")
    ],
    method: Annotated[str, typer.Option("--method", help="ppo or cma.")] = "ppo",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the method, as NAME=VALUE; may be repeated."),
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option("--initial", help="A controller.npz to start from, e.g. the bundle's."),
    ] = None,
    trust_torchscript: TrustTorchscript = False,
    restart: Restart = False,
) -> None:
    """Train C, the controller, in dreams of a bundle, without a recipe; the bundle is unchanged."""
    from dreamserve.trust import Trust
    from dreamserve_training.models.controller import load_policy, save_policy
    from dreamserve_training.train.methods import config_for, train_controller

    config = config_for(bundle, method, settings or [])
    begun = None if initial is None else load_policy(initial)
    trust = Trust(trust_torchscript=trust_torchscript)
    policy = train_controller(bundle, out, config, restart, begun, trust)
    save_policy(policy, out / "controller.npz")
    typer.echo(f"{out / 'controller.npz'}: written")


@app.command(epilog=example("validate bundles/takecover"))
def validate(
    path: Annotated[Path, typer.Argument(help="Folder of a bundle or of episodes (*.npz).")],
    trust_torchscript: TrustTorchscript = False,
) -> None:
    """Check a bundle (shapes, finite outputs, parity, sampling, memory, speed) or episodes."""
    from dreamserve.trust import Trust
    from dreamserve_training.data.report import validate_dataset
    from dreamserve_training.validation import validate as validate_bundle

    episodes = path.is_dir() and any(path.glob("*.npz")) and not (path / "manifest.json").exists()
    trust = Trust(trust_torchscript=trust_torchscript)
    report = validate_dataset(path) if episodes else validate_bundle(path, trust)
    typer.echo(report)
    raise typer.Exit(0 if report.passed else 1)


@app.command(epilog=example("recipe takecover --out runs/takecover"))
@on_workers
def recipe(
    name: RecipeName, out: Out = None, bundle: Bundle = None, restart: Restart = False
) -> None:
    """Run every stage in order; run it again to resume after an interruption."""
    _run("recipe", name, out, restart, bundle=bundle)


@app.command(epilog=example("new cartpole --env CartPole-v1"))
def new(
    name: Annotated[str, typer.Argument(help="Name of the world; the file is NAME.py.")],
    env: Annotated[
        str,
        typer.Option("--env", help="Gymnasium id; module:Id-v0 imports the module first."),
    ],
    part: Annotated[
        str | None, typer.Option("--part", help="Key of a Dict observation, if it has several.")
    ] = None,
) -> None:
    """Write a first recipe, NAME.py, with comments on what can be changed."""
    from dreamserve_training.new_recipe import write_recipe

    path = write_recipe(Path.cwd(), name, env, part)
    typer.echo(f"{path.name}: written; train the world: dreamserve-train recipe ./{path.name}")


app.add_typer(commands)


def main() -> None:
    """Run the command line; expected errors are printed as one line.

    Exit status: 1 for an error; 128 + the signal's number after SIGTERM, SIGINT and SIGHUP.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dreamserve_training").setLevel(logging.INFO)
    try:
        with stoppable():
            app()
    except (ValueError, ImportError, OSError, DreamserveError) as error:
        typer.echo(f"dreamserve-train: {error}", err=True)
        raise SystemExit(1) from error
    except KeyboardInterrupt as interrupt:
        raise SystemExit(128 + signal.SIGINT) from interrupt


if __name__ == "__main__":
    main()
