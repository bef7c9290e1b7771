"""Evaluates a planner's candidates to the horizon, or as far as the deadline allows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import inf

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, DeviceBackend, Int64
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.objectives import (
    REWARD,
    ReturnAccumulator,
    goes_on,
    reward_alone,
)
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories, Values, subseeds
from dreamserve.noise import UInt64
from dreamserve.planning.base import action_durations
from dreamserve_protocol.errors import NotFiniteInputError
from dreamserve_protocol.plan import Objective
from dreamserve_protocol.policies import AnyPolicy

_ON_DEVICE = 4096  # dreams of one call on a device, at least one candidate's


@dataclass(frozen=True, slots=True, eq=False)
class CandidateValues:
    """Values of N candidates."""

    values: Values  # (N,), -inf for candidates not evaluated to the horizon
    complete: bool = True  # whether all of them were evaluated before the deadline
    partial: Values | None = None  # (N,) if none was: values of the steps so far
    calls: int = 0  # number of world calls; on a device those of the same work in slices


@dataclass(frozen=True, slots=True, eq=False)
class CandidateEvaluator:
    """Evaluates candidates from one start by one objective, each in `particles` dreams."""

    start: RolloutStart
    slice_rows: int
    objective: Objective = REWARD
    discount: float = 1.0
    particles: int = 1
    action_repeat: int = 1  # steps for which actions are held
    until_s: Callable[[], float] = lambda: inf  # deadline by `clock`, called every step
    clock: Callable[[], float] = lambda: -inf  # the engine's; a device's work is not cut within
    policy: AnyPolicy | None = None
    policy_steps: int = 0  # that the policy takes after the actions
    nan_scores_at: list[int] = field(default_factory=list)  # numbers of such steps, as they occur

    def evaluate(self, actions: Actions, seed: int) -> Work[CandidateValues]:
        """Return the values of N candidates, actions (N, H, …): means over their particles.

        All candidates get the same noise, derived from `seed`; particles differ in their noise. A
        candidate that becomes NaN or infinite in any particle has the value -inf.
        """
        seeds = subseeds(seed, self.particles, noise.PLAN)
        horizon = actions.shape[1]
        durations = action_durations(self.start.step, horizon, self.action_repeat)
        held = np.arange(horizon).repeat(durations)  # (T,) the number of each step's action
        backend = self.start.world.backend
        alone = reward_alone(self.objective) and not self.policy_steps
        if isinstance(backend, DeviceBackend) and alone:
            return (yield from self._all_on_device(backend, actions, held, seeds))
        values, calls = np.full(len(actions) * self.particles, -np.inf), 0
        for first in range(0, len(values), self.slice_rows):
            rows = np.arange(first, min(first + self.slice_rows, len(values)))
            returns, slice_calls, complete = yield from self._dream(actions, held, rows, seeds)
            calls += slice_calls
            if not complete:
                return self._cut_short(values, first, returns, calls)
            values[rows] = returns
        return CandidateValues(self._mean(values), calls=calls)

    def _cut_short(
        self, values: Values, first: int, returns: Values, calls: int
    ) -> CandidateValues:
        """Return the values when the deadline stops the slice that starts at dream `first`.

        `values` holds those of the complete dreams, `returns` those of the slice's steps so far.
        """
        means = self._mean(values)
        if first >= self.particles:
            return CandidateValues(means, False, None, calls)
        if not first:  # no dream has reached the horizon
            first = len(returns)
            values[:first] = returns
        dreamt = (np.arange(len(values)) < first).reshape(-1, self.particles)
        sums = np.where(dreamt, values.reshape(dreamt.shape), 0).sum(axis=1)
        counts = dreamt.sum(axis=1)
        partial: Values = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        return CandidateValues(np.full_like(means, -np.inf), False, partial, calls)

    def steps(self, horizon: int) -> int:
        """Return the number of steps of a candidate of H actions: a slice's world calls."""
        return horizon * self.action_repeat + self.policy_steps

    def upper_bound(self, horizon: int) -> float:
        """Return the largest value that a candidate of H actions can have; infinity if unknown.

        It is known if each step's reward is constant, also that of a step which ends the dream:
        then no sequence is better than one whose steps all happen.
        """
        rule, objective = self.start.world.spec.reward, self.objective
        others = objective.survival or objective.target is not None or objective.signals
        if others or objective.reward < 0 or rule.value is None or rule.value < 0:
            return inf
        # `accumulate` adds in order, so this is a candidate's sum to the last bit; a step's reward
        # is a float32.
        factors = np.full(self.steps(horizon), self.discount)
        factors[0] = 1.0
        weights = np.multiply.accumulate(factors)
        reward = objective.reward * float(np.float32(rule.value))
        most = float(np.add.accumulate(weights * reward)[-1])
        return float(self._mean(np.full(self.particles, most))[0])  # rounded as candidates' are

    def _dream(
        self, actions: Actions, held: Int64, rows: Int64, seed: UInt64
    ) -> Work[tuple[Values, int, bool]]:
        """Return the values of dreams `rows` (B,), the world calls, and whether all steps ran.

        Step t takes action held[t], and then the policy's; nothing here grows with B x T.
        """
        candidates = rows // self.particles
        seeds = seed if self.particles == 1 else seed[rows % self.particles]
        dreams = Trajectories.of(self.start, len(rows), seeds, noise.PLAN)
        dreams.goes_on = goes_on(self.start.world, self.objective)
        returns = ReturnAccumulator(self.start.world, self.objective, self.discount, len(rows))
        planned = (actions[candidates, number] for number in held.tolist())
        for t, action in enumerate(chain(planned, self._of_policy(dreams))):
            outcome = yield from dreams.advance(action, self.until_s())
            if outcome is None:
                return returns.finite_values(dreams.finite), t, False
            returns.add(outcome)
            if returns.settled(outcome):
                break
        return returns.finite_values(dreams.finite), t + 1, True

    def _of_policy(self, dreams: Trajectories) -> Iterator[Actions]:
        """Yield the policy's actions (B, …) in the dreams, as they are when they are asked for.

        A dream in which its scores are NaN counts as not finite.
        """
        if self.policy is None:
            return
        runner = runner_of(self.start.world, self.policy, len(dreams))
        for number in range(1, self.policy_steps + 1):
            action, is_valid = runner.act(dreams)
            valid = is_valid | ~dreams.alive
            if not valid.all() and dreams.finite[~valid].any():  # not because of a latent's NaN
                self.nan_scores_at.append(number)
            dreams.finite = dreams.finite & valid
            yield action

    def followed(self, policy: AnyPolicy, horizon: int, seed: int) -> Work[Actions]:
        """Return the actions (H, …) that a policy takes in the first dream of `seed`.

        The last one lasts from the deadline on, and from a step that is not finite. Raises
        NotFiniteInputError for scores that are NaN in a dream that is finite.
        """
        world = self.start.world
        dream = Trajectories.of(self.start, 1, subseeds(seed, 1, noise.PLAN), noise.PLAN)
        runner, actions = runner_of(world, policy, 1), world.spec.action_space.zeros(horizon)
        durations = action_durations(self.start.step, horizon, self.action_repeat)
        for number, duration in enumerate(durations.tolist()):
            action, is_valid = runner.act(dream)
            if not is_valid.all() and dream.alive.all():
                raise NotFiniteInputError(f"policy: its scores are NaN at action {number + 1}")
            actions[number:] = action[0]
            for _ in range(duration):
                outcome = yield from dream.advance(action, self.until_s())
                if outcome is None or not outcome.finite.all():
                    return actions
        return actions

    def _all_on_device(
        self, backend: DeviceBackend, actions: Actions, held: Int64, seeds: UInt64
    ) -> Work[CandidateValues]:
        """Evaluate N candidates in calls of many; at the deadline at least one has been made."""
        values, calls = np.full(len(actions) * self.particles, -np.inf), 0
        most = max(1, _ON_DEVICE // self.particles)
        for first in range(0, len(actions), most):
            dreamt = first * self.particles
            if first and self.clock() >= self.until_s():
                return self._cut_short(values, dreamt, values, calls)
            some = actions[first : first + most, held]
            rows = len(some) * self.particles
            values[dreamt : dreamt + rows] = self._on_device(backend, some, seeds)
            calls += len(held) * -(-rows // self.slice_rows)
            yield None
        return CandidateValues(self._mean(values), calls=calls)

    def _on_device(self, backend: DeviceBackend, steps: Actions, seed: UInt64) -> Values:
        """Evaluate all candidates in one call on the device."""
        start, count = self.start, len(steps)
        numbers = start.step + 1 + np.arange(steps.shape[1])
        keys = np.stack([noise.keys(seed, np.full(len(seed), n), noise.PLAN) for n in numbers], 1)
        if self.particles > 1:
            steps = steps.repeat(self.particles, axis=0)
            keys = np.tile(keys, (count, 1))
        spec, temperature = start.world.spec, start.temperature
        return backend.returns(
            spec, start.latent, start.state, steps, keys, temperature, self.discount
        )

    def _mean(self, values: Values) -> Values:
        mean: Values = values.reshape(-1, self.particles).mean(axis=1)
        return mean
