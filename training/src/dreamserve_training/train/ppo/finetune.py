"""Let C learn on in the real environment, after its dreams: a little real experience, by PPO.

policy = finetune(env, Path("my-world"), policy, Path("runs/finetune"), FinetuneConfig())
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dreamserve.bundle import load_bundle
from dreamserve.engine.dynamics import empty_state
from dreamserve.engine.world import World
from dreamserve_training.data.digests import folder_digest
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import latent_of, worker_world
from dreamserve_training.envs import EnvSpec
from dreamserve_training.models.controller import LayeredPolicy
from dreamserve_training.progress import show_progress
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, describe
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.train.ppo.config import Features, FinetuneConfig
from dreamserve_training.train.ppo.distributions import Distribution
from dreamserve_training.train.ppo.dreams import expected_reward
from dreamserve_training.train.ppo.experience import Experience, Scores
from dreamserve_training.train.ppo.learner import Learner
from dreamserve_training.train.ppo.resumable import (
    learn_to_the_end,
    one_thread,
    read_checkpoint,
)
from dreamserve_training.train.ppo.steps import output_of, tensor_step


def finetune(
    env: EnvSpec,
    bundle: Path,
    policy: LayeredPolicy,
    directory: Path,
    config: FinetuneConfig,
    restart: bool = False,
    critic: Path | None = None,
) -> LayeredPolicy:
    """Return `policy` after it has learned on in real episodes, as `bundle` sees them.

    `critic` is the checkpoint of the learning in dreams, whose critic goes on; without, a new one
    begins. `directory` holds the unfinished learning, so the same call goes on after an
    interruption. Raises what `learn` raises, and what the environment does.
    """
    bundle, directory = bundle.resolve(), directory.resolve()
    spec = load_bundle(bundle).manifest
    show_progress()
    with (
        stoppable(),
        locked(directory, "learning"),
        one_thread(),
        worker_pool(config.workers) as pool,
    ):
        source = RealEpisodes(pool, env, bundle, Features.of(spec, config), config)
        learner = Learner(spec, config, source, policy)
        if critic is not None:
            _take_critic(learner, critic)
        record = _record(env, bundle, config, policy, critic)
        learn_to_the_end(learner, directory, record, restart)
    return learner.model.policy()


def _take_critic(learner: Learner, path: Path) -> None:
    """Let the learner's critic, and the spread of its actions, be those of a checkpoint."""
    content = read_checkpoint(path)
    if content is None:
        raise FileNotFoundError(path)
    taken = {
        name: weights for name, weights in content["model"].items() if not name.startswith("actor.")
    }
    learner.model.load_state_dict(taken, strict=False)
    learner.unit = content["unit"]


def _record(
    env: EnvSpec, bundle: Path, config: FinetuneConfig, policy: LayeredPolicy, critic: Path | None
) -> Record:
    settings = {"environment": describe(env), **describe(config)}
    budget = {"iterations": settings.pop("iterations")}
    data = {"bundle": folder_digest(bundle), "initial": policy.digest(), "critic": bool(critic)}
    return Record("C", settings, budget, data)


class Played(NamedTuple):
    """A real episode of T steps, and what the world said of them."""

    features: Tensor  # (T + 1, F) before each step, and after the last
    scores: Tensor  # (T, width)
    drawn: Tensor  # (T, A)
    rewards: Tensor  # (T,)
    ends: Tensor  # (T,)


class RealEpisodes:
    """A source of experience: real episodes, one after the other, played by a pool's workers."""

    device = torch.device("cpu")

    def __init__(
        self, pool: Executor, env: EnvSpec, bundle: Path, layout: Features, config: FinetuneConfig
    ) -> None:
        self.pool, self.env, self.bundle, self.layout = pool, env, bundle, layout
        self.config, self.played = config, 0

    def begin(self, rng: np.random.Generator) -> None:
        """Do nothing: each iteration begins its own episodes."""

    def run(
        self, scores_of: Scores, distribution: Distribution, rng: np.random.Generator
    ) -> Experience:
        """Return the experience of `episodes` more episodes, in one row."""
        seeds = self.config.seeds[self.played : self.played + self.config.episodes]
        job = (self.env, self.bundle, self.layout, self.config, scores_of, distribution)
        jobs = [self.pool.submit(play, *job, seed) for seed in seeds]
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


@torch.no_grad()
def play(
    env: EnvSpec,
    bundle: Path,
    layout: Features,
    config: FinetuneConfig,
    scores_of: Scores,
    distribution: Distribution,
    seed: int,
) -> Played:
    """Play the real episode `seed` with drawn actions.

    C acts on the state of a dream that every observation corrects, as it does when it is judged.
    The state after the last step is the one that the world expects: a terminal observation is often
    no picture.
    """
    torch.set_num_threads(1)  # a worker has one core
    real, world = worker_env(env), worker_world(bundle)
    space, limit = world.spec.action_space, env.max_episode_steps
    generator = torch.Generator().manual_seed(seed)
    seen: Any = real.reset(seed)
    state: tuple[Tensor, ...] = tuple(map(torch.from_numpy, empty_state(world, 1)))
    rows: list[tuple[Tensor, ...]] = []
    is_over = False
    while not is_over:
        latent = torch.from_numpy(latent_of(world, seen))
        features = _row(world, layout, latent, state)
        scores = scores_of(features[:, : layout.input_size])
        drawn, action = distribution.draw(scores, generator)
        seen, reward, terminated, truncated, _ = real.step(space.single(action.numpy()[0]))
        judged = _judge(world, config, (latent, action, *state), reward, terminated)
        rows.append((features, scores, drawn, judged.reward, judged.ends))
        state = judged.state
        is_over = terminated or truncated or len(rows) == limit
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    last = _row(world, layout, judged.latent, judged.state)
    return Played(torch.cat([columns[0], last]), *columns[1:])


class _Judged(NamedTuple):
    latent: Tensor  # that the world expects
    state: tuple[Tensor, ...]
    reward: Tensor
    ends: Tensor


def _judge(
    world: World,
    config: FinetuneConfig,
    taken: tuple[Tensor, ...],
    reward: float,
    terminated: bool,
) -> _Judged:
    """Return what the world says of a real step, and C's reward for it."""
    step, _ = tensor_step(world)
    size = world.spec.noise
    noise = torch.cat([torch.zeros(1, size.normal), torch.full((1, size.uniform), 0.5)], dim=1)
    output = output_of(world.spec, step(*taken, torch.ones(1), noise))
    ends = torch.sigmoid(output.done_logit - log(config.done_weight))
    if config.ends == "real":
        ends = torch.tensor([float(terminated)])
    paid = output._replace(reward=torch.tensor([reward], dtype=torch.float32))
    earned = expected_reward(config.reward, world.spec.named_signals, paid, ends)
    return _Judged(output.latent, output.state, earned, ends)


def _row(world: World, layout: Features, latent: Tensor, state: tuple[Tensor, ...]) -> Tensor:
    """Return a dream's whole state in a row, (1, F)."""
    parts = {"latent": latent, **world.spec.named_state(state)}
    return torch.cat([parts[name].reshape(1, -1) for name in layout.names], dim=1)
