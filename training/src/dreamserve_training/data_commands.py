"""The commands that move data between this project and others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dreamserve_training.command_options import example

commands = typer.Typer()


_Actions = Annotated[
    str | None,
    typer.Option(
        "--actions",
        help="The possible actions, such as 'Discrete(3)', 'MultiDiscrete(3, 2)', 'MultiBinary(4)'"
        " or 'Box(-1:1, 0:1*2)'. Default: those of the source.",
    ),
]
_Names = Annotated[
    str | None,
    typer.Option("--names", help="Names of the actions, or of their parts, separated by commas."),
]


def _space(actions: str | None) -> Any:
    from dreamserve_training.data.gym_spaces import parse_space

    return None if actions is None else parse_space(actions)


def _split(names: str | None) -> list[str] | None:
    return None if names is None else names.split(",")


@commands.command("import", epilog=example("import minari:D4RL/pen/human-v2 data/pen"))
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="minari:ID, a folder of .npz files, or a .hdf5 file of flat arrays as D4RL's."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of episodes to write; must not exist.")],
    observation: Annotated[
        str | None,
        typer.Option("--observation", help="Part of Dict observations to keep, such as camera."),
    ] = None,
    actions: _Actions = None,
    names: _Names = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Number of episodes. Default: all.")
    ] = None,
) -> None:
    """Convert a dataset of another project to episodes that recipes train on."""
    from dreamserve_training.data.sources.importing import import_dataset

    description = import_dataset(
        source,
        out,
        observation=observation,
        action_space=_space(actions),
        action_names=_split(names),
        limit=limit,
    )
    shape = " x ".join(map(str, description.observation_shape))
    typer.echo(
        f"{out}: {description.episodes} episodes, {description.steps} steps,"
        f" {description.observation_kind} {shape}, actions {description.action_space}"
    )


@commands.command(
    epilog=example(
        "minari runs/takecover/episodes/train takecover/random-v0 --actions 'Discrete(3)'"
    )
)
def minari(
    episodes: Annotated[Path, typer.Argument(help="Folder of raw episodes (*.npz).")],
    dataset_id: Annotated[str, typer.Argument(help="Id of the new Minari dataset.")],
    actions: _Actions = None,
) -> None:
    """Write recorded episodes as a dataset of Minari's local store."""
    from dreamserve_training.data.sources.minari_export import (
        described_space,
        recorded_episodes,
        write_minari,
    )

    written = write_minari(
        dataset_id,
        recorded_episodes(episodes),
        described_space(episodes, _space(actions)),
        description=f"Episodes recorded in {episodes.name}. The last observation of an episode that"
        " terminates repeats the one before.",
        algorithm="recorded",
    )
    typer.echo(f"minari:{dataset_id}: {written} episodes")


@commands.command(epilog=example("dreams bundles/takecover takecover/dreams-v0"))
def dreams(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    dataset_id: Annotated[str, typer.Argument(help="Id of the new Minari dataset.")],
    episodes: Annotated[int, typer.Option(min=1, help="Number of dreams.")] = 100,
    max_steps: Annotated[int, typer.Option(min=1, help="Maximum steps of a dream.")] = 1000,
    policy: Annotated[str, typer.Option(help="random, or bundled: the bundle's own.")] = "random",
    temperature: Annotated[float, typer.Option(help="Temperature of the dreams.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first dream.")] = 0,
    latents: Annotated[
        bool, typer.Option("--latents", help="Observe latents, without decoding them.")
    ] = False,
) -> None:
    """Write a world's dreams as a dataset of Minari's local store."""
    from dreamserve.loading import load_world
    from dreamserve_protocol.policies import AnyPolicy, BundledPolicy, RandomPolicy
    from dreamserve_training.data.sources.minari_export import write_minari
    from dreamserve_training.dreams.recording import dream_episodes

    policies: dict[str, AnyPolicy] = {"random": RandomPolicy(), "bundled": BundledPolicy()}
    if policy not in policies:
        raise ValueError(f"--policy must be random or bundled, not {policy!r}")
    world = load_world(bundle)
    written = write_minari(
        dataset_id,
        dream_episodes(
            world, episodes, max_steps, policies[policy], temperature, seed, decode=not latents
        ),
        world.spec.action_space,
        description=f"Dreams of the world {world.title} at temperature {temperature:g}.",
        algorithm=policy,
    )
    typer.echo(f"minari:{dataset_id}: {written} dreams of {world.title}")
