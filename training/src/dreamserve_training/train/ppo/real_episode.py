"""One real episode, played by C and counted by what the world says of it, or by what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dreamserve.engine.dynamics import empty_state
from dreamserve.engine.world import World
from dreamserve_training.data.agents import learner_seed
from dreamserve_training.data.episodes import Episode
from dreamserve_training.data.signals import (
    Signals,
    check_recorded,
    signal_columns,
    signal_values,
)
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import latent_of, worker_world
from dreamserve_training.envs import EnvSpec
from dreamserve_training.train.ppo.config import END, WORLD, Features, FinetuneConfig, weighted
from dreamserve_training.train.ppo.distributions import Distribution
from dreamserve_training.train.ppo.experience import Scores
from dreamserve_training.train.ppo.steps import TensorOutput, output_of, tensor_step


@dataclass(frozen=True)
class Game:
    """The real environment, the world that sees it, and what counts there."""

    env: EnvSpec
    bundle: Path
    layout: Features
    config: FinetuneConfig
    signals: Signals = field(default_factory=dict)  # of the numbers that it records


class Played(NamedTuple):
    """A real episode of T steps, and what the world said of them."""

    features: Tensor  # (T + 1, F) before each step, and after the last
    scores: Tensor  # (T, width)
    drawn: Tensor  # (T, A)
    rewards: Tensor  # (T,)
    ends: Tensor  # (T,)


@torch.no_grad()
def play(game: Game, scores_of: Scores, distribution: Distribution, seed: int) -> Played:
    """Play the real episode `seed` with drawn actions.

    C acts on the state of a dream that every observation corrects, as it does when it is judged.
    The state after the last step is the one that the world expects: a terminal observation is often
    no picture.
    """
    torch.set_num_threads(1)  # a worker has one core
    env, layout = game.env, game.layout
    real, world = worker_env(env), worker_world(game.bundle)
    space, limit = world.spec.action_space, env.max_episode_steps
    generator = torch.Generator().manual_seed(learner_seed(seed))
    seen: Any = real.reset(seed)
    state: tuple[Tensor, ...] = tuple(map(torch.from_numpy, empty_state(world, 1)))
    rows: list[tuple[Tensor, ...]] = []
    outputs: list[TensorOutput] = []
    facts: list[_Fact] = []
    is_over, idle = False, 0
    while not is_over:
        latent = torch.from_numpy(latent_of(world, seen, tuple(part.numpy() for part in state)))
        features = _row(world, layout, latent, state)
        scores = scores_of(features[:, : layout.input_size])
        drawn, action = distribution.draw(scores, generator)
        seen, reward, terminated, truncated, recorded = real.step(space.single(action.numpy()[0]))
        output = _expected_step(world, latent, action, *state)
        rows.append((features, scores, drawn))
        outputs.append(output)
        facts.append(_Fact(reward, terminated, recorded))
        state = output.state
        idle = 0 if reward > 0 else idle + 1
        is_lost = idle == game.config.idle_steps
        is_over = terminated or truncated or len(rows) == limit or is_lost
    features, scores, drawn = (torch.cat(column) for column in zip(*rows, strict=True))
    last = _row(world, layout, output.latent, output.state)
    rewards, ends = _counted(game, world, outputs, facts, seed)
    if is_lost:
        ends[-1] = 1.0
    return Played(torch.cat([features, last]), scores, drawn, rewards, ends)


class _Fact(NamedTuple):
    """What happened in a step."""

    reward: float
    terminated: bool
    recorded: Mapping[str, float]


def _expected_step(world: World, *taken: Tensor) -> TensorOutput:
    """Return what the world expects of one step from (latent, action, *state)."""
    step, _ = tensor_step(world)
    size = world.spec.noise
    noise = torch.cat([torch.zeros(1, size.normal), torch.full((1, size.uniform), 0.5)], dim=1)
    return output_of(world.spec, step(*taken, torch.ones(1), noise))


def _counted(
    game: Game,
    world: World,
    outputs: Sequence[TensorOutput],
    facts: Sequence[_Fact],
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return C's rewards (T,) for an episode's steps, and its ends (T,)."""
    config = game.config
    ends = config.end_probability(torch.cat([each.done_logit for each in outputs]))
    if config.ends == "real":
        ends = torch.tensor([float(each.terminated) for each in facts])
    said = [torch.cat(column) for column in zip(*(each.signals for each in outputs), strict=True)]
    named = world.spec.named_signals(said)
    if config.signals == "real" and game.signals:
        named = _happened(game, named, facts, seed)
    paid = torch.tensor([each.reward for each in facts], dtype=torch.float32)
    return weighted(config.reward, {WORLD: paid, END: ends, **named}), ends


def _happened(
    game: Game, expected: Mapping[str, Tensor], facts: Sequence[_Fact], seed: int
) -> dict[str, Tensor]:
    """Return the signals as they happened; where that is not known, as the world expects them."""
    where = f"{game.env.env_id}, the episode with seed {seed}"
    check_recorded(game.signals, set(facts[0].recorded), where)
    columns: Episode = {
        name: np.asarray([each.recorded[name] for each in facts], np.float64)
        for name in signal_columns(game.signals)
    }
    values = torch.from_numpy(signal_values(game.signals, columns, where))
    return {
        name: torch.where(seen.isnan(), expected[name], seen)
        for name, seen in zip(game.signals, values.T, strict=True)
    }


def _row(world: World, layout: Features, latent: Tensor, state: tuple[Tensor, ...]) -> Tensor:
    """Return a dream's whole state in a row, (1, F)."""
    parts = {"latent": latent, **world.spec.named_state(state)}
    return torch.cat([parts[name].reshape(1, -1) for name in layout.names], dim=1)
