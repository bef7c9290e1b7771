"""Forks: what they share with their origin, and what is their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DrainingError,
    InvalidRequestError,
    OverloadedError,
)
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.step import StepRequest

Same = Callable[[Any, Any], bool]


def test_forks_have_the_noise_of_their_seed(dream: LocalClient) -> None:
    forks = dream.fork(session_id="a", session_ids=["b", "c"], seeds=[4, 5])
    assert (forks.step, forks.world, forks.seeds) == (3, "fake", [4, 5])
    a, b, c = (dream.step(session_id=name, action=1).latent for name in "abc")
    assert a.tobytes() == b.tobytes() != c.tobytes()


def test_forks_and_rewinds_include_the_frame_and_state_of_their_step(dream: LocalClient) -> None:
    stepped = dream.step(session_id="a", action=1, include=["frame", "state"])
    dream.step(session_id="a", action=1)
    include = ["frame", "state"]
    back = dream.rewind(session_id="a", steps=1, include=include)
    fork = dream.fork(session_id="a", session_ids=["b"], include=include)
    for answer in (back, fork):
        assert np.array_equal(answer.frame, stepped.frame)
        assert {n: t.tobytes() for n, t in answer.state.items()} == {
            name: tensor.tobytes() for name, tensor in stepped.state.items()
        }
    for ask in (dream.rewind, dream.fork):
        own = {"session_ids": ["c"]} if ask == dream.fork else {"steps": 1}
        with pytest.raises(InvalidRequestError, match=r"include.*'frame', 'vector' or 'state'"):
            ask(session_id="a", include=["mixture"], **own)
    assert (dream.session("a").step, dream.engine.session_count) == (4, 2)


def test_a_fork_answers_its_origins_last_step_when_it_is_repeated(dream: LocalClient) -> None:
    last = dream.step(session_id="a", action=1, include=["mixture"])
    dream.fork(session_id="a", session_ids=["b"])
    again = dream.step(session_id="b", action=1, step=4, include=["mixture"])
    assert again.session_id == "b"
    assert again.latent.tobytes() == last.latent.tobytes()


BAD_FORKS = [
    ({"session_ids": []}, InvalidRequestError, "session_ids: .*at least 1 item"),
    ({"session_ids": ["b"], "count": 1}, InvalidRequestError, "session_ids or count, not both"),
    ({"count": 0}, InvalidRequestError, "count: .*greater than or equal to 1"),
    ({"session_ids": ["a"]}, InvalidRequestError, "cannot be forked into itself"),
    ({"session_ids": ["b", "b"]}, InvalidRequestError, "must differ"),
    ({"session_ids": ["b", "c"], "seeds": [1]}, InvalidRequestError, "2 forks need as many seeds"),
    ({"session_ids": ["b"], "seeds": [-1]}, InvalidRequestError, r"seeds.0: .*equal to 0"),
    ({"session_ids": list("bcde")}, OverloadedError, "1 of 4 sessions are in use"),
]


@pytest.mark.parametrize(("fields", "error", "message"), BAD_FORKS)
def test_a_refused_fork_creates_no_session(
    dream: LocalClient, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dream.fork(session_id="a", **fields)
    assert dream.engine.session_count == 1


def test_a_fork_into_a_session_that_steps_in_the_same_turn_follows_its_step(
    dream: LocalClient, same: Same
) -> None:
    engine, alone = dream.engine, LocalClient(fake_world())
    for client in (dream, alone):
        client.reset(session_id="b", seed=1, start=Start(bank=8))
        client.reset(session_id="c", seed=2, start=Start(bank=8))
    forked = engine.submit(ForkRequest("a", session_ids=["b"]))
    stepped = [engine.submit(StepRequest(name, 1, step=1)) for name in "bc"]
    engine.turn()
    assert forked.result(0).step == 3
    for name, future in zip("bc", stepped, strict=True):
        assert same(future.result(0), alone.step(session_id=name, action=1))
    assert dream.snapshot("b").digest == dream.snapshot("a").digest
    assert dream.session("c").step == 1


def test_a_fork_does_not_wait_for_a_plan() -> None:
    engine = Engine([fake_world()], max_jobs=1, slice_rows=4)
    reset = engine.submit(ResetRequest(session_id="a", seed=1))
    plan = engine.submit(PlanRequest("a"))
    for _ in range(2):
        engine.turn()
    forked = engine.submit(ForkRequest("a", session_ids=["b"]))
    engine.turn()
    assert reset.done()
    assert forked.result(0).session_ids == ["b"]
    assert not plan.done()


def test_forks_rewind_independently_as_far_as_their_origin(dream: LocalClient, same: Same) -> None:
    before = dream.snapshot("a")
    dream.fork(session_id="a", session_ids=["b", "c"], seeds=[5, 4])
    for name in "bc":
        assert dream.session(name).rewindable_to == 0
        dream.step(session_id=name, action=2)
        dream.rewind(session_id=name, steps=1)
    assert [dream.session(name).seed for name in "abc"] == [4, 5, 4]
    assert same(dream.snapshot("c"), before)
    back = dream.rewind(session_id="b", to_step=1)
    assert (back.step, back.seed, back.rewindable_to) == (1, 4, 0)  # before the fork
    assert dream.session("a").step == 3
    assert dream.session("a").rewindable_to == 0


def test_rewinding_a_fork_leaves_its_origins_window_unchanged(
    dream: LocalClient, same: Same
) -> None:
    dream.reset(session_id="c", seed=4, start=Start(bank=8))
    for action in (1, 0):
        dream.step(session_id="c", action=action)
    dream.fork(session_id="a", session_ids=["b"])
    dream.rewind(session_id="b", to_step=0)
    dream.step(session_id="b", action=2)
    assert dream.rewind(session_id="a", steps=1).step == 2
    for part in ("latent", "state", "reward"):
        assert same(*(getattr(dream.snapshot(name), part) for name in "ac"))


def test_the_arrays_of_a_rewind_are_copies(dream: LocalClient) -> None:
    dream.fork(session_id="a", session_ids=["b", "c"])
    rewound = []
    for name in "bc":
        back = dream.rewind(session_id=name, to_step=1, include=["state"])
        arrays = [back.latent, back.state["memory"]]
        rewound.append([array.tobytes() for array in arrays])
        for array in arrays:
            array[...] = 9
    assert rewound[0] == rewound[1]


def test_a_fork_warm_starts_from_its_origins_last_plan(dream: LocalClient, same: Same) -> None:
    numbers = {"horizon": 4, "candidates": 8, "iterations": 2, "seed": 1}
    dream.plan(session_id="a", **numbers)
    dream.fork(session_id="a", session_ids=["b"])
    for name in "ab":
        dream.step(session_id=name, action=0)
    plans = [dream.plan(session_id=name, **numbers) for name in "ab"]
    assert same(*plans)
    dream.rewind(session_id="a", steps=1)
    dream.step(session_id="a", action=0)
    assert same(dream.plan(session_id="a", **numbers), plans[0])


def test_a_draining_server_forks_only_into_existing_sessions(dream: LocalClient) -> None:
    dream.reset(session_id="b")
    dream.engine.drain()
    for ids in ({"session_ids": ["b", "c"]}, {"count": 1}):
        with pytest.raises(DrainingError, match="no new sessions"):
            dream.fork(session_id="a", **ids)
    assert dream.session("b").step == 0
    assert dream.fork(session_id="a", session_ids=["b"]).step == 3
