"""Train an agent with PPO of stable-baselines3 in dreams alone, then let it play the real game.

    pip install 'dreamserve-client[in-process,sb3]' 'dreamserve-training[vizdoom]'
    python examples/ppo.py                                      # about 10 minutes on two cores
    python examples/ppo.py --steps 2048 --real-episodes 0       # a look at it

The agent observes what the paper's controller does: the latent and the memory's state, [z, h]. In
the game it sees every frame: a session of the world follows the game, each step with the real frame
as its `observation`. Prints a table of mean returns, such as

    | policy | return in dreams | in the game (standard error) |
    |---|---|---|
    | random | 184 | 230 (13) |
    | before | 152 |  |
    | after | 1046 | 680 (51) |
"""

import argparse
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from dreamserve_client import DreamClient, InProcess
from dreamserve_client.envs import DreamVectorEnv
from dreamserve_client.envs.sb3 import DreamVecEnv

OBSERVED = ("latent", "h", "c")
TEMPERATURE = 1.15  # dreams a little wilder than reality, so that it does not learn their faults
DREAM_STEPS = 200  # short dreams, so that it sees many beginnings
GAME, GAME_STEPS = "VizdoomTakeCover-v1", 2100
Policy = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]  # (B, F) to (B,)


def trained(client: DreamClient, dreams: int, steps: int) -> tuple[PPO, PPO]:
    """Return the agent as it began, and after so many steps."""
    envs = DreamVecEnv(
        client=client,
        num_envs=dreams,
        observation=OBSERVED,
        temperature=TEMPERATURE,
        max_episode_steps=DREAM_STEPS,
    )

    def agent() -> PPO:
        return PPO(
            "MlpPolicy",
            VecNormalize(VecMonitor(envs), norm_obs=False, gamma=0.99),
            learning_rate=lambda left: 5e-4 * left,
            n_steps=64,
            batch_size=min(4096, 64 * dreams),
            n_epochs=4,
            gamma=0.99,
            ent_coef=0.003,
            policy_kwargs={"net_arch": {"pi": [], "vf": [128]}},
            seed=0,
            verbose=1,
            device="cpu",
        )

    untrained, learner = agent(), agent()
    learner.learn(steps, log_interval=10)
    envs.close()
    return untrained, learner


def policy_of(agent: PPO) -> Policy:
    """Return the agent's most likely actions."""
    return lambda observations: agent.predict(observations, deterministic=True)[0]


def random_policy(seed: int) -> Policy:
    """Return uniformly random actions."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.integers(3, size=len(observations))


def dream_return(client: DreamClient, policy: Policy, dreams: int, steps: int) -> float:
    """Return the mean return of whole dreams, all with other seeds than in training."""
    envs = DreamVectorEnv(
        client=client,
        num_envs=dreams,
        observation=OBSERVED,
        temperature=TEMPERATURE,
        max_episode_steps=steps,
        autoreset_mode="NextStep",
    )
    observations, _ = envs.reset(seed=10**9)
    returns, running = np.zeros(dreams), np.ones(dreams, np.bool_)
    while running.any():
        observations, rewards, terminated, truncated, _ = envs.step(policy(observations))
        returns += rewards * running
        running &= ~(terminated | truncated)
    envs.close()
    return float(returns.mean())


def real_returns(
    client: DreamClient, policy: Policy, episodes: int, steps: int
) -> npt.NDArray[np.float64]:
    """Return the returns (E,) in the real game."""
    import vizdoom.gymnasium_wrapper  # noqa: F401  (registers the game)

    game, returns = gymnasium.make(GAME), np.zeros(episodes)
    for episode in range(episodes):
        seen, _ = game.reset(seed=10**6 + episode)
        start = {"frames": seen["screen"][None]}
        with client.dream(seed=episode, start=start, include=["state"]) as dream:
            now, ended = dream.first, False
            for _ in range(steps):
                action = int(policy(features(now.latent, now.state))[0])
                seen, reward, ended, *_ = game.step(action)
                returns[episode] += reward
                if ended:
                    break
                now = dream.step(action, observation=seen["screen"], include=["state"])
    game.close()
    return returns


def features(
    latent: npt.NDArray[np.float32], state: dict[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Return what the agent observes (1, F), as DreamVectorEnv makes it."""
    tensors = {"latent": latent, **state}
    return np.concatenate([tensors[name].ravel() for name in OBSERVED])[None]


def main() -> None:
    """Train, evaluate in dreams and in the game, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="bundles/takecover")
    parser.add_argument("--dreams", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1_500_000)
    parser.add_argument("--dream-steps", type=int, default=GAME_STEPS)
    parser.add_argument("--real-episodes", type=int, default=50)
    parser.add_argument("--real-steps", type=int, default=GAME_STEPS)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small
    began = time.monotonic()
    client = DreamClient(transport=InProcess(asked.bundle))
    before, after = trained(client, asked.dreams, asked.steps)
    print(f"\ntrained in {time.monotonic() - began:.0f} s\n")
    policies = {
        "random": random_policy(0),
        "before": policy_of(before),
        "after": policy_of(after),
    }
    print("| policy | return in dreams | in the game (standard error) |\n|---|---|---|")
    for name, policy in policies.items():
        dreamt = dream_return(client, policy, asked.dreams, asked.dream_steps)
        real = ""
        if asked.real_episodes > 1 and name != "before":
            returns = real_returns(client, policy, asked.real_episodes, asked.real_steps)
            error = returns.std(ddof=1) / len(returns) ** 0.5
            real = f"{returns.mean():.0f} ({error:.0f})"
        print(f"| {name} | {dreamt:.0f} | {real} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
