"""A tree of choices with a reward at every node: discrete plans whose best one can be counted out.

The latent is one number, the node where the dream stands. The root is 0, and action k leads from
node n to its child A·n + 1 + k, whole numbers that float32 holds exactly. Entering a node earns its
reward. A leaf ends the dream, and so does any node that the world says ends it; steps
beyond that, which no planner should value, go on down the tree and stay on a leaf without reward.
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
    CERTAIN,
    Float64,
    Optimum,
    as_stored,
    draw,
    exact_bank,
    gaussian_spec,
    step_output,
)

ENDS, GOES_ON = 8.0, -8.0  # done logits, far on either side of the threshold of 0
_LARGEST = 2**16  # nodes; the best path is found by counting them all

Int64 = npt.NDArray[np.int64]


class Tree:
    """The tree of `depth` steps whose node n earns rewards[n] and ends the dream if ends[n].

    `rewards` (nodes,) are kept as float16 holds them; `ends` (nodes,), None for the leaves alone.
    Raises ValueError for arrays that do not fit the tree, and for a tree too large to count.
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
        if self.nodes > _LARGEST:
            raise ValueError(f"{self.nodes:,} nodes, at most {_LARGEST:,}")
        if not self.rewards.shape == ends_inside.shape == (self.nodes,):
            raise ValueError(f"a tree of depth {depth} has {self.nodes} nodes, and as many rewards")
        self.ends = leaf | ends_inside
        self.reach = float(2 ** np.ceil(np.log2(self.nodes)))

    def value(self, actions: npt.ArrayLike, discount: float = 1.0, start: int = 0) -> Float64:
        """Return the discounted sum of rewards (…) of actions (…, H) int from node `start`.

        A path that has ended earns nothing more.
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
        """Return the best path from the root, found by trying them all.

        It has `horizon` actions, but never more than the depth: beyond a leaf nothing is earned.
        """
        paths = self.paths(self.depth if horizon is None else min(horizon, self.depth))
        values = self.value(paths, discount)
        top = int(np.argmax(values))
        return Optimum(float(values[top]), paths[top])

    def spec(self, name: str) -> WorldSpec:
        """Return what the world called `name` is."""
        names = tuple(f"branch {k}" for k in range(self.actions))
        return gaussian_spec(name, DiscreteSpace(n=self.actions, names=names), 1)

    def bank(self) -> Arrays:
        """Return the root."""
        return exact_bank([[0.0]])

    def graph(self) -> nn.Module:
        """Return the step to be exported."""
        return _Step(self)

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step, in numpy. Latents between nodes count as the nearest one."""
        at = np.clip(np.rint(batch.latent[:, 0]), 0, self.nodes - 1).astype(np.int64)
        entered, node = self._enter(at, batch.action.astype(np.int64))
        mean = node.astype(np.float64)[:, None]
        log_sigma = np.full_like(mean, CERTAIN)
        done_logit = np.where(self.ends[node], ENDS, GOES_ON)
        reward = np.where(entered, self.rewards[node], 0.0)
        return step_output(draw(mean, log_sigma, batch), reward, done_logit, mean, log_sigma)

    def _enter(self, node: Int64, action: Int64) -> tuple[npt.NDArray[np.bool_], Int64]:
        """Return whether `node` (…) has children, and the child, or else the node itself."""
        inner = node < self.first_leaf
        return inner, np.where(inner, self.actions * node + 1 + action, node)


def nodes_of(depth: int, actions: int = 3) -> int:
    """Return how many nodes a tree of `depth` steps has, the root among them."""
    return sum(actions**level for level in range(depth + 1))


def random_tree(depth: int = 6, seed: int = 0) -> Tree:
    """Return a tree with rewards drawn uniformly from (0, 1)."""
    return Tree(depth, np.random.default_rng(seed).uniform(size=nodes_of(depth)))


def deceptive_tree(depth: int = 6) -> Tree:
    """Return a trap (Deb and Goldberg 1993): parts of a plan mislead about the whole.

    Branch 0 earns 1/8 at every step and branch 1 half of that, branch 2 costs 1/16; but the path of
    2s alone ends with a prize of 1/4 a step and 1 more, which makes it the best there is.
    """
    rewards = np.zeros(nodes_of(depth))
    rewards[1:] = np.tile([1 / 8, 1 / 16, -1 / 16], len(rewards) // 3)
    rewards[-1] += 1 + depth / 4  # the last leaf is that of 2s
    return Tree(depth, rewards)


def ending_tree(depth: int = 6, seed: int = 0) -> Tree:
    """Return a random tree that ends halfway along the path that would otherwise be the best.

    A planner that counts rewards after an end finds another plan than the best one.
    """
    endless = random_tree(depth, seed)
    node, ends = 0, np.zeros(endless.nodes, np.bool_)
    for action in endless.best().actions[: (depth + 1) // 2]:
        node = endless.actions * node + 1 + int(action)
    ends[node] = True
    return Tree(depth, endless.rewards, ends)


class _Step(nn.Module):
    """The step in torch: the tables are looked up by the node's number."""

    rewards: Tensor
    done_logits: Tensor

    def __init__(self, world: Tree) -> None:
        super().__init__()
        self.actions, self.first_leaf, self.last = world.actions, world.first_leaf, world.nodes - 1
        logits = np.where(world.ends, ENDS, GOES_ON)
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
        log_sigma = torch.full_like(mean, CERTAIN)
        drawn = mean + torch.exp(log_sigma) * torch.sqrt(temperature)[:, None] * noise
        logits = torch.zeros_like(mean)
        return drawn, reward, self.done_logits[index], logits, mean[:, None], log_sigma[:, None]
