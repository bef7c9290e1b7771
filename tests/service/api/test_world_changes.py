"""Administrators load and retire worlds while the server runs; sessions stay where they are."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.api.access.keys import entry_for
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions import table
from dreamserve.errors import BackendError
from dreamserve.local import LocalClient
from dreamserve_client import DreamClient
from dreamserve_protocol.errors import (
    ForbiddenError,
    InvalidRequestError,
    WorldNotFoundError,
)

TAKECOVER = Path(__file__).parents[3] / "bundles" / "takecover"
ROOT, ANN = "root-key", "ann-key"
WAIT_S, MOST_STEPS = 30.0, 5000


@pytest.fixture
def url(tmp_path: Path, listening: Any) -> Iterator[str]:
    """Return the address of a server that may load worlds from a folder."""
    folder = tmp_path / "worlds"
    shutil.copytree(TAKECOVER, folder / "takecover")
    (folder / "broken").mkdir()
    keys = folder / "keys.toml"
    keys.write_text(entry_for("root", ROOT, admin=True) + entry_for("ann", ANN))
    settings = {"worlds_folder": str(folder), "api_keys_file": str(keys)}
    with listening(fake_world(), **settings) as served:
        yield served.url


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_an_administrator_loads_a_world_and_retires_it(url: str, transport: Any) -> None:
    with (
        DreamClient(url, transport=transport, api_key=ROOT) as root,
        DreamClient(url, transport=transport, api_key=ANN) as ann,
    ):
        loaded = root.admin_load(folder="takecover")
        assert (loaded.name, loaded.latent_size) == ("takecover", 64)
        first = ann.reset(world="takecover", seed=1)
        again = root.admin_load(folder="takecover")
        assert again.version == loaded.version
        assert [world.name for world in ann.worlds()] == ["fake", "takecover"]
        assert ann.step(first.session_id, 1).step == 1
        root.admin_unload("takecover")
        with pytest.raises(WorldNotFoundError, match="loaded: fake"):
            ann.reset(world="takecover")
        assert ann.step(first.session_id, 1).step == 2
        ann.delete(first.session_id)


def test_no_step_fails_while_its_world_is_loaded_and_retired_under_load(url: str) -> None:
    began, over, local = threading.Barrier(3), threading.Event(), LocalClient(TAKECOVER)

    def dream(seed: int) -> None:
        with DreamClient(url, api_key=ANN, max_retries=0) as ann:
            session_id = ann.reset(world="takecover", seed=seed, temperature=0.0).session_id
            expected = local.reset(seed=seed, temperature=0.0).session_id
            began.wait(WAIT_S)
            for step in range(1, MOST_STEPS):
                result = ann.step(session_id, 1, step=step)
                assert np.array_equal(result.latent, local.step(expected, 1).latent)
                if result.terminated or over.is_set():
                    break
            ann.delete(session_id)

    with DreamClient(url, api_key=ROOT) as root, ThreadPoolExecutor(2) as pool:
        root.admin_load(folder="takecover")
        dreams = [pool.submit(dream, seed) for seed in (1, 2)]
        began.wait(WAIT_S)
        for _ in range(2):
            root.admin_load(folder="takecover")
            root.admin_unload("takecover")
        over.set()
        for one in dreams:
            one.result(WAIT_S)


def test_only_an_administrator_may_and_only_from_the_folder(url: str) -> None:
    with DreamClient(url, api_key=ANN) as ann, DreamClient(url, api_key=ROOT) as root:
        with pytest.raises(ForbiddenError):
            ann.admin_load(folder="takecover")
        with pytest.raises(ForbiddenError):
            ann.admin_unload("fake")
        for folder in ("..", "a/b", "/etc", ""):
            with pytest.raises(InvalidRequestError):
                root.admin_load(folder=folder)
        with pytest.raises(InvalidRequestError, match="broken"):
            root.admin_load(folder="broken")
        with pytest.raises(InvalidRequestError, match="the only world"):
            root.admin_unload("fake")
        assert ann.reset(world="fake").step == 0


def test_a_server_without_a_folder_loads_none(listening: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(entry_for("root", ROOT, admin=True))
    with (
        listening(fake_world(), api_keys_file=str(keys)) as served,
        DreamClient(served.url, api_key=ROOT) as root,
        pytest.raises(InvalidRequestError, match="DREAMSERVE_WORLDS_FOLDER is not set"),
    ):
        root.admin_load(folder="takecover")


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 8 TiB"), BackendError("8 TiB")])
def test_a_world_whose_sessions_do_not_fit_is_refused_and_changes_nothing(
    url: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: object) -> None:
        raise error

    with DreamClient(url, api_key=ROOT, max_retries=0) as root:
        with monkeypatch.context() as patched:
            patched.setattr(table, "Slab", make)
            with pytest.raises(InvalidRequestError, match="8 TiB"):
                root.admin_load(folder="takecover")
        assert [world.name for world in root.worlds()] == ["fake"]
        assert root.admin_load(folder="takecover").name == "takecover"
        root.admin_unload("takecover")


def test_the_version_that_is_served_is_loaded_once(url: str) -> None:
    with DreamClient(url, api_key=ROOT) as root:
        loaded = root.admin_load(folder="takecover")
        with root.dreams(2, world="takecover", seeds=[1, 2]) as dreams:
            assert root.admin_load(folder="takecover") == loaded
            dreams.reset(rows=[0])
            assert dreams.step([1, 1]).steps.tolist() == [1, 1]
        root.admin_unload("takecover")
