"""What is measured before the first request, and what is derived from it."""

import pytest

from dreamserve.backends.base import Backend
from dreamserve.backends.fake import FakeBackend
from dreamserve.engine.fake import fake_world
from dreamserve.engine.scheduling import calibration
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec


class OnDevice(FakeBackend):
    """A fake backend that claims to keep its state on a device."""

    def state_store(self, *_: object) -> None: ...

    def returns(self, *_: object) -> None: ...


def costing(monkeypatch: pytest.MonkeyPatch, us_a_row: dict[str, float]) -> None:
    def step_s(spec: WorldSpec, backend: Backend, rows: int, rounds: int) -> float:
        return us_a_row[spec.name] * rows * 1e-6

    monkeypatch.setattr(calibration, "step_s", step_s)


SIZES = calibration.batch_sizes(256)


@pytest.mark.parametrize(("us_a_row", "fits"), [(5, 256), (20, 64), (100, 12), (5000, 1)])
def test_a_slice_has_the_size_that_fits_its_time(
    monkeypatch: pytest.MonkeyPatch, us_a_row: float, fits: int
) -> None:
    costing(monkeypatch, {"fake": us_a_row})
    found = calibration.calibrate(fake_world(), SIZES, slice_ms=1.5)
    assert (found.slice_rows, found.inline_rows) == (fits, fits)
    assert found.latency.took_s[256] == pytest.approx(256 * us_a_row * 1e-6)


def test_work_on_a_device_never_blocks_the_event_loop() -> None:
    spec = fake_world().spec
    world = World(spec, OnDevice(spec))
    found = calibration.calibrate(world, SIZES, slice_ms=1e6)
    assert (found.slice_rows, found.inline_rows) == (256, 0)


def test_every_batch_size_and_graph_is_warmed_up() -> None:
    calls: list[tuple[str, int]] = []

    class Noting(FakeBackend):
        def step(self, batch):
            calls.append(("step", len(batch.latent)))
            return super().step(batch)

        def encode(self, frames, state=()):
            calls.append(("encode", len(frames)))
            return super().encode(frames)

        def decode(self, latent):
            calls.append(("decode", len(latent)))
            return super().decode(latent)

    spec = fake_world().spec
    calibration.calibrate(World(spec, Noting(spec)), (1, 2, 3), slice_ms=1)
    assert {("step", 1), ("step", 2), ("step", 3), ("encode", 1), ("decode", 1)} == set(calls)
