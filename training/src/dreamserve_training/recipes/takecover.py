"""ViZDoom's Take Cover: survive by dodging fireballs; every step earns 1.

dreamserve-train recipe takecover --out runs/takecover
"""

from dreamserve_training.data.signals import Signal
from dreamserve_training.recipe import Iteration, Recipe

NOOP, RIGHT, LEFT = range(3)

RECIPE = Recipe(
    env="vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1",
    install="pip install 'dreamserve-training[vizdoom]'",
    part="screen",
    crop=(40, 200, 0, 320),  # without the ceiling and the player's hands
    size=(64, 64),
    action_names=("noop", "right", "left"),
    max_episode_steps=2100,  # the paper's limit; the environment itself has none
    # a hit ends the episode only if the health runs out; the death is a hit, too
    record=lambda env, observation: {"health": float(observation["gamevariables"][0])},
    signals={"hit": Signal("health", "falls", description="probability of a hit in the step")},
    baselines={
        "nothing": [NOOP],
        **{f"sweep {n}": [LEFT] * n + [RIGHT] * n for n in (90, 110, 130)},
    },
    # Short moves stay near the start, long ones cross the room, and the data needs both.
    collect={"episodes": 1200, "shortest": 4.0, "longest": 64.0},
    constant_reward=1.0,
    done_rule="drawn",
    # a joint mixture draws fireballs whole; it takes more components than one for each number
    memory_options={
        "head": "joint",
        "num_mixtures": 16,
        "rnn_size": 512,
        "done_dropout": 0.5,
        "done_gradient_scale": 0.3,
    },
    vae={"z_dim": 64, "frames": 120_000, "validation_frames": 4_000, "epochs": 8},
    train={"epochs": 9, "carry_state": True},
    sequence_length=64,
    # A hit is seen about 1.6 times an episode, an end once; and both are equally bad.
    controller={"method": "ppo", "reward": {"hit": -1.0}, "lr": 0.01, "iterations": 100},
    # Reality teaches to dodge what dreams forget, and not to stand where hits come unseen.
    finetune={
        "ends": "expected",
        "signals": "real",
        "episodes": 64,
        "iterations": 48,
        "lr": 2e-3,
        "minibatch": 4096,
        "passes": 3,
    },
    evaluate={"episodes": 20, "plan_episodes": 0},
    # Random data holds almost nothing past 700 steps, and few late fireballs, which are many.
    iterations=(
        Iteration(
            episodes=1500,
            players={"controller": 0.6, "baselines": 0.2, "random": 0.2},
            # Fireballs far away are one to three pixels; seen in time, they can be dodged.
            vae={"epochs": 5, "lr": 1e-3, "salience": 100.0},
            # This M is kept: a bundle of 12 MB has room for half of the components.
            memory_options={"num_mixtures": 8},
            train={"epochs": 8},
            # What is better in dreams is worse in reality, if it is learned as fast as before.
            controller={"iterations": 250, "lr": 0.003},
            evaluate={"episodes": 400},  # the standard error of 100 is 50 steps
        ),
    ),
)
