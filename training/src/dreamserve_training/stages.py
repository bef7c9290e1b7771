"""The stages of a recipe. Each reads the files of earlier stages and writes its output.

An interrupted stage resumes where it stopped.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dreamserve.bundle import MANIFEST_FILE
from dreamserve.observations import VectorSpec
from dreamserve.trust import Trust
from dreamserve_training.assemble import memory_options, memory_to_go_on, write_bundle, write_draft
from dreamserve_training.data.collect import CollectConfig, check_collection
from dreamserve_training.data.collect import collect as collect_episodes
from dreamserve_training.data.digests import files_digest
from dreamserve_training.data.encoding import FramesToLatentConverter, preprocess_trajectories
from dreamserve_training.data.episodes import SPLITS, Split, episode_paths
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.judging import evaluate
from dreamserve_training.models.catalog import make_memory
from dreamserve_training.models.controller import load_policy, save_policy
from dreamserve_training.progress import log_progress
from dreamserve_training.recipe import ResolvedRecipe
from dreamserve_training.recorded import take_recorded
from dreamserve_training.stage_inputs import (
    begin_encoding,
    controller_to_go_on,
    critic_path,
    made_of,
    players,
)
from dreamserve_training.stage_inputs import draft as draft_inputs
from dreamserve_training.train.memory import train_memory
from dreamserve_training.train.methods import train_controller
from dreamserve_training.train.ppo.finetune import finetune as finetune_policy
from dreamserve_training.train.trainer import seed_everything
from dreamserve_training.train.vae import train_vae
from dreamserve_training.train.vectors import fit_scale
from dreamserve_training.workspace import Workspace, read_json, write_json

logger = logging.getLogger("dreamserve_training")


@dataclass(frozen=True)
class Stage:
    """One step of a recipe."""

    name: str
    run: Callable[[ResolvedRecipe, Workspace], None]
    output: Callable[[Workspace], Path]  # the file is there when the stage is done


def collect(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Record episodes of the real environment, or take recorded ones."""
    if recipe.data is not None:
        take_recorded(recipe.data, recipe.env, workspace.episodes, workspace.restart)
    else:
        who = players(recipe, workspace)
        configs: dict[Split, CollectConfig] = {
            "train": replace(recipe.collect, players=who),
            "holdout": replace(recipe.holdout, players=who),
        }
        if not workspace.restart:  # either fits, or nothing is collected: the seeds follow on
            for split, config in configs.items():
                check_collection(recipe.env, workspace.episodes(split), config)
        for split, config in configs.items():
            directory = workspace.episodes(split)
            progress = log_progress(f"collect {split}")
            collect_episodes(recipe.env, directory, config, progress, workspace.restart)
    (workspace.root / "collected").touch()


def vae(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train V on a sample of the frames of all passes, or fit the scale of vectors.

    An iteration trains on from the weights of the pass before it.
    """
    config, before = recipe.vae, workspace.before
    workspace.vae.mkdir(parents=True, exist_ok=True)
    if isinstance(recipe.env.observation, VectorSpec):
        fit_scale(episode_paths(workspace.episodes("train")), workspace.vae_model)
        return
    samples: dict[Split, Path] = {}
    counts: dict[Split, int] = {"train": config.frames, "holdout": config.validation_frames}
    for split, count in counts.items():
        samples[split] = workspace.vae / f"frames-{split}.npy"
        paths = episode_paths(workspace.all_episodes(split))
        inputs = {"episodes": files_digest(paths), "count": count, "seed": config.seed}
        with made_of(workspace, samples[split].stem, inputs, samples[split]) as missing:
            if missing:
                progress = log_progress(f"sample {split} frames")
                sample_frames(paths, samples[split], count, config.seed, progress)
    train_vae(
        samples["train"],
        samples["holdout"],
        workspace.vae,
        config,
        restart=workspace.restart,
        initial=None if before is None else before.vae_model,
    )


def encode(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Encode the observations of the episodes to V's posteriors; with a new V, of all passes."""
    converter = FramesToLatentConverter(workspace.vae_model, mixed_precision=True)
    for episodes, latents in (each for split in SPLITS for each in workspace.to_encode(split)):
        begin_encoding(episodes, latents, converter, workspace.restart)
        progress = log_progress(f"encode {latents.name}")
        preprocess_trajectories(episodes, latents, converter, progress=progress)
    (workspace.root / "encoded").touch()


def memory(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train M on latent episodes of all passes; keep the epoch that is best on held-out ones."""
    seed_everything(recipe.train.seed)  # the untrained weights
    model = make_memory(recipe.memory, **memory_options(recipe, workspace))
    config = replace(recipe.train, save_dir=str(workspace.memory), restart=workspace.restart)
    train, holdout = (
        create_window_loader(
            workspace.all_latents(split),
            batch_size=recipe.batch_size,
            sequence_length=recipe.sequence_length,
            shuffle=split == "train",
            num_workers=config.readers,
            seed=config.seed,
            signals=recipe.signals,
            in_order=config.carry_state,
        )
        for split in ("train", "holdout")
    )
    train_memory(model, train, config, holdout, initial=memory_to_go_on(model, workspace))


def controller(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Train C in dreams of the draft bundle."""
    inputs = draft_inputs(recipe, workspace)
    with made_of(workspace, "draft", inputs, workspace.draft) as missing:
        if missing:
            write_draft(recipe, workspace)
    path = controller_to_go_on(recipe, workspace)
    policy = train_controller(
        workspace.draft,
        workspace.controller,
        recipe.controller,
        workspace.restart,
        initial=None if path is None else load_policy(path),
        trust=Trust(trust_torchscript=True),  # of a file that the stage has written
    )
    save_policy(policy, workspace.controller / "controller.npz")


def finetune(recipe: ResolvedRecipe, workspace: Workspace) -> None:
    """Let C learn on in the real environment; its critic is that of a learning in dreams."""
    assert recipe.finetune is not None, "the stage is not among this recipe's"
    learned = load_policy(workspace.controller / "controller.npz")
    policy = finetune_policy(
        recipe.env,
        workspace.draft,
        learned,
        workspace.finetuned,
        recipe.finetune,
        workspace.restart,
        critic=critic_path(recipe, workspace),
        signals=recipe.signals,
    )
    save_policy(policy, workspace.finetuned / "controller.npz")


def bundle_version(bundle: Path) -> str | None:
    """Return the version of a bundle; None if there is none."""
    manifest = read_json(bundle / MANIFEST_FILE, default={})
    return str(manifest["version"]) if "version" in manifest else None


def export(recipe: ResolvedRecipe, workspace: Workspace, bundle: Path) -> None:
    """Measure the world on held-out episodes and write its bundle."""
    verdicts = write_bundle(recipe, workspace, bundle)
    # a marker, because an existing bundle may come from another run
    write_json(workspace.exported, bundle_version(bundle))
    for verdict in verdicts:
        logger.warning("verdict: %s", verdict)
    logger.info("export: %s", bundle)


STAGES = (
    Stage("collect", collect, lambda w: w.root / "collected"),
    Stage("vae", vae, lambda w: w.vae_model),
    Stage("encode", encode, lambda w: w.root / "encoded"),
    Stage("memory", memory, lambda w: w.memory_model),
    Stage("controller", controller, lambda w: w.controller / "controller.npz"),
    Stage("finetune", finetune, lambda w: w.finetuned / "controller.npz"),
    Stage("evaluate", evaluate, lambda w: w.evaluation),
)
