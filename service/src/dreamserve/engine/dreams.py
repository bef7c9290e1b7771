"""What each request means. Not when it runs: that is the scheduler's.

`answer` takes requests about different sessions and gives for each a result, an error, or, for
work of some length, a task in progress. Such work has looked at its session before its first yield,
which asks for nothing yet, and writes at its very end.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions
from dreamserve.engine.actions import check_actions, no_actions
from dreamserve.engine.checks import (
    check_include,
    check_range,
    check_seed,
    check_start,
    check_temperature,
)
from dreamserve.engine.dynamics import start
from dreamserve.engine.imagination.evaluator import action_durations
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.imagination.plans import check_plan, plan
from dreamserve.engine.imagination.rollouts import (
    EpisodeStarts,
    check_rollout,
    episode_seeds,
    roll_out,
)
from dreamserve.engine.imagination.samples import INCLUDES, check_size, sample
from dreamserve.engine.imagination.trajectories import RolloutStart, subseeds
from dreamserve.engine.pixels import picture
from dreamserve.engine.sessions.batches import reset_batch, step_batch
from dreamserve.engine.sessions.branching import fork, rewind, rewindable_to
from dreamserve.engine.sessions.slab import LastPlan
from dreamserve.engine.sessions.snapshots import restored, snapshot
from dreamserve.engine.sessions.steps import AdmittedStep, admit, take_steps
from dreamserve.engine.sessions.table import MAX_KEPT_STEPS, Session, Sessions
from dreamserve.engine.types import (
    ForkRequest,
    PlanRequest,
    PlanResult,
    RandomPolicy,
    Request,
    ResetBatchRequest,
    ResetRequest,
    ResetResult,
    RestoreRequest,
    RewindRequest,
    RolloutRequest,
    RolloutResult,
    SampleRequest,
    SampleResult,
    SessionInfo,
    SessionQuery,
    SnapshotRequest,
    StepBatchRequest,
    StepRequest,
    StepResult,
    check_single,
)
from dreamserve.engine.work import Outcome, Task, Work, failure
from dreamserve.engine.world import World, worlds_by_name
from dreamserve.errors import (
    InvalidRequestError,
    StepConflictError,
    WireError,
    WorldNotFoundError,
)
from dreamserve.planning.base import shifted


class Dreams:
    """The worlds, the sessions on them, and the meaning of every request."""

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        capacity: int,
        session_ttl_s: float,
        slice_rows: int,
        sizes: Sequence[int],
        max_kept_steps: int = MAX_KEPT_STEPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worlds = worlds_by_name(worlds)
        self.latencies = {name: LatencyModel() for name in self.worlds}
        self.sessions = Sessions(self.worlds, capacity, session_ttl_s, sizes, max_kept_steps, clock)
        self.slice_rows, self._largest, self._clock = slice_rows, sizes[-1], clock

    def answer(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer requests about different sessions; steps of one world run as one batch."""
        self.sessions.refresh_now()
        outcomes: dict[int, Outcome] = {}
        batches: dict[str, list[tuple[int, AdmittedStep]]] = {}
        forks: dict[int, Task] = {}
        for i, request in enumerate(requests):
            begun = self._begin(request)
            if isinstance(begun, AdmittedStep):
                batches.setdefault(begun.session.world.name, []).append((i, begun))
            elif isinstance(request, ForkRequest) and isinstance(begun, Task):
                forks[i] = begun
            else:
                outcomes[i] = begun
        for batch in batches.values():
            taken = _take([row for _, row in batch])
            outcomes.update(zip((i for i, _ in batch), taken, strict=True))
        # They write over sessions that may have been in the batch.
        outcomes.update((i, task.resume()) for i, task in forks.items())
        return [outcomes[i] for i in range(len(requests))]

    def _begin(self, request: Request) -> Outcome | AdmittedStep:
        try:
            match request:
                case StepRequest():
                    return admit(self.sessions.find(request.session_id), request)
                case ResetRequest():
                    return Task(self._reset(request)).resume()
                case SampleRequest():
                    return Task(self._sample(request)).resume()
                case PlanRequest():
                    return Task(self._plan(request)).resume()
                case RolloutRequest():
                    return Task(self._rollout(request)).resume()
                case StepBatchRequest():
                    first = next(iter(self.worlds.values()))
                    steps = step_batch(self.sessions, first, request, self._largest)
                    return Task(steps).resume()
                case ResetBatchRequest():
                    world = self._world(request.world)
                    resets = reset_batch(self.sessions, world, request, self._largest)
                    return Task(resets).resume()
                case ForkRequest():
                    return Task(fork(self.sessions, request)).resume()
                case RewindRequest():
                    return rewind(self.sessions.find(request.session_id), request)
                case SnapshotRequest():
                    return snapshot(self.sessions.find(request.session_id, use=False))
                case RestoreRequest():
                    return self._restore(request)
                case SessionQuery():
                    return self._query(request)
        except Exception as error:
            return failure(error)

    def _query(self, request: SessionQuery) -> SessionInfo:
        session = self.sessions.find(request.session_id, use=False)
        slab, slot = session.slab, session.slot
        info = SessionInfo(
            session_id=session.id,
            world=session.world.name,
            step=session.step,
            seed=int(slab.seed[slot]),
            temperature=float(slab.temperature[slot]),
            terminated=bool(slab.terminated[slot]),
            idle_s=self.sessions.idle_s(session),
            rewindable_to=rewindable_to(session),
        )
        if request.delete:
            self.sessions.remove(session.id)
        return info

    def _restore(self, request: RestoreRequest) -> SessionInfo:
        world = self._world(request.snapshot.world)
        record = restored(world, request.snapshot)
        session = self.sessions.put(request.session_id, world, record.rewind_window)
        seed = np.array([record.seed], np.uint64)
        session.slab.restore(np.array([session.slot]), record, seed)
        return self._query(SessionQuery(request.session_id))

    def _reset(self, request: ResetRequest) -> Work[ResetResult]:
        check_include(request.include, frozenset({"frame", "state"}), "a reset")
        world = self._world(request.world)
        seed = secrets.randbits(53) if request.seed is None else check_seed(request.seed)
        heat = 1.0 if request.temperature is None else check_temperature(request.temperature)
        given = check_start(world, request.start)
        window = int(check_range("rewind_window", request.rewind_window, 0))
        session_id = secrets.token_hex(16) if request.session_id is None else request.session_id
        self.sessions.check_room(session_id, window=window)
        latent, state = yield from start(world, given, seed, heat)
        frame = picture(world, latent) if "frame" in request.include else None
        session = self.sessions.put(session_id, world, window)
        slots, heats = np.array([session.slot]), np.array([heat], np.float32)
        session.slab.begin(slots, latent, state, np.array([seed], np.uint64), heats)
        names = (tensor.name for tensor in world.spec.recurrent_state)
        parts = zip(names, (np.array(part[0]) for part in state), strict=True)
        return ResetResult(
            session_id=session_id,
            world=world.name,
            step=0,
            latent=latent[0],
            seed=seed,
            temperature=heat,
            frame=frame,
            state=dict(parts) if "state" in request.include else None,
        )

    def _sample(self, request: SampleRequest) -> Work[SampleResult]:
        check_include(request.include, INCLUDES, "a sample")
        count = int(check_range("futures", request.futures, 1))
        horizon = int(check_range("horizon", request.horizon, 1))
        if request.session_id is not None:
            if request.world is not None or request.start is not None:
                raise InvalidRequestError("a sample of a session has no world and no start")
            session = self._living(request.session_id)
            present = _present(session, request.temperature)
            seed = _seed(session, request.seed, noise.SAMPLE)
        else:
            world = self._world(request.world)
            seed = secrets.randbits(53) if request.seed is None else check_seed(request.seed)
            heat = 1.0 if request.temperature is None else check_temperature(request.temperature)
            begin = start(world, check_start(world, request.start), seed, heat)
            present = RolloutStart(world, *(yield from begin), step=0, temperature=heat)
        check_size(present.world.spec, count, horizon, request.include, request.bounds)
        space = present.world.spec.action_space
        policy = None if request.actions is not None else request.policy or RandomPolicy()
        if policy is None:
            given = check_actions(space, request.actions, (horizon,))
            actions = given[None].repeat(count, axis=0)
        else:
            check_single(policy)
            actions = no_actions(space, count, horizon)
        yield None
        seeds = subseeds(seed, count, noise.SAMPLE)
        sampled = sample(
            present,
            actions,
            seeds,
            policy=policy,
            include=request.include,
            slice_rows=self.slice_rows,
        )
        return (yield from sampled)

    def _rollout(self, request: RolloutRequest) -> Work[RolloutResult]:
        check_rollout(request)
        if request.session_id is not None:
            session = self._living(request.session_id)
            present = _present(session, request.temperature)
            seeds = episode_seeds(request, _seed(session, request.seed, noise.ROLLOUT))
            begun = EpisodeStarts.at(present, seeds)
            yield None
        else:
            world = self._world(request.world)
            seed = secrets.randbits(53) if request.seed is None else check_seed(request.seed)
            heat = 1.0 if request.temperature is None else check_temperature(request.temperature)
            given, seeds = check_start(world, request.start), episode_seeds(request, seed)
            begun = yield from EpisodeStarts.of(world, given, seeds, heat, self.slice_rows)
        whole = "trajectories" in request.include
        rolled = roll_out(begun, request.policy, request.max_steps, whole, self.slice_rows)
        return (yield from rolled)

    def _plan(self, request: PlanRequest) -> Work[PlanResult]:
        session = self._living(request.session_id)
        request = check_plan(session.world, request)
        present = _present(session, request.temperature)
        seed = _seed(session, request.seed, noise.PLAN)
        warm = _planned(session) if request.warm_start else None
        key = session.slab.key[session.slot]
        latency, began_s = self.latencies[present.world.name], self._clock()
        with nullcontext() if request.budget_ms is None else latency.counted():
            yield None  # who plans at the same time is counted by now
            searching = plan(
                present, request, seed, warm, self.slice_rows, latency, began_s, self._clock
            )
            found = yield from searching
        # For the session's next plan, if it is still there and dreams this dream.
        if self.sessions.is_current(session) and session.slab.key[session.slot] == key:
            lengths = action_durations(present.step, request.horizon, request.action_repeat)
            steps = np.repeat(found.actions, lengths, axis=0)
            session.slab.planned[session.slot] = LastPlan(present.step, steps)
        return found

    def _world(self, name: str | None) -> World:
        if name is None:
            return next(iter(self.worlds.values()))
        if name not in self.worlds:
            raise WorldNotFoundError(f"no world {name!r}; there are {', '.join(self.worlds)}")
        return self.worlds[name]

    def _living(self, session_id: str) -> Session:
        session = self.sessions.find(session_id)
        if session.slab.terminated[session.slot]:
            raise StepConflictError(
                f"the dream has ended with step {session.step}: it has no future;"
                " POST /reset starts over"
            )
        return session


def _take(rows: Sequence[AdmittedStep]) -> Sequence[StepResult | WireError]:
    try:
        return take_steps(rows)
    except Exception as error:
        return [failure(error)] * len(rows)


def _present(session: Session, temperature: float | None) -> RolloutStart:
    """Return a copy of where the session is, at its own temperature unless told another."""
    own = float(session.slab.temperature[session.slot])
    heat = own if temperature is None else check_temperature(temperature)
    return RolloutStart(session.world, *session.row(), step=session.step, temperature=heat)


def _planned(session: Session) -> Actions | None:
    """Return what remains of the session's last plan, one action a step (T, …), or None."""
    last = session.slab.planned.get(session.slot)
    if last is None or session.step < last.step:
        return None
    return shifted(last.actions, session.step - last.step)


def _seed(session: Session, given: int | None, stream: int) -> int:
    """Return the seed given, or one that follows from the session's own seed and step."""
    if given is not None:
        return check_seed(given)
    rows = slice(session.slot, session.slot + 1)
    slab = session.slab
    return int(noise.keys(slab.seed[rows], slab.step[rows], stream)[0])
