"""Gymnasium's Car Racing: drive around a track that is seen from above.

dreamserve-train recipe carracing --out runs/carracing

A step costs 0.1, each of the track's N tiles earns 1000 / N once; leaving the field costs 100 and
ends the episode. The first 50 frames zoom in.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.policies import sticky_actions
from dreamserve_training.recipe import Iteration, Recipe


def drive(rng: np.random.Generator, space: ActionSpace) -> Iterator[Any]:
    """Yield random actions that last; it seldom brakes: a car that brakes half the time stands."""
    for steer, gas, brake in sticky_actions(rng, space, shortest=4.0, longest=32.0):
        yield np.array([steer, gas, max(0.0, 5 * brake - 4)], np.float32)


_DRIVEN: dict[str, Any] = {
    "players": {"controller": 0.9, "random": 0.1},
    "train": {"epochs": 20},
}
RECIPE = Recipe(
    env="CarRacing-v3",
    install="pip install 'dreamserve-training[box2d]'",
    crop=(0, 84, 0, 96),  # without the status bar
    size=(64, 64),
    action_names=("steer", "gas", "brake"),
    max_episode_steps=1000,  # as in the environment
    policy=drive,
    collect={"episodes": 1500, "idle_steps": 60},  # who has lost the road seldom finds it again
    vae={"z_dim": 32, "frames": 120_000, "validation_frames": 4_000, "epochs": 10},
    memory_options={"rnn_size": 256, "done_dropout": 0.5, "done_gradient_scale": 0.3},
    train={"epochs": 40, "carry_state": True},
    sequence_length=128,
    # A bend comes every few seconds, and short dreams are the reliable ones. A lost car earns
    # nothing more: dreams would find another road, and a discount of 0.99 forgive the loss.
    controller={
        "method": "ppo",
        "dream_steps": 100,
        "beginnings": 0.1,
        "idle_steps": 25,
        "discount": 0.997,
        "lr": 0.003,
        "iterations": 300,
    },
    finetune={
        "idle_steps": 50,  # tiles come one by one
        "episodes": 16,
        "iterations": 30,
        "lr": 1e-3,
        "minibatch": 1024,
        "passes": 4,
        "entropy": 5e-4,
    },
    evaluate={"episodes": 20, "plan_episodes": 0},
    # Random driving sees little but the first bends, and only at random speeds.
    iterations=(
        Iteration(episodes=300, **_DRIVEN),
        Iteration(episodes=300, **_DRIVEN, evaluate={"episodes": 100}),
    ),
)
