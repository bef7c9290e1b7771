"""A tree with a reward at every node, whose best path can be found by enumeration.

The latent is one number, the index of the current node, which float32 represents exactly. The root
is 0, and action k leads from node n to its child A·n + 1 + k. Entering a node earns its reward.
Leaves and the nodes in `ends` end the dream. Later steps, which no planner should value, continue
down the tree and stay at a leaf without reward.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import DiscreteSpace
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

DONE, NOT_DONE = 8.0, -8.0  # done logits, far from the threshold 0
_MAX_NODES = 2**16  # the best path is found by enumeration

Int64 = npt.NDArray[np.int64]


class Tree:
    """A tree of `depth` steps. Node n earns rewards[n] and ends the dream if ends[n].

    `rewards` (nodes,) are rounded to float16; `ends` is (nodes,), by default only the leaves.
    Raises ValueError for arrays that do not fit the tree and for a tree of over 65,536 nodes.
    """

    def __init__(
        self,
        depth: int,
        rewards: npt.ArrayLike,
        ends: npt.ArrayLike | None = None,
        actions: int = 3,
    ) -> None:
        self.depth, self.actions = depth, actions
        self.first_leaf, self.nodes = nodes_of(depth - 1, actions), nodes_of(depth, actions)
        self.rewards = as_stored(rewards)
        leaf = np.arange(self.nodes) >= self.first_leaf
        ends_inside = np.zeros(self.nodes, np.bool_) if ends is None else np.asarray(ends, np.bool_)
        if self.nodes > _MAX_NODES:
            raise ValueError(f"a tree may have at most {_MAX_NODES:,} nodes, not {self.nodes:,}")
        if not self.rewards.shape == ends_inside.shape == (self.nodes,):
            raise ValueError(f"a tree of depth {depth} has {self.nodes} nodes and rewards")
        self.ends = leaf | ends_inside
        self.reach = float(2 ** np.ceil(np.log2(self.nodes)))

    def value(self, actions: npt.ArrayLike, discount: float = 1.0, start: int = 0) -> Float64:
        """Return the discounted sum of rewards (…) of `actions` (…, H) int from node `start`.

        Steps after the dream's end earn nothing.
        """
        sequences = np.asarray(actions, np.int64)
        node = np.full(sequences.shape[:-1], start)
        alive, total, weight = np.ones(node.shape, np.bool_), np.zeros(node.shape), 1.0
        for t in range(sequences.shape[-1]):
            entered, node = self._enter(node, sequences[..., t])
            total += weight * np.where(alive & entered, self.rewards[node], 0.0)
            alive &= ~self.ends[node]
            weight *= discount
        return total

    def paths(self, horizon: int) -> Int64:
        """Return all sequences of `horizon` actions, (A^H, H)."""
        return np.indices((self.actions,) * horizon).reshape(horizon, -1).T

    def best(self, horizon: int | None = None, discount: float = 1.0) -> Optimum:
        """Return the best path from the root, found by enumeration.

        It has `horizon` actions (default: the depth), but not more than the depth.
        """
        paths = self.paths(self.depth if horizon is None else min(horizon, self.depth))
        values = self.value(paths, discount)
        best = int(np.argmax(values))
        return Optimum(float(values[best]), paths[best])

    def spec(self, name: str) -> WorldSpec:
        """Return the spec of the world, called `name`."""
        names = tuple(f"branch {k}" for k in range(self.actions))
        return gaussian_spec(name, DiscreteSpace(n=self.actions, names=names), 1)

    def bank(self) -> Arrays:
        """Return the only start, the root."""
        return exact_bank([[0.0]])

    def graph(self) -> nn.Module:
        """Return the step in torch, to be exported."""
        return _Step(self)

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step's outputs, computed in numpy. Latents are rounded to the nearest node."""
        at = np.clip(np.rint(batch.latent[:, 0]), 0, self.nodes - 1).astype(np.int64)
        entered, node = self._enter(at, batch.action.astype(np.int64))
        mean = node.astype(np.float64)[:, None]
        log_sigma = np.full_like(mean, NO_NOISE_LOG_SIGMA)
        done_logit = np.where(self.ends[node], DONE, NOT_DONE)
        reward = np.where(entered, self.rewards[node], 0.0)
        return step_output(draw(mean, log_sigma, batch), reward, done_logit, mean, log_sigma)

    def _enter(self, node: Int64, action: Int64) -> tuple[npt.NDArray[np.bool_], Int64]:
        """Return whether each `node` (…) has children, and its child, or itself if it has none."""
        inner = node < self.first_leaf
        return inner, np.where(inner, self.actions * node + 1 + action, node)


def nodes_of(depth: int, actions: int = 3) -> int:
    """Return the number of nodes of a tree of `depth` steps, root included."""
    return sum(actions**level for level in range(depth + 1))


def random_tree(depth: int = 6, seed: int = 0) -> Tree:
    """Return a tree of 3 actions with rewards drawn uniformly from (0, 1)."""
    return Tree(depth, np.random.default_rng(seed).uniform(size=nodes_of(depth)))


def deceptive_tree(depth: int = 6) -> Tree:
    """Return a deceptive problem (Deb and Goldberg 1993): good first steps lead to worse plans.

    Every step earns 1/8 in branch 0, 1/16 in branch 1 and -1/16 in branch 2, but the path of only
    2s ends with an additional reward of 1 + depth / 4, which makes it the best path.
    """
    rewards = np.zeros(nodes_of(depth))
    rewards[1:] = np.tile([1 / 8, 1 / 16, -1 / 16], len(rewards) // 3)
    rewards[-1] += 1 + depth / 4  # the last leaf ends the path of only 2s
    return Tree(depth, rewards)


def ending_tree(depth: int = 6, seed: int = 0) -> Tree:
    """Return a random tree with an additional end halfway along its best path.

    A planner that counts rewards after an end does not find the best plan of this tree.
    """
    tree = random_tree(depth, seed)
    node, ends = 0, np.zeros(tree.nodes, np.bool_)
    for action in tree.best().actions[: (depth + 1) // 2]:
        node = tree.actions * node + 1 + int(action)
    ends[node] = True
    return Tree(depth, tree.rewards, ends)


class _Step(nn.Module):
    """The step in torch; tables are indexed by the node."""

    rewards: Tensor
    done_logits: Tensor

    def __init__(self, world: Tree) -> None:
        super().__init__()
        self.actions, self.first_leaf, self.last = world.actions, world.first_leaf, world.nodes - 1
        logits = np.where(world.ends, DONE, NOT_DONE)
        self.register_buffer("rewards", torch.tensor(world.rewards, dtype=torch.float32))
        self.register_buffer("done_logits", torch.tensor(logits, dtype=torch.float32))

    def forward(
        self, latent: Tensor, action: Tensor, temperature: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        at = torch.round(latent[:, 0]).clamp(0, self.last)
        inner = at < self.first_leaf
        node = torch.where(inner, self.actions * at + 1 + action.type_as(at), at)
        index = node.long()
        reward = torch.where(inner, self.rewards[index], torch.zeros_like(at))
        mean = node[:, None]
        log_sigma = torch.full_like(mean, NO_NOISE_LOG_SIGMA)
        drawn = mean + torch.exp(log_sigma) * torch.sqrt(temperature)[:, None] * noise
        logits = torch.zeros_like(mean)
        return drawn, reward, self.done_logits[index], logits, mean[:, None], log_sigma[:, None]
