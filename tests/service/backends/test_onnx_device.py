"""onnxruntime with the dreams on its device. A CPU is a device too, so all of it is tested."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from dreamserve import noise
from dreamserve.backends.base import KeepsRows
from dreamserve.backends.onnx import OnnxBackend, open_session
from dreamserve.backends.onnx_graphs import gather_graph, lost_graph, scatter_graph
from dreamserve.backends.onnx_rows import DeviceGraph, OnnxDeviceBackend
from dreamserve.backends.rows import HostRows
from dreamserve.bundle import load_bundle
from dreamserve.engine.imagination.trajectories import RolloutStart
from dreamserve.engine.world import World

COUNT, SIZES = 20, (1, 4, 16)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = [(4,), (), (2, 300), (3,)]


def same(device: str, one: np.ndarray, other: np.ndarray) -> None:
    if device == "cpu":
        np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("graph", [gather_graph, scatter_graph, lost_graph])
def test_the_bytes_are_a_graph_to_those_who_define_them(graph) -> None:
    model = onnx.load_from_string(graph(SHAPES))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 12


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_is_lost_by_any_number_that_is_not_finite(device: str, bad: float) -> None:
    parts = [np.full((9, *shape), 3e38, np.float32) for shape in SHAPES]
    parts[0][1, 3] = parts[1][3] = parts[2][5, 1, 299] = parts[3][7, 0] = bad
    look = DeviceGraph(open_session(lost_graph(SHAPES), 1, device), device)
    (lost,) = look.run({f"row_{i}": part for i, part in enumerate(parts)})
    assert (lost.numpy() != 0).tolist() == [i in (1, 3, 5, 7) for i in range(9)]


@pytest.mark.parametrize("device", DEVICES)
def test_rows_step_as_the_hosts_do(tiny_bundle: Path, device: str) -> None:
    bundle = load_bundle(tiny_bundle)
    spec, rng = bundle.manifest, np.random.default_rng(0)
    backend = OnnxDeviceBackend.from_bundle(bundle, device=device)
    host = OnnxBackend.from_bundle(bundle)
    assert isinstance(backend, KeepsRows)
    assert not isinstance(host, KeepsRows)
    rows, plain = backend.rows(spec, COUNT, SIZES), HostRows(spec, host, COUNT, SIZES)
    latent = rng.standard_normal((COUNT, spec.latent_size)).astype(np.float32)
    state = tuple(
        rng.standard_normal((COUNT, *t.shape)).astype(np.float32) for t in spec.recurrent_state
    )
    for these in (rows, plain):
        these.write(np.arange(COUNT), latent, state)
    for count in (1, 3, 4, 7, 16, 2, 16):
        slots, action = rng.permutation(COUNT)[:count], rng.integers(0, 3, count)
        keys = rng.integers(0, 2**64, count, np.uint64)
        hot = rng.uniform(0, 2, count).astype(np.float32)
        one, other = (these.stage(slots, action, keys, hot) for these in (rows, plain))
        same(device, one.latent, other.latent)
        same(device, one.reward, other.reward)
        assert one.finite.tolist() == other.finite.tolist() == [True] * count
        same(device, one.output().mixture_mu, other.output().mixture_mu[:count])
        good = rng.random(count) < 0.7
        new = rng.standard_normal(one.latent.shape).astype(np.float32) if count % 2 else None
        for these, staged in ((rows, one), (plain, other)):
            these.commit(slots, staged, good, new)
        for slot in range(COUNT):
            pair = rows.read(slot), plain.read(slot)
            same(device, pair[0][0], pair[1][0])
            for mine, its in zip(pair[0][1], pair[1][1], strict=True):
                same(device, mine, its)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shared", [True, False])
def test_returns_are_the_sum_over_the_steps(
    tiny_bundle: Path, device: str, shared: bool, outcomes
) -> None:
    bundle = load_bundle(tiny_bundle)
    done = bundle.manifest.done.model_copy(update={"threshold": -1.05})
    spec = bundle.manifest.model_copy(update={"done": done})
    world = World(spec, OnnxBackend.from_bundle(bundle), bundle.bank)
    state = tuple(bundle.bank[f"state.{t.name}"][:1] for t in spec.recurrent_state)
    present = RolloutStart(world, bundle.bank["mu"][:1], state, step=3, temperature=1.0)
    count, horizon = 50, 12
    actions = np.random.default_rng(1).integers(0, 3, (count, horizon))
    seeds = np.arange(1 if shared else count, dtype=np.uint64)
    expected, ended = np.zeros(count), []
    for t, outcome in enumerate(outcomes(present, actions, seeds)):
        expected += 0.9**t * outcome.reward.astype(np.float64)
        ended.append(outcome.ended.mean())
    assert ended[-1] > 0
    steps = [np.full(len(seeds), present.step + 1 + t) for t in range(horizon)]
    keys = np.stack([noise.keys(seeds, step, noise.PLAN) for step in steps], axis=1)
    values = OnnxDeviceBackend.from_bundle(bundle, device=device).returns(
        spec, present.latent, state, actions, keys, 1.0, 0.9
    )
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
