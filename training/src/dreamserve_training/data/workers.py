"""The environment of a worker process of `dreamserve_training.runs.pools`."""

from functools import lru_cache

from dreamserve_training.envs import EnvSpec, RealEnv


@lru_cache(maxsize=1)
def worker_env(spec: EnvSpec) -> RealEnv:
    """Return this process's environment, made once because that takes longer than an episode."""
    return spec.open()
