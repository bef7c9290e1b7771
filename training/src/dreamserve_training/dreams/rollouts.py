"""Record episodes of any Gymnasium environment, dreamed or real, and compute statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve.local import LocalClient
from dreamserve_protocol.policies import AnyPolicy
from dreamserve_protocol.rollout import RolloutResult
from dreamserve_training.dreams.agents import DreamAgent
from dreamserve_training.dreams.environment import DreamEnvironment
from dreamserve_training.dreams.policies import world_with
from dreamserve_training.models.controller import Policy

Rollout = dict[str, npt.NDArray[Any]]


class Agent(Protocol):
    """Chooses actions."""

    def act(self, observation: npt.NDArray[np.float32]) -> Any:
        """Return the action for `observation`."""
        ...


@dataclass(frozen=True)
class DreamRollout:
    """Functions over whole episodes.

    A rollout is a dict of arrays: `observations` (T + 1, …), `actions` (T, …), `rewards` (T,)
    float32, `terminated` and `truncated` (T,) bool. `actions[t]` is taken in `observations[t]`.
    """

    @staticmethod
    def generate_rollout(
        env: gymnasium.Env[Any, Any],
        agent: Agent,
        max_steps: int = 1000,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> Rollout:
        """Play one episode of at most `max_steps` steps; `seed`, `options`: see `env.reset`."""
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {max_steps}")
        observation, _ = env.reset(seed=seed, options=options)
        observations, actions, rewards, ends = [observation], [], [], []
        for _ in range(max_steps):
            action = agent.act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
            ends.append((terminated, truncated))
            if terminated or truncated:
                break
        return {
            "observations": np.stack(observations),
            "actions": np.stack(actions),
            "rewards": np.array(rewards, np.float32),
            "terminated": np.array([end[0] for end in ends], np.bool_),
            "truncated": np.array([end[1] for end in ends], np.bool_),
        }

    @staticmethod
    def generate_rollouts(
        env: gymnasium.Env[Any, Any],
        agent: Agent,
        episodes: int,
        max_steps: int = 1000,
        *,
        seed: int = 0,
    ) -> list[Rollout]:
        """Play `episodes` episodes; episode i has the seed `seed` + i."""
        return [
            DreamRollout.generate_rollout(env, agent, max_steps, seed=seed + episode)
            for episode in range(episodes)
        ]

    @staticmethod
    def evaluate(
        env: DreamEnvironment,
        policy: AnyPolicy | Policy | DreamAgent,
        episodes: int,
        max_steps: int = 1000,
        *,
        seed: int = 0,
        trajectories: bool = False,
    ) -> RolloutResult:
        """Dream `episodes` episodes of a policy in batches; the state of `env` does not change.

        A policy of `models.controller`, or a network, is called with the features of all dreams.
        Episode i is the dream that `env.reset(seed=seed + i)` starts. A linear policy may hold P
        policies: results are (P, E), and `statistics` has the terms of `summary` for each policy.
        With `trajectories`, `episodes_of` converts the result to rollouts.
        """
        limit, dream = env.max_episode_steps, env.dream
        played: Any = policy.policy() if isinstance(policy, DreamAgent) else policy
        if isinstance(played, Policy):
            dream, played = LocalClient(world_with(env.world, played)), "bundled"
        return dream.rollout(
            policy=played,
            seeds=seed + np.arange(episodes),
            max_steps=max_steps if limit is None else min(max_steps, limit),
            temperature=env.temperature,
            include=["trajectories"] if trajectories else [],
        )

    @staticmethod
    def episodes_of(result: RolloutResult, policy: int = 0) -> list[Rollout]:
        """Return one policy's finite episodes as rollouts; ValueError without trajectories."""
        if result.latents is None or result.actions is None or result.rewards is None:
            raise ValueError("this result has no trajectories: evaluate with trajectories=True")
        rollouts = []
        for e in np.flatnonzero(result.finite[policy]):
            length = int(result.lengths[policy, e])
            last = np.arange(length) == length - 1
            rollouts.append(
                {
                    "observations": result.latents[policy, e, : length + 1],
                    "actions": result.actions[policy, e, :length],
                    "rewards": result.rewards[policy, e, :length],
                    "terminated": last & result.terminated[policy, e],
                    "truncated": last & ~result.terminated[policy, e],
                }
            )
        return rollouts

    @staticmethod
    def rollout_statistics(rollout: Rollout) -> dict[str, float]:
        """Return the statistics of one episode.

        episode_length (steps), total_reward, mean_reward, std_reward, min_reward, max_reward,
        terminated and truncated (1.0 or 0.0), and mean_latent_change (root mean square of the
        change of the observation's components per step).
        """
        rewards = rollout["rewards"].astype(np.float64)
        change = np.diff(rollout["observations"].astype(np.float64), axis=0)
        return {
            "episode_length": len(rewards),
            "total_reward": float(rewards.sum()),
            "mean_reward": float(rewards.mean()),
            "std_reward": float(rewards.std()),
            "min_reward": float(rewards.min()),
            "max_reward": float(rewards.max()),
            "terminated": float(rollout["terminated"][-1]),
            "truncated": float(rollout["truncated"][-1]),
            "mean_latent_change": float(np.sqrt(np.square(change).mean())),
        }

    @staticmethod
    def summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Return the number of episodes, mean and std of return and length, share terminated.

        Standard deviations are sample ones (n - 1), 0 for a single episode. ValueError for none.
        """
        if not rollouts:
            raise ValueError("no rollouts to summarise")
        returns = np.array([rollout["rewards"].sum() for rollout in rollouts], np.float64)
        lengths = np.array([len(rollout["rewards"]) for rollout in rollouts], np.float64)
        ddof = min(1, len(rollouts) - 1)
        return {
            "episodes": len(rollouts),
            "mean_return": float(returns.mean()),
            "std_return": float(returns.std(ddof=ddof)),
            "mean_length": float(lengths.mean()),
            "std_length": float(lengths.std(ddof=ddof)),
            "share_terminated": float(np.mean([r["terminated"][-1] for r in rollouts])),
        }
