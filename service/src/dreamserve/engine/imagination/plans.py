"""A plan: a planner proposes candidates, which are evaluated in imagined trajectories.

All candidates of an iteration get the same noise, so differences come from their actions; noise
differs between iterations. With `budget_ms` the planner gets as many candidates and iterations as
are likely to fit, and the result is the best plan at the deadline.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import inf
from typing import Any, NamedTuple, NoReturn

import numpy as np

from dreamserve import noise
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.evaluator import CandidateEvaluator
from dreamserve.engine.imagination.latency import LatencyModel, fit_to_budget
from dreamserve.engine.imagination.objectives import REWARD
from dreamserve.engine.imagination.trajectories import RolloutStart, uniforms
from dreamserve.planning.base import Actions, Plan, Planner, better, finite_or_lowest, resized
from dreamserve.planning.catalog import is_exhaustive, planner_of
from dreamserve.planning.options import Options
from dreamserve.spaces import ActionSpace
from dreamserve_protocol.errors import DreamNotFiniteError, NotFiniteInputError
from dreamserve_protocol.plan import PlanRequest, PlanResult
from dreamserve_protocol.policies import policy_of

# Part of a budget kept for sending responses: this plan's, and each concurrent plan's.
_RESPONSE_S, _EACH_RESPONSE_S = 1e-3, 0.35e-3


class SearchResult(NamedTuple):
    """Result of a search."""

    best: Plan
    evaluations: int  # candidates evaluated to the horizon
    calls: Sequence[tuple[int, int]]  # (number of world calls, rows)
    cut_short: bool
    optimal: bool = False  # no plan can be better


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
    """Return the best actions found. `warm` is the rest of an earlier plan, from its first action.

    The actions of the request's policy take its place. The budget counts from `began_s`; `latency`
    already counts this plan if it has a budget. Raises DreamNotFiniteError, NotFiniteInputError.
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
        clock,
        policy := None if request.policy is None else policy_of(request.policy),
        request.policy_steps,
    )
    if policy is not None:
        warm = yield from evaluator.followed(policy, request.horizon, _iteration_seed(seed, 0))
    search = _Search(request, options, seed, warm, evaluator, latency, clock)
    found, evaluation_s = None, latency.lasts_s(evaluator.steps(request.horizon), request.particles)
    # Without time for two evaluations, search at once: it tries `warm` beside other candidates.
    if warm is not None and 2 * evaluation_s < until_s() - clock():
        found = yield from search.optimal_warm_plan(warm)
    if found is None:
        found = yield from (search.whole() if budget_s == inf else search.within_budget())
    if found.best.value == -np.inf:
        _refuse(evaluator)
    elapsed_ms = 1e3 * (clock() - began_s)
    return _result(found, request.planner, start.world.spec.action_space, elapsed_ms)


def _refuse(evaluator: CandidateEvaluator) -> NoReturn:
    """Raise the error of a plan whose candidates all led to NaN or infinity."""
    if evaluator.nan_scores_at:
        step = min(evaluator.nan_scores_at)
        raise NotFiniteInputError(f"policy: its scores are NaN at step {step} after the actions")
    raise DreamNotFiniteError("every candidate led to NaN or infinity")


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
        asked = self.request.particles
        fewer, particles = fit_to_budget(
            self.options, calls, asked, self.latency, within_s - began_s
        )
        search = replace(self, evaluator=replace(self.evaluator, particles=particles))
        found = yield from search._run(fewer)
        self.latency.learn(found.calls, active, self.clock() - began_s)
        space = self.evaluator.start.world.spec.action_space
        tries_all = is_exhaustive(space, self.request.horizon, fewer)
        is_less = particles < asked or (fewer != self.options and not tries_all)
        return found._replace(cut_short=found.cut_short or (is_less and not found.optimal))

    def _run(self, options: Options) -> Work[SearchResult]:
        """Evaluate the planner's candidates until it is done or the deadline has passed."""
        planner, evaluator = self._planner(options), self.evaluator
        best, evaluations, values, complete = None, 0, None, True
        calls = Counter[int]()  # by rows
        bound = evaluator.upper_bound(self.request.horizon)
        for iteration in count():
            proposed = yield from self._proposed(planner, values)
            if proposed is None:
                complete = False
                break
            if isinstance(proposed, Plan):
                if best is not None and best.value > proposed.value:  # of equal ones, the planner's
                    proposed = best._replace(iterations=proposed.iterations)
                best = proposed
                break
            if best is not None and self.clock() >= evaluator.until_s():
                complete = False
                break
            actions = proposed
            result = yield from evaluator.evaluate(actions, _iteration_seed(self.seed, iteration))
            complete = result.complete
            calls[min(len(actions) * evaluator.particles, evaluator.slice_rows)] += result.calls
            values = result.values
            if best is None and result.partial is not None:
                values = result.partial
            best = better(best, actions, finite_or_lowest(values), iteration)
            evaluations += len(actions) if complete else int(np.isfinite(result.values).sum())
            if not complete or best.value >= bound:
                break
        took = [(number, rows) for rows, number in calls.items()]
        best = best or self._untried()
        return SearchResult(best, evaluations, took, not complete, best.value >= bound)

    def _proposed(self, planner: Planner, values: Any) -> Work[Actions | Plan | None]:
        """Return the planner's next candidates or its plan; None if the deadline comes first."""
        while True:
            try:
                proposed = planner.send(values)
            except StopIteration as stop:
                plan: Plan = stop.value
                return plan
            if proposed is not None:
                return proposed
            if self.clock() >= self.evaluator.until_s():
                return None
            values = None
            yield None

    def _untried(self) -> Plan:
        """Return the plan for a deadline before the first evaluation: the rest of the last one."""
        space, horizon = self.evaluator.start.world.spec.action_space, self.request.horizon
        middle = space.uniform(np.full((horizon, *space.shape), 0.5, np.float32))
        warm = resized(self.warm, horizon)
        return Plan(middle if warm is None else warm, 0.0, 0)

    def _planner(self, options: Options) -> Planner:
        space, request = self.evaluator.start.world.spec.action_space, self.request

        def uniform(iteration: int, shape: tuple[int, ...], first: int) -> noise.Float32:
            numbers: noise.Float32 = uniforms(self.seed, iteration, shape, first)
            return numbers

        return planner_of(request.planner, space, request.horizon, options, uniform, self.warm)


def _iteration_seed(seed: int, iteration: int) -> int:
    return int(noise.keys(np.array([seed], np.uint64), np.array([iteration]), noise.PLAN)[0])
