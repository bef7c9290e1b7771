"""What holds for one world holds for every kind: of observation, head, end, with parts or without.

Identity in every batch, replay, forks, snapshots, plans, samples and rollouts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import KINDS
from dreamserve.engine.fake import fake_world
from dreamserve.engine.handlers.worlds import described
from dreamserve.engine.world import World
from dreamserve.heads import Categorical
from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.plan import Objective
from dreamserve_protocol.step import StepResult

ROWS, STEPS = 9, 12
TOGETHER = {**KINDS["categorical"], **KINDS["vector"], **KINDS["drawn ends"], **KINDS["signals"]}
ALL_KINDS = {**KINDS, "many at once": {**TOGETHER, **KINDS["encode with memory"]}}


@pytest.fixture(params=ALL_KINDS)
def world(request: pytest.FixtureRequest) -> World:
    """Return a world of each kind in turn."""
    return fake_world(**ALL_KINDS[request.param])


def shown_of(world: World) -> list[Any]:
    """Return everything that a step of the world may include."""
    decoded = [world.spec.observation.field] * world.spec.has_decode
    return [*decoded, "mixture", "state", "signals"]


def seen_by(world: World, count: int, seed: int = 0) -> np.ndarray:
    """Return observations (F, …) as clients send them."""
    rng, spec = np.random.default_rng(seed), world.spec.observation
    if spec.kind == "frame":
        return rng.integers(0, 256, (count, *spec.shape)).astype(np.uint8)
    return rng.uniform(-1, 1, (count, *spec.shape)).astype(np.float32)


def observed(world: World, one: np.ndarray) -> dict[str, Any]:
    """Return the fields of a step that observes this."""
    return {"observation" if one.dtype == np.uint8 else "vector": one}


def dreams(world: World, seeds: list[int], steps: int = STEPS, **fields: Any) -> list[Any]:
    """Return the results of dreams that take the same actions, until they end."""
    found, rng = [], np.random.default_rng(3)
    actions = rng.integers(0, 3, steps).tolist()
    for seed in seeds:
        client = LocalClient(world)
        client.reset(session_id="a", seed=seed, temperature=0.8)
        taken: list[StepResult] = []
        for action in actions:
            if taken and taken[-1].terminated:
                break
            taken.append(client.step(session_id="a", action=action, **fields))
        found.append(taken)
    return found


def test_a_dream_is_the_same_to_the_bit_alone_and_in_a_batch(
    world: World, same: Callable[[Any, Any], bool]
) -> None:
    alone = dreams(world, list(range(ROWS)), include=["state"])
    client, ids = LocalClient(world), [f"s{i}" for i in range(ROWS)]
    client.reset_batch(session_ids=ids, seeds=list(range(ROWS)), temperatures=[0.8] * ROWS)
    actions = np.random.default_rng(3).integers(0, 3, STEPS)
    for t, action in enumerate(actions.tolist()):
        rows = [i for i in range(ROWS) if len(alone[i]) > t]
        if not rows:
            break
        part = client.step_batch(
            session_ids=[ids[i] for i in rows], actions=[action] * len(rows), include=["state"]
        )
        for k, i in enumerate(rows):
            expected = alone[i][t]
            np.testing.assert_array_equal(part.latents[k], expected.latent)
            assert part.rewards[k] == np.float32(expected.reward)
            assert part.terminated[k] == expected.terminated
            for name, state in part.state.items():
                np.testing.assert_array_equal(state[k], expected.state[name])


def test_a_fork_a_rewind_and_a_snapshot_continue_the_same_dream(
    world: World, same: Callable[[Any, Any], bool]
) -> None:
    client, include = LocalClient(world), shown_of(world)
    start = {f"{world.spec.observation.field}s": seen_by(world, 3), "actions": [1, 1]}
    client.reset(session_id="a", seed=5, start=Start(**start), rewind_window=4)
    seen = observed(world, seen_by(world, 1)[0])
    first = client.step(session_id="a", action=1, include=include, **seen)
    client.fork(session_id="a", session_ids=["b"], include=["state"])
    snapshot = client.snapshot(session_id="a")
    client.restore(session_id="c", snapshot=snapshot)
    again = client.step(session_id="c", action=1, step=1, include=include, **seen)
    again.session_id = "a"
    assert same(again, first)  # the stored answer
    results = [client.step(session_id=name, action=1, include=include) for name in "abc"]
    client.rewind(session_id="a", steps=1)
    results.append(client.step(session_id="a", action=1, include=include))
    for result in results[1:]:
        result.session_id = "a"
        assert same(result, results[0])


def test_an_observation_replaces_the_latent_and_is_told_how_unlikely_it_was(world: World) -> None:
    client = LocalClient(world)
    client.reset(session_id="a", seed=1)
    seen = seen_by(world, 1, seed=4)
    result = client.step(session_id="a", action=1, include=["state"], **observed(world, seen[0]))
    state: Any = ()
    if world.spec.encode_memory:
        state = tuple(result.state[t.name][None] for t in world.spec.recurrent_state)
    numbers = seen.astype(np.float32) / 255 if seen.dtype == np.uint8 else seen
    expected = world.spec.head.mode(world.backend.encode(numbers, state))
    np.testing.assert_array_equal(result.latent, expected[0])
    assert np.isfinite(result.info["surprise"])
    assert not result.terminated


def test_a_start_of_observations_draws_from_the_posterior_of_the_last(world: World) -> None:
    client, field = LocalClient(world), world.spec.observation.field
    start = Start(**{f"{field}s": seen_by(world, 4), "actions": [0, 1, 2]})
    first = client.reset(session_id="a", seed=7, start=start)
    again = client.reset(session_id="a", seed=7, start=start)
    np.testing.assert_array_equal(first.latent, again.latent)
    if isinstance(world.spec.head, Categorical):
        groups = first.latent.reshape(world.spec.head.groups, -1)
        assert (groups.sum(axis=1) == 1).all()
    others = [client.reset(session_id="a", seed=s, start=start).latent for s in range(8, 30)]
    differs = any((other != first.latent).any() for other in others)
    assert differs == (world.spec.head.kind != "deterministic")


def test_a_plan_to_an_observation_is_the_plan_to_its_latent(
    world: World, same: Callable[[Any, Any], bool]
) -> None:
    client = LocalClient(world)
    client.reset(session_id="a", seed=3)
    before = client.step(session_id="a", action=1, include=["state"])
    seen = seen_by(world, 1, seed=6)
    state: Any = ()
    if world.spec.encode_memory:
        state = tuple(before.state[t.name][None] for t in world.spec.recurrent_state)
    numbers = seen.astype(np.float32) / 255 if seen.dtype == np.uint8 else seen
    latent = world.spec.head.mode(world.backend.encode(numbers, state))[0]
    field = "target" if world.spec.observation.field == "frame" else "target_vector"
    goals = [Objective(**{field: seen[0]}), Objective(target=latent)]
    found = [
        client.plan(session_id="a", horizon=4, candidates=16, objective=goal, warm_start=False)
        for goal in goals
    ]
    assert found[0].value != 0
    assert same(*(replace(plan, elapsed_ms=0.0) for plan in found))


def test_a_plan_to_an_observation_of_the_other_kind_or_size_is_refused(world: World) -> None:
    client = LocalClient(world)
    client.reset(session_id="a", seed=3)
    other = {"target_vector": np.zeros(2)}
    says = "objective.target_vector: fake sees frames, not vectors"
    if world.spec.observation.field == "vector":
        other, says = {"target": np.zeros((4, 4, 3), np.uint8)}, "fake sees vectors, not frames"
    with pytest.raises(InvalidRequestError, match=says):
        client.plan(session_id="a", horizon=2, objective=Objective(**other))
    short = seen_by(world, 1)[0][:-1]
    field = "target" if world.spec.observation.field == "frame" else "target_vector"
    with pytest.raises(InvalidRequestError, match=f"objective.{field}"):
        client.plan(session_id="a", horizon=2, objective=Objective(**{field: short}))


@pytest.mark.parametrize("planner", ["cem", "random_shooting"])
def test_a_plan_has_the_value_of_its_actions_and_stays_in_the_space(
    world: World, planner: Any
) -> None:
    client = LocalClient(world)
    client.reset(session_id="a", seed=3)
    found = client.plan(session_id="a", planner=planner, candidates=16, horizon=6)
    assert ((found.actions >= 0) & (found.actions < 3)).all()
    again = client.plan(session_id="a", planner=planner, candidates=16, horizon=6)
    assert (again.value, again.actions.tolist()) == (found.value, found.actions.tolist())


def test_samples_hold_what_the_head_predicts_and_end_for_ever(world: World) -> None:
    client, spec = LocalClient(world), world.spec
    client.reset(session_id="a", seed=2)
    decoded = [f"{spec.observation.field}s"] * spec.has_decode
    include: Any = [*decoded, "mixture", "entropy", "most_likely", "components", "signals"]
    found = client.sample(session_id="a", futures=5, horizon=8, include=include)
    for name, shape in spec.mixture_shapes().items():
        assert found.mixture[name].shape == (5, 8, *shape)
    ended = np.zeros(5, bool)
    for t in range(8):
        assert (found.terminated[:, t] | ~ended).all()
        assert not found.rewards[ended, t].any()
        ended = found.terminated[:, t]
    assert (found.differential_entropy is not None) == spec.head.has_density
    assert found.components.latents.shape == (spec.head.choices, 8, spec.latent_size)
    assert found.components.weights[0].min() >= found.components.weights[-1].max() - 1e-6
    first = found.components.latents[:, 0]
    assert len(np.unique(first, axis=0)) == spec.head.choices
    assert set(found.signals) == {signal.name for signal in spec.signals}
    if decoded:
        shown = getattr(found, decoded[0])
        assert shown.shape == (5, 8, *spec.observation.shape)
        assert shown.dtype == spec.observation.dtype


def test_an_episode_of_a_rollout_is_the_dream_of_its_seed(world: World) -> None:
    client = LocalClient(world)
    policy: Any = "bundled" if world.spec.has_policy else {"kind": "constant", "action": 2}
    found = client.rollout(policy=policy, max_steps=10, seeds=[4, 5], include=["trajectories"])
    for row, seed in enumerate((4, 5)):
        client.reset(session_id="a", seed=seed)
        for t in range(int(found.lengths[0, row])):
            action = int(found.actions[0, row, t])
            result = client.step(session_id="a", action=action)
            np.testing.assert_array_equal(result.latent, found.latents[0, row, t + 1])
        assert result.terminated == found.terminated[0, row]


def test_a_world_without_a_decoder_says_that_it_shows_none() -> None:
    world = fake_world(**KINDS["without decode"])
    client = LocalClient(world)
    client.reset(session_id="a", seed=1)
    calls: list[Callable[[], Any]] = [
        lambda: client.reset(session_id="b", include=["frame"]),
        lambda: client.reset_batch(count=2, include=["frame"]),
        lambda: client.step(session_id="a", action=1, include=["frame"]),
        lambda: client.step_batch(session_ids=["a"], actions=[1], include=["frame"]),
        lambda: client.sample(session_id="a", futures=1, horizon=1, include=["frames"]),
        lambda: client.fork(session_id="a", session_ids=["b"], include=["frame"]),
        lambda: client.rewind(session_id="a", steps=0, include=["frame"]),
    ]
    for call in calls:
        with pytest.raises(InvalidRequestError, match="fake has no decoder, so it shows no frame"):
            call()
    assert described(world).frame_shape is None


def test_frames_and_vectors_are_not_taken_for_each_other() -> None:
    frames, vectors = LocalClient(fake_world()), LocalClient(fake_world(**KINDS["vector"]))
    for client in (frames, vectors):
        client.reset(session_id="a", seed=1)
    with pytest.raises(InvalidRequestError, match="fake shows vectors, so it has no frame"):
        vectors.step(session_id="a", action=1, include=["frame"])
    with pytest.raises(InvalidRequestError, match="fake shows frames, so it has no vector"):
        frames.step(session_id="a", action=1, include=["vector"])
    with pytest.raises(InvalidRequestError, match="vector: fake sees frames, not vectors"):
        frames.step(session_id="a", action=1, vector=[0.0] * 4)
    with pytest.raises(InvalidRequestError, match="observation: fake sees vectors, not frames"):
        vectors.step(session_id="a", action=1, observation=np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InvalidRequestError, match=r"vector must be vectors of 4 numbers \(x, v,"):
        vectors.step(session_id="a", action=1, vector=[0.0] * 3)
    with pytest.raises(InvalidRequestError, match=r"fake sees frames: give start\.frames"):
        frames.reset(session_id="a", start=Start(vectors=[[0.0] * 4]))
    with pytest.raises(InvalidRequestError, match="observation or vector, not both"):
        vectors.step(session_id="a", action=1, vector=[0.0] * 4, observation=[0.0] * 4)


def test_an_end_that_is_drawn_comes_as_often_as_its_probability_at_temperature_0_too() -> None:
    rows = 2000
    client = LocalClient(fake_world(**KINDS["drawn ends"]))
    start = Start(latent=[0.9, -1, 0, 0])
    client.reset(session_id="a", seed=1, temperature=0.0, start=start)
    info = client.step(session_id="a", action=1, include=["mixture"]).info
    made = client.reset_batch(
        count=rows,
        seeds=list(range(rows)),
        latents=[[0.9, -1, 0, 0]] * rows,
        temperatures=[0] * rows,
    )
    found = client.step_batch(session_ids=made.session_ids, actions=[1] * rows)
    assert len(np.unique(found.latents, axis=0)) == 1  # nothing else is random
    assert 0.1 < info["end_probability"] < 0.9
    assert found.terminated.mean() == pytest.approx(info["end_probability"], abs=0.05)


def test_signals_are_shown_by_every_door_and_weighed_by_plans() -> None:
    world = fake_world(**KINDS["signals"])
    client = LocalClient(world)
    client.reset(session_id="a", seed=1)
    client.fork(session_id="a", session_ids=["b"])
    one = client.step(session_id="a", action=2, include=["signals"]).signals
    batch = client.step_batch(session_ids=["b"], actions=[2], include=["signals"]).signals
    assert one == {name: float(part[0]) for name, part in batch.items()}
    assert list(one) == ["value", "uncertainty"]
    client.reset(session_id="a", seed=1)
    rolled = client.rollout(
        session_id="a", policy={"kind": "constant", "action": 2}, max_steps=1, episodes=1, seed=1
    )
    assert set(rolled.signals) == {"value", "uncertainty"}
    for weight, best in ((1.0, 2), (-1.0, 0)):
        objective = Objective(signals={"value": weight})
        plan = client.plan(session_id="a", horizon=3, candidates=27, objective=objective)
        assert plan.actions.tolist() == [best] * 3  # as far as they go, before the edge
    with pytest.raises(InvalidRequestError, match=r"fake has no 'speed'; its signals: \['value'"):
        client.plan(session_id="a", objective=Objective(signals={"speed": 1.0}))


def test_a_start_is_a_bank_entry_of_the_age_that_is_asked_for() -> None:
    plain = fake_world()
    ages = np.array([0, 3, 16, 17, 40, 41, 100, 0] * 2)
    world = World(plain.spec, plain.backend, plain.bank, ages=ages)
    assert world.entries().tolist() == [0, 1, 2, 7, 8, 9, 10, 15]
    assert world.entries(43).tolist() == [5, 13]
    assert world.entries(10_000).tolist() == [6, 14]
    client = LocalClient(world)

    def memories(start: Start | None) -> set[float]:
        results = (client.reset(seed=s, start=start, include=["state"]) for s in range(60))
        return {float(result.state["memory"][0]) for result in results}

    entries = world.bank["state.memory"][:, 0]
    assert memories(None) == memories(Start(age="beginning")) == set(entries[ages <= 16].tolist())
    assert memories(Start(age=100)) == set(entries[ages == 100].tolist())
    assert len(memories(Start(age="any"))) > 10

    seeds = list(range(60))
    for age in (None, "any", 100):  # rows of a batch begin where the same seeds begin alone
        many = client.reset_batch(60, seeds=seeds, age=age, include=["state"])
        start = None if age is None else Start(age=age)
        assert set(many.state["memory"][:, 0].tolist()) == memories(start)
