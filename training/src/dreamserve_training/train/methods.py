"""The methods by which C is trained in dreams."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dreamserve.bundle import load_bundle
from dreamserve.trust import UNTRUSTED, Trust
from dreamserve_training.models.controller import LayeredPolicy, Scores
from dreamserve_training.train.controller import ControllerConfig, evolve
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import learn

MethodConfig = ControllerConfig | PPOConfig

METHODS: Mapping[str, type[MethodConfig]] = {"cma": ControllerConfig, "ppo": PPOConfig}


def config_for(bundle: Path, method: str, settings: Sequence[str]) -> MethodConfig:
    """Return the options of a method for a bundle; each of `settings` is NAME=VALUE, in Python.

    Raises ValueError for an unknown method, option or value.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    kind = METHODS[method]
    known = [item.name for item in fields(kind)]
    options = dict(_parsed(setting, known) for setting in settings)
    if kind is ControllerConfig:
        width = load_bundle(bundle).manifest.action_space.width
        options = {"form": Scores(width), **options}
    return kind(**options)


def _parsed(setting: str, known: Sequence[str]) -> tuple[str, Any]:
    name, _, text = setting.partition("=")
    if name not in known:
        raise ValueError(f"unknown option {name!r}; known: {', '.join(known)}")
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text  # a word without quotes; the option's own check refuses others


def train_controller(
    bundle: Path,
    directory: Path,
    config: MethodConfig,
    restart: bool = False,
    initial: LayeredPolicy | None = None,
    trust: Trust = UNTRUSTED,
) -> LayeredPolicy:
    """Train C in dreams of `bundle`, by the method whose options are given, and return it.

    `trust` lets PPO run the bundle's TorchScript on a CUDA device. Errors are those of the method,
    which resumes, refuses and records as `evolve` does, and ValueError for an `initial` controller
    of CMA-ES, which begins anew.
    """
    if isinstance(config, PPOConfig):
        return learn(bundle, directory, config, restart, initial, trust)
    if initial is not None:
        raise ValueError("the method cma begins anew; ppo goes on from an initial controller")
    return evolve(bundle, directory, config, restart)
