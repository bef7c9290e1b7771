"""The interface of a memory model M, by which any core can be trained, exported and dreamed with.

M predicts z_{t+1}, r_{t+1}, d_{t+1} and signals from z_t, a_t and its state. A core is a subclass
in its own module and an entry of `catalog.CORES`; `recurrent` is the base of recurrent cores.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from dreamserve.heads import LatentHead
from dreamserve.manifest import NoiseSpec, SignalSpec, TensorSpec
from dreamserve_training.models.actions import ActionInput
from dreamserve_training.models.mixture import Mixture
from dreamserve_training.models.signals import Heads
from dreamserve_training.models.terms import Term, joined

Batch = Mapping[str, Tensor]  # windows of B sequences; fields as in `data.sequences`
State = tuple[Tensor, ...]  # in the order of MemorySpec.recurrent_state, (B, …) each


class Prediction(NamedTuple):
    """M's outputs; leading axes are (B, T) for sequences and (B,) for a single step."""

    mixture: Mixture  # over z_{t+1}
    reward: Tensor | None
    done_logit: Tensor | None
    state: State  # after the last step, (B, …) each
    signals: tuple[Tensor, ...] = ()  # outputs of the signals' heads, see `SignalHead.shown`


class MemorySpec(NamedTuple):
    """The fields of `dreamserve.manifest.WorldSpec` that depend on M."""

    latent_size: int
    recurrent_state: tuple[TensorSpec, ...]
    head: LatentHead
    noise: NoiseSpec
    signals: tuple[SignalSpec, ...] = ()


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms, relative to the mixture's negative log-likelihood."""

    reward: float = 1.0
    done: float = 1.0
    done_positive: float = 10.0  # of steps that end their episode, which are rare
    signal: float = 1.0  # of each signal


class WorldModel(nn.Module, ABC):
    """A memory model; `action_input` tells which actions it takes."""

    name: ClassVar[str]  # in recipes and in checkpoints' file names
    config: dict[str, Any]  # the constructor's arguments
    z_dim: int
    action_input: ActionInput
    action_dim: int  # number of the features of an action
    discrete_actions: bool  # whether they are of a Discrete space
    predict_reward: bool
    predict_done: bool
    signals: Heads = MappingProxyType({})  # what it predicts beside them, by name

    @abstractmethod
    def forward(self, z: Tensor, actions: Tensor, state: State | None = None) -> Prediction:
        """Predict every step of z (B, T, Z), actions (B, T, …); the default `state` is zeros."""

    @abstractmethod
    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the initial state of `batch` rows, with the device and dtype of `like`."""

    @abstractmethod
    def loss_terms(self, output: Prediction, batch: Batch, weights: LossWeights) -> dict[str, Term]:
        """Return the loss terms by name, each with its weight, over the unmasked steps.

        `output` is what the model predicted for the windows of `batch`.
        """

    @abstractmethod
    def spec(self) -> MemorySpec:
        """Return the fields of the world's spec that depend on M."""

    @abstractmethod
    def graph(self) -> nn.Module:
        """Return `predict` as a traceable module with its own weights, to be exported."""

    @abstractmethod
    def shift_done_logit(self, offset: float) -> None:
        """Add `offset` to the done logits that the model predicts from here on."""

    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
        """Return the loss terms' means, and `loss`, of windows that begin in the initial state."""
        return joined(self.loss_terms(self(batch["z"], batch["actions"]), batch, weights))

    def predict(self, z: Tensor, action: Tensor, state: State) -> Prediction:
        """Predict one step of z (B, Z) and action (B, …); the reference for the exported graph."""
        output = self(z.unsqueeze(1), action.unsqueeze(1), state)
        mixture = Mixture(*(part.squeeze(1) for part in output.mixture))
        reward = None if output.reward is None else output.reward.squeeze(1)
        done_logit = None if output.done_logit is None else output.done_logit.squeeze(1)
        signals = tuple(part.squeeze(1) for part in output.signals)
        return Prediction(mixture, reward, done_logit, output.state, signals)

    def fold(self) -> None:
        """Convert the weights in place to the form that the graph stores; outputs do not change."""

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a state (name → tensor) that this model cannot have produced."""
