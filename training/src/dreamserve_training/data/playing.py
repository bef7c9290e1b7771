"""The steps of a real episode that an agent plays, recorded or judged."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dreamserve_training.data.agents import Agent
from dreamserve_training.env_values import Observed
from dreamserve_training.envs import RealEnv, running


class Step(NamedTuple):
    """One step of an episode."""

    seen: Observed  # before it
    action: Any  # of the spec's space
    reward: float
    terminated: bool
    recorded: Mapping[str, float]  # what the spec's `record` returns


def steps_of(env: RealEnv, agent: Agent, seed: int, limit: int | None = None) -> Iterator[Step]:
    """Play the episode `seed`; yield its steps, at most `limit` and as many as the spec allows.

    An agent that has no more actions (StopIteration) ends the episode, too. Raises what `RealEnv`
    raises, FailedEnvironmentError for an agent that fails, and InvalidActionError for an action
    that is not in the spec's space.
    """
    spec = env.spec
    seen: Any = env.reset(seed)
    with running(env.place()):
        agent.begin(seen, seed)
    for _ in range(min(spec.max_episode_steps, limit or spec.max_episode_steps)):
        try:
            with running(f"{env.place()}: the next action", StopIteration):
                chosen = agent.act()
        except StopIteration:
            return
        action = spec.action_space.check(chosen)
        before = seen
        seen, reward, terminated, truncated, recorded = env.step(action)
        yield Step(before, action, reward, terminated, recorded)
        if terminated or truncated:
            return
        with running(env.place()):
            agent.see(action, seen)
