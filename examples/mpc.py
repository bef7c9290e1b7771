"""Play the real TakeCover by planning in dreams: model predictive control over HTTP.

    make serve                                                 # in another terminal
    .venv/bin/pip install ./clients/python vizdoom
    .venv/bin/python examples/mpc.py --episodes 3

The agent sends every real frame to its dream, which then continues from what really happened, and
takes the first action of a plan made from there. It prints how many steps each episode lasted;
random actions last about 227 steps. The game waits for each action; `--budget-ms` bounds the wait.
"""

import argparse
from typing import Any

import gymnasium
import vizdoom.gymnasium_wrapper  # noqa: F401 - registers the environment

from dreamserve_client import DreamClient, Objective

PLAN: dict[str, Any] = {
    "planner": "random_shooting",
    "horizon": 5,
    "action_repeat": 10,  # so a plan looks 50 steps ahead
    "candidates": 24,
    "temperature": 0.0,  # candidates differ only by their actions, not by their noise
    "objective": Objective(reward=1.0),  # 1 for each step that the agent survives
    "discount": 1.0,
}


def play(
    client: DreamClient, env: gymnasium.Env[Any, Any], seed: int, max_steps: int, budget_ms: float
) -> int:
    """Play one real episode; return its length in steps."""
    observation, _ = env.reset(seed=seed)
    start = {"frames": observation["screen"][None]}  # (1, 240, 320, 3) uint8, as the camera gives
    with client.dream("takecover", seed=seed, start=start) as dream:
        for step in range(1, max_steps + 1):
            action = int(dream.plan(**PLAN, budget_ms=budget_ms).action)
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                return step
            dream.step(action, observation=observation["screen"])
    return max_steps


def main() -> None:
    """Play, and print the lengths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=2100)
    parser.add_argument("--budget-ms", type=float, default=15.0, help="for each plan")
    args = parser.parse_args()
    env = gymnasium.make("VizdoomTakeCover-v1")
    with DreamClient(args.url) as client:
        for seed in range(1_000_000, 1_000_000 + args.episodes):  # not used in training
            length = play(client, env, seed, args.max_steps, args.budget_ms)
            print(f"seed {seed}: {length} steps")
    env.close()


if __name__ == "__main__":
    main()
