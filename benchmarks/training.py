"""How fast are V and M trained, beside ctallec/world-models?

    benchmarks/peers/install-world-models              once: clones the peer
    python benchmarks/training.py                      about 8 minutes
    python benchmarks/training.py --no-peers           this repository's training alone

Both sides get the same frames of TakeCover, the same sizes (latents of 32, an LSTM of 256, five
mixture components) and the same batches (32 frames; 16 windows of 32 steps), and one thread each.
They train in turn, an epoch of ours and then as many steps of the peer's, so that other work on the
machine meets both. CPU time is given beside wall time; steps per second are medians over the
epochs. Ours is the whole of `train_vae` and `train_memory` but for validation and checkpoints: with
loader, Lightning, clipping and checks. The peer's is its model, loss and optimizer on batches that
are in memory already.

Its script encodes the frames of each batch by V before each step of M; here they are encoded once.
So M's step has two lines: as in its script, and on latents alone. The latents of both are those of
the peer's V. Held-out losses are compared after equally many steps: V's squared error plus KL per
frame, M's negative log-likelihood per dimension of the same windows.
"""

import argparse
import logging
import statistics
import tempfile
import warnings
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dreamserve_training.data.collect import record_episode
from dreamserve_training.data.encoding import FramesToLatentConverter
from dreamserve_training.data.episodes import (
    Episode,
    episode_paths,
    load_episode,
    save_episode,
)
from dreamserve_training.data.frames import sample_frames
from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.defaults import resolve
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.mixture import Head
from dreamserve_training.models.vae import load_vae, vae_loss
from dreamserve_training.models.world_model import LossWeights
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.train.memory import train_memory
from dreamserve_training.train.vae import VAEConfig, train_vae
from tables import print_circumstances, print_table, spread, verdict
from turns import Peer, Turns

LATENT, HIDDEN, MIXTURES = 32, 256, 5
FRAMES, WINDOWS, STEPS = 32, 16, 32  # a batch of V; the windows of one of M, and their length
ALL, ON_LATENTS, ON_FRAMES = 10**9, "M on latents", "M on frames"  # what the peer trains
Int64 = npt.NDArray[np.int64]
HEADS: tuple[Head, ...] = ("joint", "per_dimension")
AT_LEAST = {"V": 1.5, ON_FRAMES: 3.0, ON_LATENTS: 3.0}


class Compared(NamedTuple):
    """Two trainings of equally many steps."""

    turns: Turns
    loss: float  # of held-out data
    theirs: float


def record(folder: Path, episodes: int) -> None:
    """Play `episodes` of TakeCover, and a fifth as many held out, with frames 64 x 64."""
    written = load_recipe("takecover")
    recipe = resolve(written, probe(written))
    with chdir(folder):  # the game leaves files where it runs
        env = recipe.env.open()
        for split, first, count in (("train", 0, episodes), ("holdout", 10**6, -(-episodes // 5))):
            (folder / split).mkdir()
            for seed in range(first, first + count):
                episode = record_episode(env, recipe.collect, seed)
                save_episode(folder / split / f"{seed:07}.npz", episode)


def compare_vision(folder: Path, peer: Peer | None, frames: int, epochs: int) -> Compared:
    """Train V on both sides."""
    arrays = {split: folder / f"{split}.npy" for split in ("train", "holdout")}
    for split, path in arrays.items():
        sample_frames(episode_paths(folder / split), path, frames if split == "train" else 1024)
    if peer:
        paths = {split: str(path) for split, path in arrays.items()}
        peer("V", "make", **paths, batch=FRAMES)
    turns = Turns(peer, {"V": ALL})
    # the peer's loss: every pixel counts the same, and every nat
    config = VAEConfig(
        z_dim=LATENT, epochs=epochs, batch_size=FRAMES, reconstruction_scale=1, salience=0,
        free_nats_per_dim=0,
    )  # fmt: skip
    path = train_vae(
        arrays["train"], arrays["holdout"], folder / "vae", config, "cpu", callbacks=(turns,)
    )
    theirs = peer("V", "held_out") if peer else float("nan")
    return Compared(turns, vision_loss(path, arrays["holdout"]), theirs)


@torch.no_grad()
def vision_loss(model: Path, frames: Path) -> float:
    """Return V's squared error plus KL of held-out frames, per frame."""
    torch.manual_seed(0)
    pictures = torch.from_numpy(np.load(frames)).float() / 255
    vae = load_vae(model)
    reconstruction, mu, logvar = vae(pictures)
    return float(sum(vae_loss(reconstruction, pictures, mu, logvar, 1.0, 0.0)))


def encode(folder: Path, peer: Peer | None) -> None:
    """Write the latents of all episodes by the peer's V, or by ours, as each side reads them."""
    converter = FramesToLatentConverter(folder / "vae" / "vae_best.pth")
    for split in ("train", "holdout"):
        (folder / "latents" / split).mkdir(parents=True)
        for number, path in enumerate(episode_paths(folder / split)):
            episode = load_episode(path)
            frames = episode.pop("frames")
            mu, logvar = converter.convert(frames)
            if peer:
                np.save(folder / "seen.npy", frames)
                peer("V", "encode", frames=str(folder / "seen.npy"), out=str(folder / "z.npz"))
                mu, logvar = (np.load(folder / "z.npz")[name] for name in ("mu", "logvar"))
            latents = {"mu": mu.astype(np.float16), "logvar": logvar.astype(np.float16)}
            save_episode(folder / "latents" / split / f"{number:04}.npz", latents | episode)
    write_steps(folder)
    write_windows(folder)


def steps_of(folder: Path, split: str) -> tuple[Episode, Int64]:
    """Return the steps of all latent episodes in a row, and the episodes' lengths."""
    episodes = [load_episode(path) for path in episode_paths(folder / "latents" / split)]
    steps = {name: np.concatenate([each[name] for each in episodes]) for name in episodes[0]}
    wide = {name: steps[name].astype(np.float32) for name in ("mu", "logvar", "rewards")}
    wide |= {"actions": np.eye(3, dtype=np.float32)[steps["actions"]]}
    wide |= {"done": steps["terminated"].astype(np.float32)}
    return wide, np.array([len(each["actions"]) for each in episodes])


def write_steps(folder: Path) -> None:
    """Write all steps as the peer reads them, with their frames."""
    steps, lengths = steps_of(folder, "train")
    frames = [load_episode(path)["frames"] for path in episode_paths(folder / "train")]
    np.savez(folder / "train.npz", **steps, frames=np.concatenate(frames), lengths=lengths)


def write_windows(folder: Path) -> None:
    """Write the held-out windows, in which each z is drawn once for both sides."""
    steps, lengths = steps_of(folder, "holdout")
    begins = zip(np.cumsum(lengths) - lengths, lengths, strict=True)
    starts = [begin + np.arange(0, length - STEPS, STEPS) for begin, length in begins]
    rows = np.concatenate(starts)[:, None] + np.arange(STEPS + 1)
    noise = np.random.default_rng(0).standard_normal(steps["mu"].shape, np.float32)
    z, now = steps["mu"] + np.exp(0.5 * steps["logvar"]) * noise, rows[:, :-1]
    kept = {name: steps[name][now] for name in ("actions", "done")}
    np.savez(folder / "holdout.npz", z=z[rows], **kept)


def compare_memory(folder: Path, peer: Peer | None, head: Head, epochs: int) -> Compared:
    """Train M on both sides."""
    if peer:
        paths = {split: str(folder / f"{split}.npz") for split in ("train", "holdout")}
        for name in (ON_LATENTS, ON_FRAMES):
            frames = name == ON_FRAMES
            peer(name, "make", **paths, batch=WINDOWS, window=STEPS, frames=frames)
    turns = Turns(peer, {ON_LATENTS: ALL, ON_FRAMES: 1})  # a step of these takes seconds
    torch.manual_seed(0)
    model = MDNRNN(LATENT, 3, HIDDEN, MIXTURES, head=head, predict_done=True)
    loader = create_window_loader(folder / "latents" / "train", WINDOWS, STEPS)
    # the peer's loss: ends count as much as one dimension of the latent
    loss = {"lr": 3e-3, "done_weight": 1 / LATENT, "done_pos_weight": 1.0}
    options = {**loss, "epochs": epochs, "device": "cpu", "save_dir": str(folder / head)}
    train_memory(model, loader, options, callbacks=(turns,))
    theirs = peer(ON_LATENTS, "held_out") if peer else float("nan")
    return Compared(turns, memory_loss(model, folder / "holdout.npz"), theirs)


@torch.no_grad()
def memory_loss(model: MDNRNN, windows: Path) -> float:
    """Return M's negative log-likelihood of held-out windows, nats per dimension."""
    parts = {name: torch.from_numpy(part) for name, part in np.load(windows).items()}
    z, everywhere = parts["z"], torch.ones(parts["z"][:, 1:].shape[:2], dtype=torch.bool)
    batch = {
        "z": z[:, :-1],
        "next_z": z[:, 1:],
        "actions": parts["actions"].argmax(-1),
        "done": parts["done"],
        "mask": everywhere,
        "next_mask": everywhere,
    }
    return float(model.losses(batch, LossWeights())["nll"])


def rows_of(name: str, compared: Compared) -> list[list[str]]:
    """Return a row of the table for each of the peer's models, and each clock."""
    turns, rows = compared.turns, []
    for model in turns.models if turns.peer else ("",):
        for clock, label in (("cpu_s", "CPU"), ("wall_s", "wall")):
            theirs = [turns.rates(model, clock), turns.ratio(model, clock)] if model else []
            rates = [spread(each, ".2f") for each in (turns.rates("ours", clock), *theirs)]
            losses = [f"{loss:.4g}" for loss in (compared.loss, compared.theirs)]
            rows.append([name, model or "none", label, *rates, *["-"] * (3 - len(rates)), *losses])
    return rows


def verdicts(name: str, compared: Compared) -> list[str]:
    """Return whether the aims are met, by CPU time."""
    turns, found = compared.turns, []
    for model in turns.models:
        ratio, aim = statistics.median(turns.ratio(model, "cpu_s")), AT_LEAST[model]
        claim = (
            f"{name} is trained at least {aim} times as fast as the peer's {model} ({ratio:.1f})"
        )
        found.append(verdict(claim, ratio >= aim))
    claim = f"{name} has an equal or better held-out loss"
    return [*found, verdict(claim, compared.loss <= compared.theirs)]


def main() -> None:
    """Train everything; print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=6, help="of V")
    parser.add_argument("--memory-epochs", type=int, default=20)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # of Lightning, on few workers
    logging.getLogger("dreamserve_training").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    peer = None if options.no_peers else Peer()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder, options.episodes)
        compared = {"V": compare_vision(folder, peer, options.frames, options.epochs)}
        encode(folder, peer)
        for head in HEADS:
            compared[f"M, {head}"] = compare_memory(folder, peer, head, options.memory_epochs)
    columns = ["ours", "peer", "clock", "steps/s", "peer's", "ratio", "held-out", "peer's"]
    print_table(columns, [row for each in compared.items() for row in rows_of(*each)])
    for each in compared.items() if peer else ():
        print("\n".join(verdicts(*each)))
    print_circumstances(["torch", "lightning"], cores="one thread each, in turn")


if __name__ == "__main__":
    main()
