"""The untrained worlds that the benchmarks run on, as bundles, in the sizes that people train.

    python benchmarks/worlds.py                 # all of them, into benchmarks/.worlds
    python benchmarks/worlds.py lstm256-z32     # one of them

The weights are random: the cost of a step does not depend on their values. Dreams never end, so
all requests of a load get the same kind of response. The mixture head is `joint`, the one with the
lowest loss in `mixture_heads.py`.
"""

import argparse
from pathlib import Path

FOLDER = Path(__file__).parent / ".worlds"
NEVER = 1e6  # a done logit that no dream reaches

# name: (latent size, LSTM width, whether actions are continuous)
SIZES = {
    "lstm256-z32": (32, 256, False),
    "lstm512-z64": (64, 512, False),
    "lstm256-z32-box": (32, 256, True),
}


def bundle_of(name: str) -> Path:
    """Return the bundle of that name; write it if it does not exist."""
    path = FOLDER / name
    if not path.is_dir():
        latent, memory, box = SIZES[name]
        _write(path, latent, memory, box)
    return path


def _write(path: Path, latent: int, memory: int, box: bool) -> None:
    # imported here, as a script whose world is there need not wait seconds for torch
    import numpy as np
    import torch

    from dreamserve.manifest import DoneRule
    from dreamserve.observations import Crop, FrameSpec
    from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace
    from dreamserve_training.export import export_world, spec_of
    from dreamserve_training.models.mdnrnn import MDNRNN
    from dreamserve_training.models.vae import ConvVAE

    torch.manual_seed(0)
    space: ActionSpace = (
        BoxSpace(low=(-1.0,) * 3, high=(1.0,) * 3, names=("steer", "gas", "brake"))
        if box
        else DiscreteSpace(n=3, names=("stay", "right", "left"))
    )
    vae = ConvVAE(latent)
    mdnrnn = MDNRNN(
        latent,
        3,
        memory,
        head="joint",
        predict_done=True,
        predict_reward=True,
        discrete_actions=not box,
    )
    torch.nn.init.constant_(mdnrnn.done_head.bias, -5.0)  # ends are rare, as in trained worlds
    frame = FrameSpec(
        source_shape=(64, 64, 3), crop=Crop(top=0, bottom=64, left=0, right=64), shape=(64, 64, 3)
    )
    generator = np.random.default_rng(0)
    c = generator.standard_normal((64, memory)).astype(np.float32)
    bank = {
        "mu": generator.standard_normal((64, latent)).astype(np.float32),
        "logvar": np.full((64, latent), -2, np.float32),
        "state.h": 0.5 * np.tanh(c),
        "state.c": c,
    }
    export_world(
        path,
        spec=spec_of(path.name, space, frame, mdnrnn, done=DoneRule(threshold=NEVER)),
        vae=vae,
        memory=mdnrnn,
        bank=bank,
        origin={"environment": "none: untrained, for benchmarks"},
        quality={},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("worlds", nargs="*", default=list(SIZES), metavar="world")
    for world in parser.parse_args().worlds:
        print(bundle_of(world))
