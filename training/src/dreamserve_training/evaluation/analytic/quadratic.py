"""The optimum of a finite-horizon linear-quadratic problem, with and without bounds.

    minimise  Σ_t γ^t (x_{t+1}ᵀ Q x_{t+1} + u_tᵀ R u_t)   where x_{t+1} = A x_t + B u_t

Without bounds by the Riccati recursion (Bertsekas, Dynamic Programming and Optimal Control, 4.1);
with bounds as one least-squares problem in all actions at once, by an active set (Stark and Parker
1995, Bounded-variable least squares). Either way the answer carries a proof of its own.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from dreamserve_training.evaluation.analytic.base import Float64

PROVEN = 1e-9


class Problem(NamedTuple):
    """All but the start and the bounds. Z states, A action components, H steps."""

    a: Float64  # (Z, Z)
    b: Float64  # (Z, A)
    q: Float64  # (Z, Z)
    r: Float64  # (A, A)
    horizon: int
    discount: float


def solve(problem: Problem, start: Float64, low: Float64, high: Float64) -> tuple[Float64, float]:
    """Return the best actions (H, A) within low and high (A,), and how far off they may be.

    Raises ArithmeticError if that is more than PROVEN (of the cost, where it is beyond 1).
    """
    matrix, target = least_squares(problem, start)
    actions = riccati(problem, start)
    if (actions < low).any() or (actions > high).any():
        actions = bounded(problem, matrix, target, low, high)
    residual = matrix @ actions.ravel() - target
    slope = (2 * matrix.T @ residual).reshape(actions.shape)
    gap = duality_gap(slope, actions, low, high)
    if gap > PROVEN * max(1.0, float(residual @ residual)):
        raise ArithmeticError(f"the optimum is only known to within {gap:.2g}")
    return actions, gap


def riccati(problem: Problem, start: Float64) -> Float64:
    """Return the best actions (H, A) where nothing bounds them."""
    a, b, q, r, horizon, discount = problem
    cost_to_go, gains = np.zeros_like(q), []
    for _ in range(horizon):
        ahead = q + discount * cost_to_go
        gain = np.linalg.solve(r + b.T @ ahead @ b, b.T @ ahead @ a)
        cost_to_go = a.T @ ahead @ (a - b @ gain)
        gains.append(gain)
    x, actions = start, []
    for gain in reversed(gains):
        actions.append(-gain @ x)
        x = a @ x + b @ actions[-1]
    return np.stack(actions)


def least_squares(problem: Problem, start: Float64) -> tuple[Float64, Float64]:
    """Return M (H·(Z + A), H·A) and y: the whole cost is |M u - y|², u all actions in a row."""
    a, b, q, r, horizon, discount = problem
    states, size = b.shape
    root_q, root_r = _root(q), _root(r)
    reached = np.zeros((states, horizon * size))  # x_t = reached @ u + free
    free, rows, targets = start, [], []
    for t in range(horizon):
        own = slice(t * size, (t + 1) * size)
        reached, free, weight = a @ reached, a @ free, discount ** (t / 2)
        reached[:, own] += b
        paid = np.zeros((size, horizon * size))
        paid[:, own] = root_r
        rows += [weight * root_q @ reached, weight * paid]
        targets += [-weight * root_q @ free, np.zeros(size)]
    return np.concatenate(rows), np.concatenate(targets)


def bounded(
    problem: Problem, matrix: Float64, target: Float64, low: Float64, high: Float64
) -> Float64:
    """Return the best actions (H, A) within low and high (A,)."""
    bounds = np.tile(low, problem.horizon), np.tile(high, problem.horizon)
    # its own stopping rule is about progress; `duality_gap` is what tells whether it arrived
    found = lsq_linear(
        matrix, target, bounds, method="bvls", tol=1e-15, max_iter=20 * matrix.shape[1]
    )
    actions: Float64 = np.clip(found.x, *bounds).reshape(problem.horizon, -1)
    return actions


def duality_gap(slope: Float64, actions: Float64, low: Float64, high: Float64) -> float:
    """Return how much cheaper any actions within the bounds can be, at most (Frank and Wolfe 1956).

    A convex cost lies above its tangent, and the tangent is least in a corner. All (H, A).
    """
    return float(np.maximum(slope * (actions - low), slope * (actions - high)).sum())


def _root(matrix: Float64) -> Float64:
    """Return L with LᵀL = matrix, which is positive semidefinite."""
    values, vectors = np.linalg.eigh(matrix)
    root: Float64 = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root
