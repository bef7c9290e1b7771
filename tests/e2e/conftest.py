"""The real command in a separate process, with real bundles."""

import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.export import export_world, spec_of
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.models.vae import ConvVAE

TAKECOVER = Path(__file__).parents[2] / "bundles" / "takecover"
COMMAND = str(Path(sys.executable).with_name("dreamserve"))
PATIENCE_S = 30.0  # for a busy machine; the tests themselves assert the times


@dataclass
class Served:
    """A running server."""

    process: "subprocess.Popen[str]"
    line: str  # its output on start
    url: str
    ready_s: float  # from the process's start to the first 200 from /readyz

    def stop(self, signal: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signal)
        return self.process.wait(PATIENCE_S)


Serve = Callable[..., AbstractContextManager[Served]]


@contextmanager
def _serve(bundle: Path, *options: str) -> Iterator[Served]:
    began_s = time.monotonic()
    command = [COMMAND, "serve", str(bundle), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "printed nothing"
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, f"exited with {process.wait(PATIENCE_S)}"
            url = line.rsplit(" ", 1)[-1]
            yield Served(process, line, url, _ready(url) - began_s)
        finally:
            process.kill()


def _ready(url: str) -> float:
    """Wait for the first 200 from /readyz; return its monotonic time."""
    until_s = time.monotonic() + PATIENCE_S
    with httpx.Client() as http:
        while http.get(f"{url}/readyz").status_code != 200:
            assert time.monotonic() < until_s, "never ready"
    return time.monotonic()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Return a context manager that serves a bundle with the real command on a free port."""
    return _serve


@pytest.fixture(scope="session")
def exported_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle of an untrained world, written by the exporter."""
    torch.manual_seed(0)
    latent, memory = 4, 8
    vae = ConvVAE(latent)
    mdnrnn = MDNRNN(latent, 3, memory, 2, "joint", predict_done=True, discrete_actions=True)
    mdnrnn.shift_done_logit(-3.0)  # its dreams go on
    frame = FrameSpec(
        source_shape=(80, 80, 3), crop=Crop(top=0, bottom=80, left=0, right=80), shape=(64, 64, 3)
    )
    space = DiscreteSpace(n=3, names=("stay", "left", "right"))
    generator = np.random.default_rng(0)
    bank = {
        "mu": generator.standard_normal((5, latent)).astype(np.float32),
        "logvar": np.full((5, latent), -3, np.float32),
        "state.h": np.zeros((5, memory), np.float32),
        "state.c": np.zeros((5, memory), np.float32),
    }
    return export_world(
        tmp_path_factory.mktemp("worlds") / "untrained",
        spec=spec_of("untrained", space, frame, mdnrnn, constant_reward=1.0),
        vae=vae,
        memory=mdnrnn,
        bank=bank,
        origin={"environment": "none"},
        quality={},
    )


@pytest.fixture(scope="session")
def takecover() -> Path:
    """Return the bundle that everybody plays first."""
    if not TAKECOVER.is_dir():
        pytest.skip("bundles/takecover is not there")
    return TAKECOVER


@pytest.fixture(scope="module", params=["exported_bundle", "takecover"])
def bundle(request: pytest.FixtureRequest) -> Path:
    """Return each real bundle in turn."""
    path: Path = request.getfixturevalue(request.param)
    return path
