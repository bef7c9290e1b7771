"""A recipe of two iterations, and what its environment told of itself."""

from dreamserve.observations import VectorSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.envs import EnvSpec
from dreamserve_training.probe import Probed
from dreamserve_training.recipe import Iteration, Recipe

PROBED = Probed(
    EnvSpec(
        env="Pole-v0",
        env_id="Pole-v0",
        observation=VectorSpec(names=("angle",), low=(-1.0,), high=(1.0,)),
        action_space=DiscreteSpace(n=2, names=("left", "right")),
        max_episode_steps=50,
    ),
    mean_steps=20.0,
)
RECIPE = Recipe(
    env="Pole-v0",
    name="pole",
    collect={"episodes": 100},
    train={"epochs": 8},
    baselines={"sway": [0, 1]},
    iterations=(
        Iteration(episodes=50, train={"epochs": 3}, exploration={"share": 0.3}),
        Iteration(episodes=20, players={"controller": 3.0, "baselines": 0.0, "random": 1.0}),
    ),
)
