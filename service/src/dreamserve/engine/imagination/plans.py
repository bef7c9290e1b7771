"""A plan: a planner proposes candidates, which are evaluated in imagined trajectories.

All candidates of an iteration get the same noise, so differences come from their actions; noise
differs between iterations. With `budget_ms` the planner gets as many candidates and iterations as
are likely to fit, and the result is the best plan at the deadline.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import NamedTuple

import numpy as np

from dreamserve import noise
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.evaluator import CandidateEvaluator, action_durations
from dreamserve.engine.imagination.latency import LatencyModel, fit_to_budget
from dreamserve.engine.imagination.objectives import REWARD
from dreamserve.engine.imagination.trajectories import RolloutStart, uniforms
from dreamserve.planning.base import Actions, Plan, Planner, better, finite_or_lowest, resized
from dreamserve.planning.catalog import planner_of
from dreamserve.planning.options import Options
from dreamserve.spaces import ActionSpace
from dreamserve_protocol.errors import DreamNotFiniteError
from dreamserve_protocol.plan import PlanRequest, PlanResult

# Part of a budget kept for sending responses: this plan's, and each concurrent plan's.
_RESPONSE_S, _EACH_RESPONSE_S = 1e-3, 0.35e-3


class SearchResult(NamedTuple):
    """Result of a search."""

    best: Plan
    evaluations: int  # candidates evaluated to the horizon
    calls: Sequence[tuple[int, int]]  # (number of world calls, rows)
    cut_short: bool


def plan(
    start: RolloutStart,
    request: PlanRequest,
    options: Options,
    seed: int,
    warm: Actions | None,
    slice_rows: int,
    latency: LatencyModel,
    began_s: float,
    clock: Callable[[], float],
) -> Work[PlanResult]:
    """Return the best actions found. `warm` is the rest of an earlier plan, one action per step.

    The budget counts from `began_s`; `latency` already counts this plan if it has a budget. Raises
    DreamNotFiniteError.
    """
    budget_s = inf if request.budget_ms is None else 1e-3 * request.budget_ms

    def until_s() -> float:
        return began_s + budget_s - _RESPONSE_S - latency.active * _EACH_RESPONSE_S

    evaluator = CandidateEvaluator(
        start,
        slice_rows,
        request.objective or REWARD,
        request.discount,
        request.particles,
        request.action_repeat,
        until_s,
    )
    warm = None if warm is None else _one_per_action(warm, start.step, request)
    search = _Search(request, options, seed, warm, evaluator, latency, clock)
    found, evaluation_s = None, latency.lasts_s(evaluator.steps(request.horizon), request.particles)
    # Without time for two evaluations, search at once: it tries `warm` beside other candidates.
    if warm is not None and 2 * evaluation_s < until_s() - clock():
        found = yield from search.optimal_warm_plan(warm)
    if found is None:
        found = yield from (search.whole() if budget_s == inf else search.within_budget())
    if found.best.value == -np.inf:
        raise DreamNotFiniteError("every candidate led to NaN or infinity")
    elapsed_ms = 1e3 * (clock() - began_s)
    return _result(found, request.planner, start.world.spec.action_space, elapsed_ms)


def _result(found: SearchResult, planner: str, space: ActionSpace, elapsed_ms: float) -> PlanResult:
    return PlanResult(
        action=space.single(found.best.actions[0]),
        actions=found.best.actions,
        value=found.best.value,
        planner=planner,
        iterations=found.best.iterations,
        evaluations=found.evaluations,
        elapsed_ms=elapsed_ms,
        cut_short=found.cut_short,
    )


def _one_per_action(warm: Actions, step: int, request: PlanRequest) -> Actions:
    """Return the actions of `warm`, one per step, with which a new plan's actions begin."""
    durations = action_durations(step, request.horizon, request.action_repeat)
    starts = np.cumsum(durations) - durations
    remaining: Actions = warm[starts[starts < len(warm)]]
    return remaining


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """One search: its request, warm plan, evaluator and latency model."""

    request: PlanRequest
    options: Options
    seed: int
    warm: Actions | None
    evaluator: CandidateEvaluator
    latency: LatencyModel
    clock: Callable[[], float]

    def optimal_warm_plan(self, warm: Actions) -> Work[SearchResult | None]:
        """Return the rest of the last plan if it is optimal or time is up, else None."""
        horizon, evaluator = self.request.horizon, self.evaluator
        bound, actions = evaluator.upper_bound(horizon), resized(warm, horizon)
        if bound == inf or actions is None:
            return None
        result = yield from evaluator.evaluate(actions[None], _iteration_seed(self.seed, 0))
        if result.complete and result.values[0] < bound:
            return None
        values = result.values if result.partial is None else result.partial
        best, calls = Plan(actions, float(values[0]), 1), [(result.calls, evaluator.particles)]
        return SearchResult(best, int(result.complete), calls, not result.complete)

    def whole(self) -> Work[SearchResult]:
        """Search with the requested options."""
        return (yield from self._run(self.options))

    def within_budget(self) -> Work[SearchResult]:
        """Search with as much work as fits into the budget, given concurrent plans."""
        began_s, active = self.clock(), self.latency.active
        calls, within_s = self.evaluator.steps(self.request.horizon), self.evaluator.until_s()
        fewer = fit_to_budget(
            self.options, calls, self.request.particles, self.latency, within_s - began_s
        )
        found = yield from self._run(fewer)
        self.latency.learn(found.calls, active, self.clock() - began_s)
        return found._replace(cut_short=found.cut_short or fewer != self.options)

    def _run(self, options: Options) -> Work[SearchResult]:
        """Evaluate the planner's candidates until it is done or the deadline has passed."""
        planner, evaluator = self._planner(options), self.evaluator
        actions, best, evaluations = next(planner), None, 0
        calls: list[tuple[int, int]] = []
        bound = evaluator.upper_bound(actions.shape[1])
        for iteration in count():
            seed = _iteration_seed(self.seed, iteration)
            result = yield from evaluator.evaluate(actions, seed)
            rows = min(len(actions) * evaluator.particles, evaluator.slice_rows)
            calls.append((result.calls, rows))
            values = result.values
            if best is None and result.partial is not None:
                values = result.partial
            best = better(best, actions, finite_or_lowest(values), iteration)
            evaluated = np.isfinite(result.values).sum()
            evaluations += len(actions) if result.complete else int(evaluated)
            if not result.complete or best.value >= bound:
                break
            try:
                actions = planner.send(values)
            except StopIteration as stop:
                best = best._replace(iterations=stop.value.iterations)
                break
        assert best is not None
        return SearchResult(best, evaluations, calls, not result.complete)

    def _planner(self, options: Options) -> Planner:
        space, request = self.evaluator.start.world.spec.action_space, self.request

        def uniform(iteration: int, shape: tuple[int, ...]) -> noise.Float32:
            numbers: noise.Float32 = uniforms(self.seed, iteration, shape)
            return numbers

        return planner_of(request.planner, space, request.horizon, options, uniform, self.warm)


def _iteration_seed(seed: int, iteration: int) -> int:
    return int(noise.keys(np.array([seed], np.uint64), np.array([iteration]), noise.PLAN)[0])
