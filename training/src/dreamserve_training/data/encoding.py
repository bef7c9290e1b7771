"""Encode raw episodes: every frame becomes the VAE's posterior, stored in float16.

The posterior is stored instead of one sample, so that training can draw a new z in every epoch, as
in the code of Ha & Schmidhuber (2018): M then learns the distribution of z.
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

from dreamserve_training.data.checks import check_frames, load_raw_episode, observation_field
from dreamserve_training.data.episodes import DataError, Episode, episode_paths, save_episode
from dreamserve_training.data.frames import Crop, check_crop, resized
from dreamserve_training.files import atomic_write
from dreamserve_training.models.catalog import Vision, load_vision
from dreamserve_training.models.vectors import VectorScale

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

# Identifies the encoder of a directory of latents, which must all come from one encoder.
ENCODER_FILE = "encoder.json"


class FramesToLatentConverter:
    """Convert frames, or vectors, to the posteriors of a trained V, in batches.

    `vae` is V (a ConvVAE or, for vectors, a VectorScale) or the path of its checkpoint; `device` is
    "auto" (CUDA if available) or a torch device. `mixed_precision` encodes frames in bfloat16
    autocast (RMS difference about 0.005). Frames of the VAE's input size are used unchanged; frames
    of another size need `crop`, (top, bottom, left, right) in pixels, and are then downscaled by
    area averaging.
    """

    def __init__(
        self,
        vae: Vision | str | Path,
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
        # a copy, because .to() and .eval() would change the caller's VAE
        loaded = load_vision(vae) if isinstance(vae, str | Path) else deepcopy(vae)
        self.device = torch.device(device)
        self.vae = loaded.to(self.device).eval()
        self.batch_size, self.mixed_precision, self.crop = batch_size, mixed_precision, crop

    def prepare(self, frames: npt.ArrayLike) -> UInt8:
        """Return `frames` (T, H, W, C) uint8 at the VAE's input size.

        Raises DataError for another dtype or shape, and for another size without `crop`.
        """
        if isinstance(self.vae, VectorScale):
            raise DataError("frames, but V takes vectors (T, n)")
        height, width, channels = self.vae.frame_shape
        frames = check_frames(np.asarray(frames), "these frames")
        if frames.shape[3] != channels:
            raise DataError(f"frames have {frames.shape[3]} channels but the VAE takes {channels}")
        if self.crop is None:
            if frames.shape[1:3] != (height, width):
                raise DataError(
                    f"frames are {frames.shape[1]} x {frames.shape[2]} but the VAE takes"
                    f" {height} x {width}; pass `crop` to crop and resize them"
                )
            return frames
        check_crop(self.crop, (frames.shape[1], frames.shape[2]), "these frames")
        return resized(frames, self.crop, (height, width))

    @torch.inference_mode()
    def convert(self, observations: npt.ArrayLike) -> tuple[Float32, Float32]:
        """Return the posteriors (mu, logvar), each (T, Z) float32.

        `observations` are frames (T, H, W, C) uint8, or vectors (T, n) floats. Raises DataError as
        `prepare` does, and ValueError for vectors of another size and if V outputs NaN or infinity.
        """
        is_vectors = np.ndim(observations) == 2
        inputs = (
            torch.from_numpy(np.asarray(observations, np.float32))
            if is_vectors
            else torch.from_numpy(self.prepare(observations))
        )
        halved = self.mixed_precision and not is_vectors  # too coarse for numbers
        mu, logvar = [], []
        for chunk in torch.split(inputs, self.batch_size):
            numbers = chunk.to(self.device) if is_vectors else chunk.to(self.device).float() / 255
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=halved):
                posterior = self.vae.encode(numbers)
            mu.append(posterior[0].float().cpu())
            logvar.append(posterior[1].float().cpu())
        latents = torch.cat(mu).numpy(), torch.cat(logvar).numpy()
        if not all(np.isfinite(part).all() for part in latents):
            raise ValueError("V encodes these observations to NaN or infinity")
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
    """The result of `preprocess_trajectories`."""

    encoded: int = 0  # episodes encoded by this call
    kept: int = 0  # episodes encoded before
    steps: int = 0  # steps encoded by this call
    trimmed: list[str] = field(default_factory=list)  # files whose all-zero last frame was dropped


def preprocess_trajectories(
    raw_dir: str | Path,
    out_dir: str | Path,
    converter: FramesToLatentConverter | Vision | str | Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreprocessReport:
    """Encode every raw episode of `raw_dir` to a latent episode of the same name in `out_dir`.

    `mu` and `logvar` (T, Z) float16 replace `frames` or `vectors`; the other arrays are copied.
    Files are written atomically, and an interrupted run continues with the missing ones. A last
    frame of zeros in another project's file is a terminal observation: its row is dropped, the row
    before it inherits its `terminated`, and the report names the file. Raises DataError for an
    invalid file, which it names, and for an `out_dir` that holds latents of another encoder.
    """
    if not isinstance(converter, FramesToLatentConverter):
        converter = FramesToLatentConverter(converter)
    paths, out = episode_paths(raw_dir), Path(out_dir)
    _check_encoder(out, converter.identity())
    report = PreprocessReport()
    progress(0, len(paths))
    for done, path in enumerate(paths, 1):
        if (out / path.name).exists():
            report.kept += 1
        else:
            episode, had_terminal_frame = load_raw_episode(path)
            if had_terminal_frame:
                report.trimmed.append(path.name)
            save_episode(out / path.name, encode_episode(episode, path, converter))
            report.encoded += 1
            report.steps += len(episode["actions"])
        progress(done, len(paths))
    return report


def encode_episode(episode: Episode, where: Path, converter: FramesToLatentConverter) -> Episode:
    """Return a valid raw `episode` as a latent one; DataError, which names `where`, if it fails."""
    seen = observation_field(episode, where)
    try:
        mu, logvar = converter.convert(episode[seen])
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if max(np.abs(mu).max(), np.abs(logvar).max()) > np.finfo(np.float16).max:
        raise DataError(f"{where}: latents are too large for float16; the VAE may have diverged")
    latents = {"mu": mu.astype(np.float16), "logvar": logvar.astype(np.float16)}
    return {**latents, **{name: array for name, array in episode.items() if name != seen}}


def _check_encoder(out: Path, identity: str) -> None:
    """Record the encoder's identity in `out`; DataError if another one is recorded there."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / ENCODER_FILE
    if path.exists():
        found = json.loads(path.read_text())["encoder"]
        if found != identity:
            raise DataError(
                f"{out}: holds latents of another encoder ({found}, not {identity});"
                " use an empty directory"
            )
        return
    with atomic_write(path) as file:
        file.write(f"{json.dumps({'encoder': identity})}\n".encode())
