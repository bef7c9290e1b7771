"""The optimum of a finite-horizon linear-quadratic problem, with and without bounds.

    minimise  Σ_t γ^t (x_{t+1}ᵀ Q x_{t+1} + u_tᵀ R u_t)   where x_{t+1} = A x_t + B u_t

Without active bounds the Riccati recursion solves it (Bertsekas, Dynamic Programming and Optimal
Control, 4.1); with them an active-set method solves it as one least-squares problem in all actions
(Stark and Parker 1995, Bounded-variable least squares). A duality gap proves either solution.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from dreamserve_training.evaluation.analytic.base import Float64

MAX_GAP = 1e-9


class Problem(NamedTuple):
    """A problem without its start and bounds. Z state components, A action components, H steps."""

    a: Float64  # (Z, Z)
    b: Float64  # (Z, A)
    q: Float64  # (Z, Z)
    r: Float64  # (A, A)
    horizon: int
    discount: float


def solve(problem: Problem, start: Float64, low: Float64, high: Float64) -> tuple[Float64, float]:
    """Return the best actions (H, A) within `low` and `high` (A,), and their duality gap.

    Raises ArithmeticError if the gap exceeds MAX_GAP (relative, for costs above 1).
    """
    matrix, target = least_squares(problem, start)
    actions = riccati(problem, start)
    if (actions < low).any() or (actions > high).any():
        actions = bounded(problem, matrix, target, low, high)
    residual = matrix @ actions.ravel() - target
    gradient = (2 * matrix.T @ residual).reshape(actions.shape)
    gap = duality_gap(gradient, actions, low, high)
    if gap > MAX_GAP * max(1.0, float(residual @ residual)):
        raise ArithmeticError(f"the duality gap is {gap:.2g}, above {MAX_GAP:g} (relative)")
    return actions, gap


def riccati(problem: Problem, start: Float64) -> Float64:
    """Return the best actions (H, A) without bounds."""
    a, b, q, r, horizon, discount = problem
    cost_to_go, gains = np.zeros_like(q), []
    for _ in range(horizon):
        p = q + discount * cost_to_go
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        cost_to_go = a.T @ p @ (a - b @ gain)
        gains.append(gain)
    x, actions = start, []
    for gain in reversed(gains):
        actions.append(-gain @ x)
        x = a @ x + b @ actions[-1]
    return np.stack(actions)


def least_squares(problem: Problem, start: Float64) -> tuple[Float64, Float64]:
    """Return M (H·(Z + A), H·A) and y such that the cost of all actions u (H·A) is |M u - y|²."""
    a, b, q, r, horizon, discount = problem
    states, size = b.shape
    root_q, root_r = _root(q), _root(r)
    reached = np.zeros((states, horizon * size))  # x_t = reached @ u + free
    free, rows, targets = start, [], []
    for t in range(horizon):
        current = slice(t * size, (t + 1) * size)
        reached, free, weight = a @ reached, a @ free, discount ** (t / 2)
        reached[:, current] += b
        action_cost = np.zeros((size, horizon * size))
        action_cost[:, current] = root_r
        rows += [weight * root_q @ reached, weight * action_cost]
        targets += [-weight * root_q @ free, np.zeros(size)]
    return np.concatenate(rows), np.concatenate(targets)


def bounded(
    problem: Problem, matrix: Float64, target: Float64, low: Float64, high: Float64
) -> Float64:
    """Return the best actions (H, A) within `low` and `high` (A,)."""
    bounds = np.tile(low, problem.horizon), np.tile(high, problem.horizon)
    # its stopping rule measures progress only; `solve` checks the duality gap
    found = lsq_linear(
        matrix, target, bounds, method="bvls", tol=1e-15, max_iter=20 * matrix.shape[1]
    )
    actions: Float64 = np.clip(found.x, *bounds).reshape(problem.horizon, -1)
    return actions


def duality_gap(gradient: Float64, actions: Float64, low: Float64, high: Float64) -> float:
    """Return a bound of the excess cost of `actions` (H, A), by Frank and Wolfe (1956).

    A convex cost is above its tangent plane, whose minimum within the bounds is in a corner.
    """
    return float(np.maximum(gradient * (actions - low), gradient * (actions - high)).sum())


def _root(matrix: Float64) -> Float64:
    """Return L with LᵀL = `matrix`, a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: Float64 = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root
