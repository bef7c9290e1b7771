"""Encode raw episodes: every frame becomes the VAE's posterior, stored in float16.

The posterior is kept instead of a draw from it, so that training can draw z anew in every
pass (as Ha & Schmidhuber's own code does): M then learns the spread of z, not one sample of it.
"""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dreamserve.frames import crop_and_resize
from dreamserve_training.data.checks import check_raw_episode, without_terminal_frame
from dreamserve_training.data.episodes import (
    DataError,
    Episode,
    episode_paths,
    load_episode,
    save_episode,
)
from dreamserve_training.files import atomic_write
from dreamserve_training.models.vae import ConvVAE, load_vae

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Crop = tuple[int, int, int, int]

# Names the encoder of a directory of latents; those of another must not be mixed in.
ENCODER_FILE = "encoder.json"


class FramesToLatentConverter:
    """A trained VAE's encoder over frames: prepare, batch, encode.

    `vae` is a ConvVAE or the path of its checkpoint; `device` is "auto" (CUDA if there is one) or
    a torch device. `mixed_precision` encodes in bfloat16 autocast (rms difference about 0.005).
    Frames of the VAE's own size are taken as they are; camera frames of another size need `crop`,
    (top, bottom, left, right) in their pixels, and are then averaged down.
    """

    def __init__(
        self,
        vae: ConvVAE | str | Path,
        *,
        batch_size: int = 256,
        device: str = "auto",
        mixed_precision: bool = False,
        crop: Crop | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # a copy, so that a VAE still in training is left as it is
        loaded = deepcopy(vae) if isinstance(vae, ConvVAE) else load_vae(vae)
        self.device = torch.device(device)
        self.vae = loaded.to(self.device).eval()
        self.batch_size, self.mixed_precision, self.crop = batch_size, mixed_precision, crop

    def prepare(self, frames: UInt8) -> UInt8:
        """Return `frames` (T, H, W, 3) uint8 at the size the VAE takes.

        Raises ValueError for another type or shape, and for a size that no `crop` was given for.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f"frames must be (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}"
            )
        height, width, _ = self.vae.frame_shape
        if self.crop is None:
            if frames.shape[1:] != self.vae.frame_shape:
                raise ValueError(
                    f"frames are {frames.shape[1]} x {frames.shape[2]} but the VAE takes"
                    f" {height} x {width}; camera frames need a crop to be cut and resized by"
                )
            return frames
        top, bottom, left, right = self.crop
        if not (0 <= top < bottom <= frames.shape[1] and 0 <= left < right <= frames.shape[2]):
            raise ValueError(f"crop {self.crop} is not inside frames of {frames.shape[1:3]}")
        return np.stack([crop_and_resize(frame, self.crop, (height, width)) for frame in frames])

    @torch.inference_mode()
    def convert(self, frames: UInt8) -> tuple[Float32, Float32]:
        """Return the posterior (mu, logvar), each (T, Z) float32, of `frames` (T, H, W, 3) uint8.

        Raises ValueError as `prepare` does, and if the VAE answers with NaN or infinity.
        """
        mu, logvar = [], []
        for chunk in torch.split(torch.from_numpy(self.prepare(frames)), self.batch_size):
            pixels = chunk.to(self.device).float() / 255
            with torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision
            ):
                posterior = self.vae.encode(pixels)
            mu.append(posterior[0].float().cpu())
            logvar.append(posterior[1].float().cpu())
        latents = torch.cat(mu).numpy(), torch.cat(logvar).numpy()
        if not all(np.isfinite(part).all() for part in latents):
            raise ValueError("the VAE encodes these frames to NaN or infinity")
        return latents

    def identity(self) -> str:
        """Return 16 hex digits that identify this encoder and its options."""
        digest = hashlib.sha256(repr((self.crop, self.mixed_precision)).encode())
        for name, tensor in sorted(self.vae.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


@dataclass
class PreprocessReport:
    """What `preprocess_trajectories` did."""

    encoded: int = 0  # episodes made now
    kept: int = 0  # episodes made before
    steps: int = 0  # of those made now
    trimmed: list[str] = field(default_factory=list)  # files whose last frame was all zeros


def preprocess_trajectories(
    raw_dir: str | Path,
    out_dir: str | Path,
    converter: FramesToLatentConverter | ConvVAE | str | Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreprocessReport:
    """Encode every raw episode of `raw_dir` to a latent one of the same name in `out_dir`.

    `mu` and `logvar` (T, Z) float16 take the place of `frames`; the other arrays stay. Each file
    appears whole or not at all, and a run that was stopped goes on with those that are missing.
    Raises DataError, naming the file, for a broken one, and for an `out_dir` that holds the
    latents of another encoder. A last frame that is all zeros is a terminal observation: its row
    is dropped, the one before takes over its `terminated`, and the report names the file.
    """
    if not isinstance(converter, FramesToLatentConverter):
        converter = FramesToLatentConverter(converter)
    paths, out = episode_paths(raw_dir), Path(out_dir)
    _claim(out, converter.identity())
    report = PreprocessReport()
    progress(0, len(paths))
    for done, path in enumerate(paths, 1):
        if (out / path.name).exists():
            report.kept += 1
        else:
            raw = load_episode(path)
            episode = without_terminal_frame(raw)
            if episode is not raw:
                report.trimmed.append(path.name)
            save_episode(out / path.name, encode_episode(episode, path, converter))
            report.encoded += 1
            report.steps += len(episode["actions"])
        progress(done, len(paths))
    return report


def encode_episode(episode: Episode, where: Path, converter: FramesToLatentConverter) -> Episode:
    """Return the latent form of a raw `episode`; DataError, naming `where`, if it is invalid."""
    check_raw_episode(episode, where)
    try:
        mu, logvar = converter.convert(episode["frames"])  # type: ignore[arg-type]  # checked uint8
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if max(np.abs(mu).max(), np.abs(logvar).max()) > np.finfo(np.float16).max:
        raise DataError(f"{where}: its latents are too large for float16: has the VAE diverged?")
    latents = {"mu": mu.astype(np.float16), "logvar": logvar.astype(np.float16)}
    return {**latents, **{name: array for name, array in episode.items() if name != "frames"}}


def _claim(out: Path, identity: str) -> None:
    """Note in `out` which encoder its latents are of; DataError if they are of another."""
    out.mkdir(parents=True, exist_ok=True)
    note = out / ENCODER_FILE
    if note.exists():
        found = json.loads(note.read_text())["encoder"]
        if found != identity:
            raise DataError(
                f"{out}: holds latents of another encoder ({found}, not {identity});"
                " give an empty directory"
            )
        return
    with atomic_write(note) as file:
        file.write(f"{json.dumps({'encoder': identity})}\n".encode())
