"""ViZDoom's Take Cover: survive by dodging fireballs; every step earns 1.

dreamserve-train recipe takecover --out runs/takecover
"""

from dreamserve_training.data.collect import CollectConfig
from dreamserve_training.envs import TAKE_COVER
from dreamserve_training.models.controller import Axis
from dreamserve_training.recipe import EvaluateConfig, Recipe
from dreamserve_training.train.controller import ControllerConfig
from dreamserve_training.train.memory import TrainConfig
from dreamserve_training.train.vae import VAEConfig

RECIPE = Recipe(
    name="takecover",
    env=TAKE_COVER,
    collect=CollectConfig(episodes=3400),  # M needs many deaths; an episode has one
    holdout=CollectConfig(episodes=200, seed=3400),
    vae=VAEConfig(),
    memory="mdnrnn",
    memory_options={
        "rnn_size": 512,
        "num_mixtures": 5,
        "head": "per_dimension",
        "predict_done": True,
        "done_dropout": 0.5,
        "done_gradient_scale": 0.3,
    },
    train=TrainConfig(epochs=16),
    batch_size=32,
    sequence_length=128,
    controller=ControllerConfig(form=Axis(actions=3, still=0, positive=1, negative=2)),
    evaluate=EvaluateConfig(),
    constant_reward=1.0,
)
