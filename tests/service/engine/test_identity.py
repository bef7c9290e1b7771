"""A dream is a pure function of world, seed, start and actions: the same bits in any batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.world import World
from dreamserve.local import DreamBatch
from dreamserve_protocol.errors import DreamEndedError
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.step import StepRequest

STEPS = 12
BATCH = 64


def actions_of(world: World, dream: int) -> list[Any]:
    generator = np.random.default_rng(dream)
    space = world.spec.action_space
    actions = space.uniform(generator.random((STEPS, *space.shape), np.float32))
    return [space.single(action) for action in actions]


def dreams(world: World, which: list[int], **options: Any) -> dict[int, list[Any]]:
    """Run the dreams with these seeds together; return the results of each."""
    engine = Engine([world], **options)
    engine.warm()
    for seed in which:
        engine.submit(ResetRequest(session_id=str(seed), seed=seed, temperature=0.5 + seed / BATCH))
    answers: dict[int, list[Any]] = {seed: [] for seed in which}
    for t in range(STEPS):
        futures = {
            seed: engine.submit(
                StepRequest(str(seed), actions_of(world, seed)[t], include=["state"])
            )
            for seed in which
        }
        for _ in range(2 + 2 * len(which)):
            engine.turn()
        for seed, future in futures.items():
            error = future.exception(0)
            assert error is None or isinstance(error, DreamEndedError)  # it has already ended
            answers[seed].append(error or future.result(0))
    return answers


@pytest.mark.parametrize("options", [{}, {"max_batch": 7}, {"max_batch": 1}])
def test_a_dream_alone_equals_the_same_dream_among_63_others(
    any_world: World, same: Callable[[Any, Any], bool], options: dict[str, int]
) -> None:
    together = dreams(any_world, list(range(BATCH)), **options)
    for seed in (0, 17, 63):
        assert same(dreams(any_world, [seed])[seed], together[seed])


def test_dreams_in_lockstep_equal_the_sessions_of_their_seeds(any_world: World) -> None:
    seeds = [3, 1, 4, 1, 5, 9, 2, 6]
    batch = DreamBatch(any_world, seeds, [0.5 + seed / BATCH for seed in seeds])
    sessions = dreams(any_world, sorted(set(seeds)))
    left = list(seeds)
    for t in range(STEPS):
        reward, terminated = batch.step(np.array([actions_of(any_world, s)[t] for s in left]))
        for i, seed in enumerate(left):
            answer = sessions[seed][t]
            np.testing.assert_array_equal(batch.latent[i], answer.latent)
            assert (float(reward[i]), bool(terminated[i])) == (answer.reward, answer.terminated)
            for name, part in answer.state.items():
                np.testing.assert_array_equal(batch.state[name][i], part)
        batch.keep(~terminated)
        left = [seed for seed, ended in zip(left, terminated, strict=True) if not ended]
        if not left:
            break
