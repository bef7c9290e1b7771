"""What each stage of a recipe is made of: a stage is done while these are what they were.

A stage's inputs are its part of the recipe and the digests of the files that it reads.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from dreamserve_training.data.collect import code_used
from dreamserve_training.data.digests import file_hash, files_digest
from dreamserve_training.data.encoding import ENCODER_FILE, FramesToLatentConverter
from dreamserve_training.data.episodes import SPLITS, Split
from dreamserve_training.data.players import Player, Plays, RandomPlayer, SequencePlayer
from dreamserve_training.evaluation.dreaming import ControllerPlayer
from dreamserve_training.models.catalog import load_memory
from dreamserve_training.recipe import PlayerName, ResolvedRecipe
from dreamserve_training.recorded import digests
from dreamserve_training.runs.errors import MismatchError
from dreamserve_training.runs.records import Record, begin, describe
from dreamserve_training.train.methods import MethodConfig
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import checkpoint_of
from dreamserve_training.workspace import Workspace, read_json, write_json

Inputs = Mapping[str, Any]


def _controller_player(recipe: ResolvedRecipe, workspace: Workspace) -> Plays:
    before = workspace.before
    assert before is not None, "the first pass has no controller yet"
    policy = before.controller / "controller.npz"
    files = [_hash(path) for path in (before.vae_model, before.memory_model, policy)]
    made_of = sha256(repr(files).encode()).hexdigest()[:16]
    return ControllerPlayer(before.draft.resolve(), policy.resolve(), made_of, recipe.exploration)


def _sequence_player(recipe: ResolvedRecipe, workspace: Workspace) -> Plays:
    return SequencePlayer(tuple(actions for _, actions in recipe.baselines), recipe.exploration)


def _random_player(recipe: ResolvedRecipe, workspace: Workspace) -> Plays:
    collect = recipe.collect
    return RandomPlayer(collect.policy, collect.shortest, collect.longest)


PLAYERS: Mapping[PlayerName, Callable[[ResolvedRecipe, Workspace], Plays]] = {
    "controller": _controller_player,
    "baselines": _sequence_player,
    "random": _random_player,
}


def players(recipe: ResolvedRecipe, workspace: Workspace) -> tuple[Player, ...]:
    """Return who plays the episodes of an iteration; none of the first pass, which has a policy."""
    return tuple(
        Player(name, weight, PLAYERS[name](recipe, workspace)) for name, weight in recipe.players
    )


def _collect(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    if recipe.data is not None:
        taken = digests(recipe.data, workspace.episodes)
        return {"env": recipe.env, **{str(split): digest for split, digest in taken.items()}}
    inputs = {"env": recipe.env, "collect": recipe.collect, "holdout": recipe.holdout}
    inputs |= code_used(recipe.env, recipe.collect)
    return {**inputs, **({"players": players(recipe, workspace)} if recipe.players else {})}


def _vae(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    before = workspace.before
    initial = {} if before is None else {"initial": _hash(before.vae_model)}
    return {"vae": recipe.vae, **initial, "episodes": _digests(workspace.all_episodes)}


def _encode(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    episodes = _digests(lambda split: [raw for raw, _ in workspace.to_encode(split)])
    return {"vae": _hash(workspace.vae_model), "episodes": episodes}


def _memory(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    names = (
        *("memory", "memory_options", "signals", "train", "batch_size", "sequence_length"),
        "constant_reward",  # M then predicts none
    )
    before = workspace.before
    initial = {} if before is None else {"initial": _hash(before.memory_model)}
    return {**_fields(recipe, names), **initial, "latents": _digests(workspace.all_latents)}


def draft(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    """Return what the bundle in whose dreams C is trained is made of."""
    names = ("env", "constant_reward", "done_rule", "done_threshold", "bank")
    models = {"vae": _hash(workspace.vae_model), "memory": _hash(workspace.memory_model)}
    return {**_fields(recipe, names), **models, "latents": _digests(workspace.all_latents)}


def controller_to_go_on(recipe: ResolvedRecipe, workspace: Workspace) -> Path | None:
    """Return the C of the pass before, from which C goes on.

    None in the first pass, for CMA-ES, which begins anew, for a C of another form, and if M is
    another one than that before: what C knows of M's recurrent state then means nothing.
    """
    before = workspace.before
    if before is None or recipe.before is None or not workspace.memory_model.exists():
        return None
    if not _same_form(recipe.before.controller, recipe.controller):
        return None
    was, now = (describe(load_memory(each.memory_model).config) for each in (before, workspace))
    return before.controller / "controller.npz" if was == now else None


def _same_form(before: MethodConfig, now: MethodConfig) -> bool:
    if not (isinstance(before, PPOConfig) and isinstance(now, PPOConfig)):
        return False
    return (before.inputs, before.hidden) == (now.inputs, now.hidden)


def _controller(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    path = controller_to_go_on(recipe, workspace)
    initial = {} if path is None else {"initial": _hash(path)}
    return {**draft(recipe, workspace), **initial, "controller": recipe.controller}


def critic_path(recipe: ResolvedRecipe, workspace: Workspace) -> Path | None:
    """Return the checkpoint of the critic of C's learning in dreams, None without one.

    Of several learnings it is that of the first.
    """
    config = recipe.controller
    return checkpoint_of(workspace.controller, config) if isinstance(config, PPOConfig) else None


def _finetune(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    policy = {"policy": _hash(workspace.controller / "controller.npz")}
    code = code_used(recipe.env, recipe.collect)
    return {**_controller(recipe, workspace), **policy, **_fields(recipe, ("finetune",)), **code}


def policy_path(recipe: ResolvedRecipe, workspace: Workspace) -> Path:
    """Return the C of a pass: as it has learned in dreams, or after that in reality."""
    folder = workspace.controller if recipe.finetune is None else workspace.finetuned
    return folder / "controller.npz"


def _evaluate(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    policy = {"policy": _hash(policy_path(recipe, workspace))}
    names = _fields(recipe, ("baselines", "evaluate", "last"))  # in the last one all agents play
    code = code_used(recipe.env, recipe.collect)
    return {**_controller(recipe, workspace), **policy, **names, **code}


def _export(recipe: ResolvedRecipe, workspace: Workspace) -> Inputs:
    evaluations = [_hash(each.evaluation) for each in workspace.passes()]
    name = _fields(recipe, ("name",))
    return {**_evaluate(recipe, workspace), **name, "evaluation": evaluations}


INPUTS: Mapping[str, Callable[[ResolvedRecipe, Workspace], Inputs]] = {
    "collect": _collect,
    "vae": _vae,
    "encode": _encode,
    "memory": _memory,
    "controller": _controller,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "export": _export,
}


def begin_encoding(
    episodes: Path, latents: Path, converter: FramesToLatentConverter, restart: bool
) -> None:
    """Note what the latents are encoded from. There may be more episodes than at the last time.

    Raises MismatchError for latents of other episodes or another encoder; with `restart` they are
    removed.
    """
    paths = sorted(episodes.glob("*.npz"))
    encoded = [latents / path.name for path in paths]
    gone = sorted({*latents.glob("*.npz")} - {*encoded})
    sources = {path.name: files_digest([path])["sha256"] for path in paths}
    record = Record("the encoding", {"encoder": converter.identity()}, {}, grows=sources)
    files = [*encoded, *gone, latents / ENCODER_FILE]
    reached = f"{gone[0].name} is there no more" if gone else ""
    begin(latents / "encode_run.json", record, files, reached=reached, restart=restart)


@contextmanager
def made_of(
    workspace: Workspace, name: str, inputs: Inputs, output: Path | None = None
) -> Iterator[bool]:
    """Note after the block what `name` was made of; yield whether `output` is to be made again.

    Meanwhile it counts as made of nothing, so what a stopped block has left is not taken for done;
    what is refused (MismatchError) stays as it was.
    """
    path, now = workspace.inputs(name), describe(inputs)
    before = read_json(path, default=None)
    changed = before != now
    missing = changed or output is None or not output.exists()
    if missing:
        path.unlink(missing_ok=True)
    try:
        yield missing
    except MismatchError:
        if before is not None:
            write_json(path, before)
        raise
    if missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, now)


def _fields(recipe: ResolvedRecipe, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in names}


def _digests(folders: Callable[[Split], list[Path]]) -> dict[str, Any]:
    def paths(split: Split) -> list[Path]:
        return [path for folder in folders(split) for path in sorted(folder.glob("*.npz"))]

    return {split: files_digest(paths(split)) for split in SPLITS}


def _hash(path: Path) -> str | None:
    return file_hash(path) if path.exists() else None
