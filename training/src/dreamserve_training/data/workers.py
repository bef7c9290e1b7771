"""The environment of a worker process of `dreamserve_training.runs.pools`."""

from functools import lru_cache
from typing import Any

import gymnasium

from dreamserve_training.envs import EnvSpec


@lru_cache(maxsize=1)
def worker_env(spec: EnvSpec) -> gymnasium.Env[Any, Any]:
    """Return this process's environment, made once because that takes longer than an episode."""
    return spec.make()
