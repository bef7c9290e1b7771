"""The extras of a sample: mixtures, entropies and deterministic trajectories."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve import noise
from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.engine.dynamics import advance, start_from_bank
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.imagination.trajectories import subseeds
from dreamserve.engine.limits import Limits
from dreamserve.engine.world import World
from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamEndedError,
    DreamNotFiniteError,
    InvalidRequestError,
    TooLargeError,
)
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sample import SampleRequest, SampleResult

Same = Callable[[Any, Any], bool]
EVERYTHING = ["frames", "mixture", "entropy", "most_likely", "components"]
HORIZON = 6


def actions_of(world: World, horizon: int = HORIZON) -> Any:
    generator = np.random.default_rng(1)
    space = world.spec.action_space
    return space.uniform(generator.random((horizon, *space.shape), np.float32))


def dream_of(world: World, temperature: float = 1.0, **options: Any) -> LocalClient:
    dream = LocalClient(world, **options)
    dream.reset(session_id="a", seed=4, start=Start(bank=2), temperature=temperature)
    return dream


def everything(dream: LocalClient, world: World, **fields: Any) -> SampleResult:
    arguments = {"futures": 5, "horizon": HORIZON, "actions": actions_of(world), **fields}
    return dream.sample(session_id="a", include=EVERYTHING, **arguments)


class Broken:
    """A backend whose mixture is not finite for action 2."""

    def __init__(self, world: World) -> None:
        self._backend = world.backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, batch: StepInput) -> StepOutput:
        output = self._backend.step(batch)
        log_sigma = output.head[2].copy()
        log_sigma[batch.action == 2] = np.nan
        return replace(output, head=(*output.head[:2], log_sigma))


class Recording:
    """A backend that records the noise it is given."""

    def __init__(self, world: World) -> None:
        self._backend, self.noise = world.backend, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, batch: StepInput) -> StepOutput:
        self.noise.append(batch.noise)
        return self._backend.step(batch)


def test_a_sample_without_include_has_no_extras() -> None:
    plain = dream_of(fake_world()).sample(session_id="a", futures=2, horizon=2)
    names = ("frames", "mixture", "entropy", "differential_entropy", "most_likely", "components")
    assert all(getattr(plain, name) is None for name in names)


def test_includes_change_no_trajectory(any_world: World, same: Same) -> None:
    dream = dream_of(any_world)
    arguments = {"futures": 5, "horizon": HORIZON, "actions": actions_of(any_world)}
    plain = dream.sample(session_id="a", **arguments)
    full = everything(dream, any_world)
    for name in ("latents", "rewards", "terminated"):
        assert same(getattr(plain, name), getattr(full, name))


@pytest.mark.parametrize("seed", [7, None])
def test_a_trajectory_is_the_dream_of_its_seed_in_the_sample_stream(
    any_world: World, seed: int | None
) -> None:
    dream, actions = dream_of(any_world), actions_of(any_world)
    sampled = dream.sample(session_id="a", futures=3, horizon=HORIZON, actions=actions, seed=seed)
    if seed is None:
        seed = int(noise.keys(np.full(1, 4, np.uint64), np.zeros(1, np.int64), noise.SAMPLE)[0])
    latent, state = start_from_bank(any_world, np.full(3, 4, np.uint64), np.full(3, 2))
    seeds, temperature = subseeds(seed, 3, noise.SAMPLE), np.ones(3, np.float32)
    for t in range(HORIZON):
        action, step = actions[t : t + 1].repeat(3, axis=0), np.full(3, t + 1)
        new = advance(any_world, latent, state, action, seeds, step, temperature, noise.SAMPLE)
        latent, state = new.latent, new.state
        np.testing.assert_array_equal(sampled.latents[:, t], latent)
        if new.terminated.any():
            break


def test_mixtures_have_the_heads_shapes_and_weights_that_sum_to_one(any_world: World) -> None:
    spec = any_world.spec
    found = everything(dream_of(any_world), any_world)
    k, z = spec.head.components, spec.latent_size
    per_dimension = spec.head.form == "per_dimension"
    assert found.mixture["weights"].shape == (5, HORIZON, *((k, z) if per_dimension else (k,)))
    assert found.mixture["mu"].shape == found.mixture["sigma"].shape == (5, HORIZON, k, z)
    begins = np.concatenate([np.zeros((5, 1), bool), found.terminated[:, :-1]], axis=1)
    sums = found.mixture["weights"].sum(axis=2)[~begins]
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    assert (found.entropy[~begins] >= 0).all()
    assert (found.entropy <= np.log(k) * (1 + 1e-6)).all()
    assert np.isfinite(found.differential_entropy).all()


def test_the_first_steps_mixture_is_that_of_a_step(any_world: World) -> None:
    dream = dream_of(any_world)
    found = everything(dream, any_world)
    action = actions_of(any_world)[0]
    step = dream.step(session_id="a", action=action, include=["mixture"])
    for name, part in step.mixture.items():
        for future in range(5):
            np.testing.assert_allclose(found.mixture[name][future, 0], part, rtol=1e-5, atol=1e-6)


def test_trajectories_that_have_ended_have_zero_mixtures_and_entropies() -> None:
    start = Start(latent=np.array([0.93, 0.1, 0, 0]))
    found = LocalClient(fake_world()).sample(
        start=start, futures=50, horizon=8, seed=2, include=EVERYTHING
    )
    before = np.concatenate([np.zeros((50, 1), bool), found.terminated[:, :-1]], axis=1)
    assert before.any()
    assert not before.all(axis=0).any()
    for part in (*found.mixture.values(), found.entropy, found.differential_entropy):
        assert not part[before].any()
    assert found.mixture["weights"][~before].any(axis=1).all()
    assert (found.differential_entropy[~before] != 0).all()


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_the_most_likely_future_is_a_dream_at_temperature_0_step_for_step(
    any_world: World, temperature: float
) -> None:
    likely = everything(dream_of(any_world, temperature), any_world).most_likely
    dream = dream_of(any_world, temperature=0)
    ended = False
    for t, action in enumerate(actions_of(any_world)):
        if not ended:
            step = dream.step(session_id="a", action=action, include=["frame"])
            np.testing.assert_array_equal(likely.latents[t], step.latent)
            np.testing.assert_array_equal(likely.frames[t], step.frame)
            assert likely.rewards[t] == np.float32(step.reward)
        else:
            np.testing.assert_array_equal(likely.latents[t], likely.latents[t - 1])
            assert likely.rewards[t] == 0
        ended = ended or step.terminated
        assert likely.terminated[t] == ended


def test_the_most_likely_trajectory_uses_zero_noise_and_the_smallest_uniforms() -> None:
    world = fake_world()
    world.backend = Recording(world)
    dream, arguments = dream_of(world), {"futures": 1, "horizon": 3, "actions": np.array([1, 0, 1])}
    dream.sample(session_id="a", **arguments, include=["most_likely"])
    normals, uniforms = np.split(np.array(world.backend.noise[-3:]), [world.spec.noise.normal], -1)
    assert not normals.any()
    assert uniforms.size
    assert (uniforms == 2.0**-25).all()  # of components of one weight, the first


def test_components_start_at_the_mixtures_means_by_decreasing_weight(any_world: World) -> None:
    dream = dream_of(any_world)
    found = everything(dream, any_world)
    parts, weights, mu = found.components, found.mixture["weights"], found.mixture["mu"]
    assert (np.diff(parts.weights, axis=0) <= 0).all()
    np.testing.assert_allclose(parts.weights.sum(axis=0), 1, rtol=1e-5)
    ranked = np.take_along_axis(weights[0, 0], parts.order, axis=0)
    np.testing.assert_allclose(parts.weights, ranked, rtol=1e-5)
    order = np.broadcast_to(parts.order.reshape(len(parts.order), -1), mu.shape[2:])
    means = np.take_along_axis(mu[0, 0], order, axis=0)
    np.testing.assert_allclose(parts.latents[:, 0], means, rtol=1e-5, atol=1e-6)
    assert parts.order.dtype == np.int64


def test_the_first_component_is_the_most_likely_future(any_world: World, same: Same) -> None:
    found = everything(dream_of(any_world), any_world)
    for name in ("latents", "rewards", "terminated", "frames"):
        assert same(getattr(found.components, name)[0], getattr(found.most_likely, name))


def test_components_continue_without_noise_with_the_rewards_of_their_first_step() -> None:
    world = fake_world()
    actions = np.array([2, 2, 1, 0])
    dream = LocalClient(world)
    dream.reset(session_id="a", seed=4, start=Start(latent=np.array([0.3, -0.4, 0.1, 0])))
    parts = everything(dream, world, actions=actions, horizon=4).components
    assert parts.order.tolist() == [0, 1]
    for k in range(2):
        latent = parts.latents[k, 0]
        assert parts.rewards[k, 0] == pytest.approx(1 - (latent[0] - 0.6) ** 2, rel=1e-6)
        goes_on = LocalClient(world)
        goes_on.reset(session_id="b", start=Start(latent=latent), temperature=0)
        for t in range(1, 4):
            step = goes_on.step(session_id="b", action=int(actions[t]))
            # The memory of one that begins here is empty: it moves the last dimension alone.
            np.testing.assert_allclose(parts.latents[k, t, :3], step.latent[:3], rtol=1e-5)
            assert parts.rewards[k, t] == pytest.approx(step.reward, rel=1e-5)


def test_a_component_that_ends_the_dream_ends_alone() -> None:
    start = Start(latent=np.array([0.83, -0.5, 0, 0]))
    found = LocalClient(fake_world()).sample(
        start=start, futures=1, horizon=3, actions=np.array([2, 0, 0]), include=EVERYTHING
    )
    parts = found.components
    assert parts.terminated[:, 0].tolist() == [False, True]
    assert not parts.rewards[1, 1:].any()
    assert (parts.latents[1] == parts.latents[1, 0]).all()
    assert parts.rewards[0].all()


def test_without_given_actions_deterministic_trajectories_use_those_of_the_first() -> None:
    cold = dream_of(fake_world(), temperature=0).sample(
        session_id="a", futures=3, horizon=HORIZON, include=EVERYTHING
    )
    np.testing.assert_array_equal(cold.latents[0], cold.most_likely.latents)
    assert not np.array_equal(cold.latents[1], cold.most_likely.latents)


def test_deterministic_trajectories_do_not_depend_on_seed_or_temperature(
    any_world: World, same: Same
) -> None:
    dream = dream_of(any_world)
    one = everything(dream, any_world, seed=1)
    other = everything(dream, any_world, seed=2, temperature=0.3, futures=1)
    assert same(one.most_likely, other.most_likely)
    assert same(one.components, other.components)


@pytest.mark.parametrize("slice_rows", [1, 3])
def test_slices_of_any_size_give_the_same_extras(
    any_world: World, same: Same, slice_rows: int
) -> None:
    whole = everything(dream_of(any_world), any_world)
    assert same(everything(dream_of(any_world, slice_rows=slice_rows), any_world), whole)


def test_other_requests_in_the_batch_change_no_bit(any_world: World, same: Same) -> None:
    def request(name: str) -> SampleRequest:
        return SampleRequest(
            name,
            futures=3,
            horizon=HORIZON,
            actions=actions_of(any_world),
            include=EVERYTHING,
            seed=ord(name),
        )

    def sampled(names: str) -> list[Any]:
        engine = Engine([any_world])
        for name in "abcdefg":
            engine.submit(ResetRequest(session_id=name, seed=ord(name)))
            engine.turn()
        futures = [engine.submit(request(name)) for name in names]
        while not engine.idle:
            engine.turn()
        return [future.exception(0) or future.result(0) for future in futures]

    together = sampled("abcdefg")
    for name in "ad":
        assert same(sampled(name)[0], together["abcdefg".index(name)])


def test_an_ended_session_has_no_most_likely_trajectory() -> None:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", start=Start(latent=np.array([2, 0, 0, 0])))
    dream.step(session_id="a", action=1)
    with pytest.raises(DreamEndedError, match="the dream ended at step"):
        dream.sample(session_id="a", futures=1, horizon=1, include=["most_likely"])


@pytest.mark.parametrize("part", ["mixture", "entropy"])
def test_a_non_finite_mixture_is_named_if_requested(part: Any) -> None:
    world = fake_world()
    world.backend = Broken(world)
    arguments = {"session_id": "a", "futures": 3, "horizon": 2, "actions": np.array([1, 2])}
    assert dream_of(world).sample(**arguments).latents.shape == (3, 2, 4)
    with pytest.raises(DreamNotFiniteError, match=r"future 0's mixture is NaN .* at its step 2"):
        dream_of(world).sample(**arguments, include=[part])


@pytest.mark.parametrize(
    ("part", "message"), [("most_likely", "most likely future 0"), ("components", "component 0")]
)
def test_a_deterministic_trajectory_that_becomes_non_finite_is_named(
    part: Any, message: str
) -> None:
    dream = dream_of(fake_world(nan_action=0))
    arguments = {"session_id": "a", "futures": 1, "horizon": 3, "include": [part]}
    dream.engine.worlds["fake"].backend._nan_action = None
    dream.sample(**arguments, actions=np.array([1, 1, 0]))
    dream.engine.worlds["fake"].backend = _NanWithoutNoise(dream.engine.worlds["fake"])
    with pytest.raises(DreamNotFiniteError, match=f"{message} is NaN or infinity at its step 3"):
        dream.sample(**arguments, actions=np.array([1, 1, 0]))


class _NanWithoutNoise(Broken):
    """A backend that gives NaN at temperature 0 for action 0."""

    def step(self, batch: StepInput) -> StepOutput:
        output = self._backend.step(batch)
        latent = output.latent.copy()
        latent[(batch.action == 0) & (batch.temperature == 0)] = np.nan
        return replace(output, latent=latent)


@pytest.mark.parametrize("part", ["state", "frame", "spread"])
def test_what_a_sample_cannot_include_is_refused(part: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"include.0: Input should be 'frames', 'vec"):
        dream_of(fake_world()).sample(
            session_id="a", futures=1, horizon=1, include=[part, "entropy"]
        )


SIZES: list[tuple[set[str], dict[str, float], str | None]] = [
    ({"components"}, {"dreamt_steps": 50}, None),
    (
        {"components"},
        {"dreamt_steps": 49},
        "futures 5 x horizon 10 is 50 dreamt steps, the limit is 49",
    ),
    ({"most_likely", "components"}, {"dreamt_steps": 60}, None),
    (
        {"most_likely", "components"},
        {"dreamt_steps": 59},
        "futures 6 x horizon 10 is 60 dreamt steps, the limit is 59",
    ),
    ({"frames", "most_likely"}, {"frames": 40}, None),
    ({"frames", "most_likely"}, {"frames": 39}, "40 frames, the limit is 39"),
    ({"most_likely"}, {"frames": 0}, None),
    ({"mixture"}, {"mixture_bytes": 3 * 10 * 72}, None),
    (
        {"mixture"},
        {"mixture_bytes": 2159},
        "3 futures x horizon 10 are 2160 bytes of mixtures, the limit is 2159",
    ),
    ({"entropy"}, {"mixture_bytes": 1}, None),
]


@pytest.mark.parametrize(("include", "bounds", "message"), SIZES)
def test_the_size_of_what_is_included_is_bounded_with_the_numbers(
    include: set[Any], bounds: dict[str, float], message: str | None
) -> None:
    dream = dream_of(fake_world(), limits=Limits(**bounds))
    arguments = {"session_id": "a", "futures": 3, "horizon": 10, "include": sorted(include)}
    if message is None:
        dream.sample(**arguments)
        return
    with pytest.raises(TooLargeError, match=message):
        dream.sample(**arguments)
