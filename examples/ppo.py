"""Train an agent with PPO of stable-baselines3 in dreams alone, then let it play the real game.

    .venv/bin/pip install ./service './clients/python[sb3]' vizdoom
    .venv/bin/python examples/ppo.py                     # about 7 minutes on two cores
    .venv/bin/python examples/ppo.py --steps 100000      # a quick try

It needs no server, and saves the agent. It observes the latent and the memory's state, as the
paper's controller does. In the game a session follows it: every step has the real frame as its
`observation`. Dreams are cut at 200 steps while it learns, and its log shows 200 at most. A run:

    | agent | return in dreams | in the game (standard error) |
    |---|---|---|
    | random | 184 | 230 (13) |
    | before (random weights) | 152 | |
    | after | 1046 | 680 (51) |
"""

import argparse
from typing import Any

import gymnasium
import numpy as np
import torch
import vizdoom.gymnasium_wrapper  # noqa: F401 - registers the game
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from dreamserve_client import DreamClient, InProcess
from dreamserve_client.envs.sb3 import DreamVecEnv

OBSERVED = ("latent", "h", "c")
TEMPERATURE = 1.15  # more random than the data, so that it does not learn the model's faults


class RandomAgent:
    """Takes uniformly random actions."""

    generator = np.random.default_rng(0)

    def predict(self, observations: Any, *args: Any, **options: Any) -> tuple[Any, None]:
        """Return an action for each observation."""
        return self.generator.integers(3, size=len(observations)), None


def dreams(client: DreamClient, count: int, steps: int) -> DreamVecEnv:
    """Return dreams that are cut at so many steps."""
    limits = {"temperature": TEMPERATURE, "max_episode_steps": steps}
    return DreamVecEnv(client=client, num_envs=count, observation=OBSERVED, **limits)


def untrained(envs: DreamVecEnv) -> PPO:
    """Return an agent: a linear policy and a small critic."""
    return PPO(
        "MlpPolicy",
        VecNormalize(VecMonitor(envs), norm_obs=False, gamma=0.99),
        learning_rate=lambda left: 5e-4 * left,
        n_steps=64,
        batch_size=min(4096, 64 * envs.num_envs),
        n_epochs=4,
        gamma=0.99,
        ent_coef=0.003,
        policy_kwargs={"net_arch": {"pi": [], "vf": [128]}},
        seed=0,
        verbose=1,
        device="cpu",
    )


def dream_return(client: DreamClient, agent: Any, count: int, steps: int) -> float:
    """Return the mean return of whole dreams."""
    envs = dreams(client, count, steps)
    envs.seed(10**9)
    mean, _ = evaluate_policy(agent, envs, n_eval_episodes=count, warn=False)
    envs.close()
    return float(mean)


def real_return(client: DreamClient, agent: Any, episodes: int, steps: int) -> str:
    """Return the mean return in the real game and its standard error."""
    game, returns = gymnasium.make("VizdoomTakeCover-v1"), np.zeros(episodes)
    for episode in range(episodes):
        seen, _ = game.reset(seed=10**6 + episode)
        start = {"frames": seen["screen"][None]}  # (1, 240, 320, 3) uint8, as the camera gives
        with client.dream(seed=episode, start=start, include=["state"]) as dream:
            now = dream.first
            for _ in range(steps):
                tensors = {"latent": now.latent, **now.state}
                observation = np.concatenate([tensors[name] for name in OBSERVED])
                (action,), _ = agent.predict(observation[None], deterministic=True)
                seen, reward, terminated, *_ = game.step(int(action))
                returns[episode] += reward
                if terminated:
                    break
                now = dream.step(int(action), observation=seen["screen"], include=["state"])
    game.close()
    return f"{returns.mean():.0f} ({returns.std(ddof=1) / episodes**0.5:.0f})"


def main() -> None:
    """Train, evaluate in dreams and in the game, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="bundles/takecover", help="the world")
    parser.add_argument("--dreams", type=int, default=256, help="at once")
    parser.add_argument("--steps", type=int, default=1_500_000, help="of training, 1.5 million")
    parser.add_argument("--episodes", type=int, default=50, help="in the game")
    parser.add_argument("--max-steps", type=int, default=2100, help="of an evaluated episode")
    parser.add_argument("--save", default="build/ppo.zip", help="the agent, for PPO.load")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    client, lines = DreamClient(transport=InProcess(asked.bundle)), []
    envs = dreams(client, asked.dreams, steps=200)  # short, so that it sees many beginnings
    agent = untrained(envs)
    for name, judged in (("random", RandomAgent()), ("before", agent), ("after", agent)):
        if name == "after":
            print(f"learning: {asked.steps:,} steps, {asked.dreams} dreams at once", flush=True)
            agent.learn(asked.steps, log_interval=5)
            agent.save(asked.save)
        print(f"playing: {name}, {asked.dreams} dreams, {asked.episodes} games", flush=True)
        dreamt = dream_return(client, judged, asked.dreams, asked.max_steps)
        real = name != "before" and real_return(client, judged, asked.episodes, asked.max_steps)
        lines.append(f"| {name} | {dreamt:.0f} | {real or ''} |")
    envs.close()
    print("\n| agent | return in dreams | in the game (standard error) |\n|---|---|---|")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
