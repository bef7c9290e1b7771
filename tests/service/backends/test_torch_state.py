"""StateStore on a torch device: its steps equal those on plain arrays."""

import numpy as np
import pytest
import torch

from dreamserve import noise
from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import KINDS, SPACES, FakeBackend, fake_spec
from dreamserve.backends.host_state import HostStateStore
from dreamserve.backends.torch import TorchBackend
from dreamserve.backends.torch_state import TorchStateStore, finite_rows
from dreamserve.errors import BackendError
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import ActionSpace

COUNT, SIZES_OF_ROWS = 20, (1, 4, 16)
on_cuda = pytest.mark.gpu


class PlainRows:
    """The simplest StateStore, on numpy arrays."""

    def __init__(self, spec: WorldSpec, backend: TorchBackend | FakeBackend) -> None:
        self.spec, self.backend = spec, backend
        self.latent = np.zeros((COUNT, spec.latent_size), np.float32)
        self.state = tuple(np.zeros((COUNT, *t.shape), np.float32) for t in spec.recurrent_state)

    def stage(self, slots, action, keys, temperature) -> StepOutput:
        numbers = noise.draw(keys, self.spec.noise.normal, self.spec.noise.uniform)
        state = tuple(part[slots] for part in self.state)
        return self.backend.step(StepInput(self.latent[slots], action, state, temperature, numbers))

    def commit(self, slots, output: StepOutput, good, latent) -> None:
        self.latent[slots[good]] = (output.latent if latent is None else latent)[good]
        for rows, new in zip(self.state, output.state, strict=True):
            rows[slots[good]] = new[good]


def step_inputs(rng: np.random.Generator, count: int, actions: int = 3) -> tuple[np.ndarray, ...]:
    return (
        rng.permutation(COUNT)[:count],
        rng.integers(0, actions, count),
        rng.integers(0, 2**64, count, np.uint64),
        rng.uniform(0, 2, count).astype(np.float32),
    )


def begin(rows: TorchStateStore, plain: PlainRows, rng: np.random.Generator) -> None:
    slots = np.arange(COUNT)
    plain.latent[:] = rng.standard_normal(plain.latent.shape)
    for part in plain.state:
        part[:] = rng.standard_normal(part.shape)
    rows.write(slots, plain.latent, plain.state)


def check_all(tiny, rows: TorchStateStore, plain: PlainRows) -> None:
    for slot in range(COUNT):
        latent, state = rows.read(np.array([slot]))
        for one, other in zip((latent, *state), (plain.latent, *plain.state), strict=True):
            tiny.same(one, other[slot : slot + 1])


def test_rows_step_like_plain_arrays(tiny, arrays_of) -> None:
    rng = np.random.default_rng(0)
    rows = tiny.device.state_store(tiny.spec, COUNT, SIZES_OF_ROWS)
    plain = PlainRows(tiny.spec, tiny.host)
    begin(rows, plain, rng)
    for count in (1, 3, 4, 7, 16, 2, 16):
        step = step_inputs(rng, count)
        staged, expected = rows.stage(*step), plain.stage(*step)
        check_all(tiny, rows, plain)  # nothing is written before the commit
        tiny.same(staged.latent, expected.latent)
        tiny.same(staged.reward, expected.reward)
        tiny.same(staged.done_logit, expected.done_logit)
        assert staged.finite.tolist() == [True] * count
        for one, other in zip(arrays_of(staged.output()), arrays_of(expected), strict=True):
            assert one.flags.c_contiguous
            tiny.same(one, other)
        good = rng.random(count) < 0.7
        latent = rng.standard_normal(expected.latent.shape).astype(np.float32)
        override = latent if count % 2 else None
        rows.commit(step[0], staged, good, override)
        plain.commit(step[0], expected, good, override)
        check_all(tiny, rows, plain)


def test_a_staged_step_does_not_change_when_another_is_staged(tiny, arrays_of) -> None:
    rng = np.random.default_rng(1)
    rows = tiny.device.state_store(tiny.spec, COUNT, SIZES_OF_ROWS)
    step = step_inputs(rng, 5)
    first = rows.stage(*step)
    before = [part.copy() for part in arrays_of(first.output())]
    rows.stage(*step_inputs(rng, 5))
    for one, other in zip(arrays_of(first.output()), before, strict=True):
        np.testing.assert_array_equal(one, other)
    rows.commit(step[0], first, np.ones(5, np.bool_), None)
    assert rows.read(step[0][3])[0].tobytes() == before[0][3:4].tobytes()


def test_a_store_commits_only_its_own_staged_step(tiny) -> None:
    rows = tiny.device.state_store(tiny.spec, COUNT, SIZES_OF_ROWS)
    plain = HostStateStore(tiny.spec, tiny.host, COUNT, SIZES_OF_ROWS)
    step = step_inputs(np.random.default_rng(2), 4)
    with pytest.raises(TypeError, match="was not staged by a TorchStateStore"):
        rows.commit(step[0], plain.stage(*step), np.ones(4, np.bool_), None)


def test_a_row_that_becomes_nan_keeps_its_state_and_affects_no_other(fake_device) -> None:
    rng = np.random.default_rng(3)
    rows = fake_device(nan_action=2).state_store(fake_spec(), COUNT, (1, 4, 16))
    slots = np.array([3, 5, 7])
    latent = rng.standard_normal((3, 4)).astype(np.float32)
    rows.write(slots, latent, (np.ones((3, 3), np.float32), np.ones(3, np.float32)))
    keys, hot = np.arange(3, dtype=np.uint64), np.ones(3, np.float32)
    for _ in range(3):
        staged = rows.stage(slots, np.array([0, 2, 1]), keys, hot)
        assert staged.finite.tolist() == [True, False, True]
        rows.commit(slots, staged, staged.finite, None)
    np.testing.assert_array_equal(rows.read(5)[0], latent[1:2])
    assert [float(rows.read(np.array([slot]))[1][1][0]) for slot in (3, 5, 7)] == [4.0, 1.0, 4.0]
    for slot in range(COUNT):
        assert np.isfinite(rows.read(np.array([slot]))[0]).all()
        if slot not in slots:
            assert not rows.read(np.array([slot]))[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_of_world_step_like_plain_arrays(fake_device, arrays_of, kind) -> None:
    spec, backend = fake_spec(**KINDS[kind]), fake_device(**KINDS[kind])
    rng, rows = np.random.default_rng(5), backend.state_store(spec, COUNT, SIZES_OF_ROWS)
    plain = PlainRows(spec, FakeBackend(spec))
    begin(rows, plain, rng)
    for count in (1, 7, 16):
        step = step_inputs(rng, count)
        staged, expected = rows.stage(*step), plain.stage(*step)
        for one, other in zip(arrays_of(staged.output()), arrays_of(expected), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(staged.signals, expected.signals, strict=True):
            np.testing.assert_array_equal(one, other)
        rows.commit(step[0], staged, staged.finite, None)
        plain.commit(step[0], expected, np.ones(count, np.bool_), None)
    for slot in range(COUNT):
        latent, state = rows.read(np.array([slot]))
        for one, other in zip((latent, *state), (plain.latent, *plain.state), strict=True):
            np.testing.assert_array_equal(one, other[slot : slot + 1])


@pytest.mark.parametrize("space", SPACES.values(), ids=list(SPACES))
def test_rows_take_actions_of_every_space(fake_device, space: ActionSpace) -> None:
    spec = fake_spec(space=space)
    rows = fake_device(space=space).state_store(spec, COUNT, (1, 4))
    action = space.uniform(np.random.default_rng(8).random((2, *space.shape), np.float32))
    slots, hot = np.array([0, 1]), np.zeros(2, np.float32)
    keys = np.zeros(2, np.uint64)
    staged = rows.stage(slots, action, keys, hot)
    numbers = noise.draw(keys, spec.noise.normal, spec.noise.uniform)
    state = (np.zeros((2, 3), np.float32), np.zeros(2, np.float32))
    expected = FakeBackend(spec).step(
        StepInput(np.zeros((2, 4), np.float32), action, state, hot, numbers)
    )
    np.testing.assert_array_equal(staged.latent, expected.latent)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_cuda)])
def test_a_row_is_finite_only_if_all_its_numbers_are(device: str, bad: float) -> None:
    huge = 3e38  # the largest finite numbers, whose sum must not count as infinite
    parts = [torch.full(shape, huge, device=device) for shape in ((9, 130), (9,), (9,), (9, 3, 5))]
    parts[0][1, 129] = bad
    parts[1][3] = bad
    parts[2][5] = bad
    parts[3][7, 2, 4] = bad
    assert finite_rows(*parts).tolist() == [i not in (1, 3, 5, 7) for i in range(9)]


def test_rows_that_do_not_fit_are_refused_with_numbers(tiny) -> None:
    with pytest.raises(BackendError, match=r"10000000000000 rows of 144 bytes .* do not fit"):
        tiny.device.state_store(tiny.spec, 10**13, (1, 4))
