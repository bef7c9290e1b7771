"""A linear system with quadratic cost, whose optimal control can be computed.

    x' = A x + B u + sigma · sqrt(T) · normal        reward = -(x'ᵀ Q x' + uᵀ R u)

with actions u in a box; dreams do not end. Z state and A action components.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import BoxSpace
from dreamserve_training.evaluation.analytic.base import (
    NO_NOISE_LOG_SIGMA,
    Float64,
    Optimum,
    as_stored,
    draw,
    exact_bank,
    gaussian_spec,
    step_output,
)
from dreamserve_training.evaluation.analytic.quadratic import Problem, solve
from dreamserve_training.export.graphs import NEVER_DONE


class LinearQuadratic:
    """The system with `a` (Z, Z), `b` (Z, A), `q` (Z, Z) and `r` (A, A), rounded to float16.

    Actions are within `low` and `high` (A,); `starts` (N, Z) are the bank; `sigma`, a number or
    (Z,), is the process noise; if it is 0, temperature has no effect. Raises ValueError if, after
    rounding, q or r is not symmetric, q not positive semidefinite, or r not positive definite.
    """

    reach = 4.0

    def __init__(
        self,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        q: npt.ArrayLike,
        r: npt.ArrayLike,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        starts: npt.ArrayLike,
        sigma: npt.ArrayLike = 0.0,
    ) -> None:
        self.a, self.b, self.q, self.r = (as_stored(matrix) for matrix in (a, b, q, r))
        self.low, self.high, self.starts = as_stored(low), as_stored(high), as_stored(starts)
        spread = np.broadcast_to(np.asarray(sigma, np.float64), self.a.shape[:1])
        self.log_sigma = as_stored([np.log(s) if s > 0 else NO_NOISE_LOG_SIGMA for s in spread])
        for name, matrix in (("q", self.q), ("r", self.r)):
            if not np.array_equal(matrix, matrix.T):
                raise ValueError(f"{name} must be symmetric")
        if np.linalg.eigvalsh(self.q).min() < -1e-12 or np.linalg.eigvalsh(self.r).min() <= 0:
            raise ValueError("q must be positive semidefinite and r positive definite")

    def value(
        self,
        start: npt.ArrayLike,
        actions: npt.ArrayLike,
        discount: float = 1.0,
        temperature: float = 1.0,
    ) -> Float64:
        """Return the expected discounted sum of rewards (…) of `actions` (…, H, A) from `start`.

        The noise adds tr(Q Σ), with the state's covariance Σ, to the cost of all actions alike.
        """
        sequences = np.asarray(actions, np.float64)
        x: Float64 = np.asarray(start, np.float64)
        spread, weight = np.zeros_like(self.a), 1.0
        total = np.zeros(sequences.shape[:-2])
        for t in range(sequences.shape[-2]):
            u = sequences[..., t, :]
            x = x @ self.a.T + u @ self.b.T
            spread = self.a @ spread @ self.a.T + np.diag(temperature * np.exp(2 * self.log_sigma))
            total -= weight * (self._cost(x, u) + np.trace(self.q @ spread))
            weight *= discount
        return total

    def best(
        self,
        start: npt.ArrayLike,
        horizon: int,
        discount: float = 1.0,
        temperature: float = 1.0,
    ) -> Optimum:
        """Return the open-loop optimum from `start` (Z,), with actions (H, A) within the bounds.

        Raises ArithmeticError if its gap exceeds 1e-9 (relative, for costs above 1).
        """
        problem = Problem(self.a, self.b, self.q, self.r, horizon, discount)
        actions, gap = solve(problem, np.asarray(start, np.float64), self.low, self.high)
        return Optimum(float(self.value(start, actions, discount, temperature)), actions, gap)

    def spec(self, name: str) -> WorldSpec:
        """Return the spec of the world, called `name`."""
        names = tuple(f"u{i}" for i in range(len(self.low)))
        space = BoxSpace(low=tuple(self.low), high=tuple(self.high), names=names)
        return gaussian_spec(name, space, len(self.a))

    def bank(self) -> Arrays:
        """Return the bank of `starts`."""
        return exact_bank(self.starts)

    def graph(self) -> nn.Module:
        """Return the step in torch, to be exported."""
        return _Step(self)

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step's outputs, computed in numpy."""
        u = batch.action.astype(np.float64)
        mean = batch.latent.astype(np.float64) @ self.a.T + u @ self.b.T
        log_sigma = np.broadcast_to(self.log_sigma, mean.shape)
        latent = draw(mean, log_sigma, batch)
        reward = -self._cost(latent, u)
        return step_output(latent, reward, np.full_like(reward, NEVER_DONE), mean, log_sigma)

    def _cost(self, x: Float64, u: Float64) -> Float64:
        """Return the cost (…) of the next state x (…, Z) and the action u (…, A)."""
        cost: Float64 = ((x @ self.q) * x).sum(axis=-1) + ((u @ self.r) * u).sum(axis=-1)
        return cost


def random_system(
    seed: int,
    states: int = 4,
    actions: int = 2,
    bound: float = 1.0,
    sigma: float = 0.0,
    starts: int = 8,
) -> LinearQuadratic:
    """Return a stable system (spectral radius 0.95) with actions in [-bound, bound].

    Starts are standard normal. The optimal actions are well within a bound of 10. A bound of 1 is
    active at the first steps of some systems, one of 1/4 in all, in most for many of 20 steps.
    """
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((states, states))
    a *= 0.95 / np.abs(np.linalg.eigvals(a)).max()
    high = np.full(actions, bound)
    return LinearQuadratic(
        a=a,
        b=rng.standard_normal((states, actions)) / np.sqrt(actions),
        q=np.eye(states) / states,
        r=np.eye(actions) / (8 * actions),
        low=-high,
        high=high,
        starts=rng.standard_normal((starts, states)),
        sigma=sigma,
    )


class _Step(nn.Module):
    """The step in torch; the dynamics are one matrix product with [x, u]."""

    dynamics: Tensor
    q: Tensor
    r: Tensor
    log_sigma: Tensor

    def __init__(self, world: LinearQuadratic) -> None:
        super().__init__()
        buffers = {
            "dynamics": np.concatenate([world.a, world.b], axis=1).T,  # (Z + A, Z)
            "q": world.q,
            "r": world.r,
            "log_sigma": world.log_sigma,
        }
        for name, numbers in buffers.items():
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32))

    def forward(
        self, latent: Tensor, action: Tensor, temperature: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        mean = torch.cat([latent, action], dim=1) @ self.dynamics
        log_sigma = self.log_sigma.expand_as(mean)
        drawn = mean + torch.exp(log_sigma) * torch.sqrt(temperature)[:, None] * noise
        reward = -((drawn @ self.q) * drawn).sum(dim=1) - ((action @ self.r) * action).sum(dim=1)
        never, logits = torch.full_like(reward, NEVER_DONE), torch.zeros_like(reward)[:, None]
        return drawn, reward, never, logits, mean[:, None], log_sigma[:, None]
