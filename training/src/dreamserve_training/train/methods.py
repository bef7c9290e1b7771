"""The methods by which C is trained in dreams. Another one is a class of options and a row here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.train.controller import ControllerConfig, evolve
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import learn

MethodConfig = ControllerConfig | PPOConfig

METHODS: Mapping[str, type[MethodConfig]] = {"cma": ControllerConfig, "ppo": PPOConfig}
_TRAIN: Mapping[type[MethodConfig], Callable[..., LinearPolicy]] = {
    ControllerConfig: evolve,
    PPOConfig: learn,
}


def train_controller(
    bundle: Path, directory: Path, config: MethodConfig, restart: bool = False, **more: Any
) -> LinearPolicy:
    """Train C in dreams of `bundle`, by the method whose options are given, and return it.

    `more` are further arguments of the method: PPO takes an `initial` controller. Errors are those
    of the method, which resumes, refuses and records as `evolve` does.
    """
    return _TRAIN[type(config)](bundle, directory, config, restart, **more)
