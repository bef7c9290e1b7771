"""Evolve C by CMA-ES (Hansen 2016) in dreams only.

dreamserve-train controller takecover --out runs/takecover
"""

import logging
import time
import warnings
import zipfile
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dreamserve.backends.choose import cores
from dreamserve.bundle import load_bundle
from dreamserve_training.data.digests import folder_digest
from dreamserve_training.dreams.returns import JUDGING_DREAMS, dream_returns, worker_world
from dreamserve_training.files import atomic_write
from dreamserve_training.models.controller import (
    CONTROLLER_INPUTS,
    Axis,
    LinearPolicy,
    Scores,
)
from dreamserve_training.progress import show_progress
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.options import PLACE, AboveZero, AtLeastZero, Count, Options, Whole
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, begin, describe, finish
from dreamserve_training.runs.signals import stoppable

with warnings.catch_warnings():
    # cma warns that plotting needs matplotlib; nothing here plots
    warnings.filterwarnings("ignore", "Could not import matplotlib", UserWarning)
    import cma

logger = logging.getLogger("dreamserve_training")
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ControllerConfig(Options):
    """Options of C's evolution."""

    form: Axis | Scores
    temperature: AtLeastZero = 1.15  # the best in the paper for the real environment
    generations: Count = 36
    population: Annotated[int, Field(ge=2)] = 64
    episodes: Count = 16  # dreams per candidate and generation
    sigma: AboveZero = 0.1  # initial standard deviation of the parameters
    max_steps: Count = 2100
    workers: Count = field(default_factory=cores, metadata=PLACE)
    seed: Whole = 0


def evolve(
    bundle: Path, directory: Path, config: ControllerConfig, restart: bool = False
) -> LinearPolicy:
    """Evolve a controller in dreams of `bundle`; record the fitness in `directory`/evolution.npz.

    CMA-ES is a pure function of its seed and the fitness of each generation, so this record is
    also the checkpoint: an interrupted evolution replays it and resumes; with more generations it
    goes on. evolution_run.json says what it was evolved with. Returns the policy of the final
    distribution's mean, because the best candidate's fitness is biased by noise.

    Raises MismatchError for an evolution in `directory` of another bundle or other settings (with
    `restart` it is removed), LockedError if another process evolves there, DivergedError for a
    fitness that is not finite, and ValueError for a world without M's tensor `h`.
    """
    history_path = directory / "evolution.npz"
    record_path = directory / "evolution_run.json"
    bundle = bundle.resolve()  # workers have another working directory
    show_progress()
    with stoppable(), locked(directory, "evolution"):
        reached = _reached(history_path, config.generations)
        record = _record(bundle, config)
        begin(record_path, record, (history_path,), reached=reached, restart=restart)
        strategy = _strategy(bundle, config)
        history = _replay(history_path, strategy)
        with worker_pool(config.workers) as pool:
            while len(history) < config.generations:
                start_s = time.monotonic()
                candidates = strategy.ask()
                fitness = _fitness(pool, bundle, candidates, len(history), config)
                if not np.isfinite(fitness).all():
                    raise DivergedError(_not_finite(fitness, len(history)))
                strategy.tell(candidates, list(-fitness))
                history.append(fitness)
                _save_history(history_path, history)
                _report(history, config, time.monotonic() - start_s)
        finish(record_path, generations=len(history))
    return config.form.policy(np.asarray(strategy.result.xfavorite))


def _record(bundle: Path, config: ControllerConfig) -> Record:
    settings = describe(config)
    budget = {"generations": settings.pop("generations")}
    return Record("C", settings, budget, {"bundle": folder_digest(bundle)})


def _strategy(bundle: Path, config: ControllerConfig) -> cma.CMAEvolutionStrategy:
    rng = np.random.default_rng(config.seed)
    return cma.CMAEvolutionStrategy(
        np.zeros(config.form.parameters(_feature_count(bundle))),
        config.sigma,
        {
            "popsize": config.population,
            "verbose": -9,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": np.nan,  # leave numpy's global generator alone
        },
    )


def _reached(path: Path, generations: int) -> str:
    """Return why the evolution at `path` cannot end after `generations`; empty if it can."""
    try:
        done = len(_read_history(path))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        return f"{path.name} cannot be read ({error})"
    more = done > generations
    return f"it has {done} generations and is now asked for {generations}" if more else ""


def _read_history(path: Path) -> list[Float64]:
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as archive:
        return list(archive["fitness"])


def _replay(path: Path, strategy: cma.CMAEvolutionStrategy) -> list[Float64]:
    history = _read_history(path)
    for fitness in history:
        strategy.tell(strategy.ask(), list(-fitness))
    return history


def _save_history(path: Path, history: list[Float64]) -> None:
    with atomic_write(path) as file:
        np.savez(file, fitness=np.stack(history))


def _not_finite(fitness: Float64, generation: int) -> str:
    candidate = int(np.argmin(np.isfinite(fitness)))
    return (
        f"generation {generation + 1}: the mean return of candidate {candidate} is"
        f" {fitness[candidate]}; its dreams have rewards that are not finite"
    )


def dream_seeds(config: ControllerConfig, generation: int) -> list[int]:
    """Return the seeds of a generation's dreams, which are others than those that judge C."""
    first = (config.seed * 1_000_003 + generation) * config.episodes
    return [(first + dream) % JUDGING_DREAMS for dream in range(config.episodes)]


def _fitness(
    pool: Executor,
    bundle: Path,
    candidates: Sequence[Float64],
    generation: int,
    config: ControllerConfig,
) -> Float64:
    """Return each candidate's mean return over this generation's dreams, (population,)."""
    seeds = dream_seeds(config, generation)
    # more chunks than workers, because candidates with longer dreams take longer
    count = min(2 * config.workers, len(candidates))
    chunks = np.array_split(np.arange(len(candidates)), count)
    jobs = [
        pool.submit(
            _mean_returns,
            bundle,
            [config.form.policy(np.asarray(candidates[i])) for i in chunk],
            seeds,
            config.temperature,
            config.max_steps,
        )
        for chunk in chunks
    ]
    return np.concatenate([job.result() for job in jobs])


def _mean_returns(
    bundle: Path,
    policies: list[LinearPolicy],
    seeds: list[int],
    temperature: float,
    max_steps: int,
) -> Float64:
    returns, _ = dream_returns(worker_world(bundle), policies, seeds, temperature, max_steps)
    means: Float64 = returns.mean(axis=1).astype(np.float64)
    return means


def _feature_count(bundle: Path) -> int:
    spec = load_bundle(bundle).manifest
    sizes = spec.tensor_sizes()
    if missing := sorted(set(CONTROLLER_INPUTS) - set(sizes)):
        raise ValueError(
            f"the world {spec.name} has no {missing}, only {sorted(sizes)}: CMA-ES evolves"
            f" controllers of {' and '.join(CONTROLLER_INPUTS)}; the method ppo takes any"
        )
    return sum(sizes[name] for name in CONTROLLER_INPUTS)


def _report(history: list[Float64], config: ControllerConfig, took_s: float) -> None:
    fitness = history[-1]
    logger.info(
        "generation %d/%d  mean return %.0f  best %.0f  %.0f s",
        len(history),
        config.generations,
        fitness.mean(),
        fitness.max(),
        took_s,
    )
