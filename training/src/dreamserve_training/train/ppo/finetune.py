"""Let C learn on in the real environment, after its dreams: a little real experience, by PPO.

policy = finetune(env, Path("my-world"), policy, Path("runs/finetune"), FinetuneConfig())
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamserve.bundle import load_bundle
from dreamserve_training.data.digests import file_hash, folder_digest
from dreamserve_training.data.signals import Signals
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.controller import LayeredPolicy
from dreamserve_training.progress import show_progress
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.train.ppo.config import Features, FinetuneConfig
from dreamserve_training.train.ppo.distributions import Distribution
from dreamserve_training.train.ppo.experience import Experience, Scores
from dreamserve_training.train.ppo.learner import Learner, counted
from dreamserve_training.train.ppo.real_episode import Game, Played, play
from dreamserve_training.train.ppo.resumable import (
    learn_to_the_end,
    one_thread,
    read_checkpoint,
)

logger = logging.getLogger("dreamserve_training")


def finetune(
    env: EnvSpec,
    bundle: Path,
    policy: LayeredPolicy,
    directory: Path,
    config: FinetuneConfig,
    restart: bool = False,
    critic: Path | None = None,
    signals: Signals | None = None,
) -> LayeredPolicy:
    """Return `policy` after it has learned on in real episodes, as `bundle` sees them.

    `critic` is the checkpoint of the learning in dreams, whose critic goes on if it counts the same
    reward, discount and ends; without, a new one begins. `signals` say what the world's signals are
    of the numbers that `env` records, where the config asks for what happened. `directory` holds
    the unfinished learning, so the same call goes on after an interruption. Raises what `learn`
    raises, what the environment does, ValueError if what happened is asked for and `signals` are
    not the world's, and DataError for signals of numbers that the environment does not record.
    """
    bundle, directory = bundle.resolve(), directory.resolve()
    spec = load_bundle(bundle).manifest
    names, given = sorted(s.name for s in spec.signals), sorted(signals or {})
    if config.signals == "real" and names != given:
        raise ValueError(f"signals: must say what the world's signals {names} are, not {given}")
    show_progress()
    with (
        stoppable(),
        locked(directory, "learning"),
        one_thread(),
        worker_pool(config.workers) as pool,
    ):
        game = Game(env, bundle, Features.of(spec, config), config, signals or {})
        source = RealEpisodes(pool, game)
        learner = Learner(spec, config, source, policy)
        if critic is not None:
            take_critic(learner, critic)
        record = _record(game, policy, critic)
        learn_to_the_end(learner, directory, record, restart)
    return learner.model.policy()


def take_critic(learner: Learner, path: Path) -> None:
    """Let the spread of the learner's actions, and its critic, be those of a checkpoint.

    A critic that counts another reward or discount stays behind: its values are of other sums.
    """
    content = read_checkpoint(path)
    if content is None:
        raise FileNotFoundError(path)
    mine = counted(learner.config)
    parts: tuple[str, ...] = ("distribution.",)
    if content.get("counts", mine) == mine:
        parts, learner.unit = (*parts, "critic."), content["unit"]
    else:
        logger.info("finetune: counts other rewards than dreams did, so a new critic begins")
    taken = {name: weights for name, weights in content["model"].items() if name.startswith(parts)}
    learner.model.load_state_dict(taken, strict=False)


def _record(game: Game, policy: LayeredPolicy, critic: Path | None) -> Record:
    settings = {"environment": describe(game.env), **describe(game.config)}
    if game.config.signals == "real":
        settings["recorded"] = {name: describe(signal) for name, signal in game.signals.items()}
    budget = {"iterations": settings.pop("iterations")}
    data = {
        "bundle": folder_digest(game.bundle),
        "initial": policy.digest(),
        "critic": None if critic is None else file_hash(critic),
    }
    return Record("C", settings, budget, data)


class RealEpisodes:
    """A source of experience: real episodes, one after the other, played by a pool's workers."""

    device = torch.device("cpu")

    def __init__(self, pool: Executor, game: Game) -> None:
        self.pool, self.game, self.played = pool, game, 0

    def begin(self, rng: np.random.Generator) -> None:
        """Do nothing: each iteration begins its own episodes."""

    def run(
        self, scores_of: Scores, distribution: Distribution, rng: np.random.Generator
    ) -> Experience:
        """Return the experience of `episodes` more episodes, in one row."""
        config = self.game.config
        seeds = config.seeds[self.played : self.played + config.episodes]
        jobs = [self.pool.submit(play, self.game, scores_of, distribution, seed) for seed in seeds]
        self.played += len(seeds)
        return in_a_row([job.result() for job in jobs])

    def content(self) -> list[Tensor]:
        """Return how many episodes were played."""
        return [torch.tensor(self.played)]

    def restore(self, content: list[Tensor]) -> None:
        """Go on with the episodes after those."""
        self.played = int(content[0])


def in_a_row(episodes: Sequence[Played]) -> Experience:
    """Return the experience (T, 1) of whole episodes, each of which is cut at its end."""
    steps = torch.tensor([len(each.rewards) for each in episodes])
    cut = torch.zeros(int(steps.sum()), 1, dtype=torch.bool)
    cut[steps.cumsum(0) - 1] = True
    finals = torch.stack([each.features[-1] for each in episodes])
    features = torch.cat([*(each.features[:-1] for each in episodes), finals[-1:]])
    scores, drawn, rewards, ends = (
        torch.cat([getattr(each, name) for each in episodes]).unsqueeze(1)
        for name in ("scores", "drawn", "rewards", "ends")
    )
    return Experience(features.unsqueeze(1), scores, drawn, rewards, ends, cut, finals)
