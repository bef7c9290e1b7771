"""What a memory model M must offer, so that any core can be trained, exported and dreamt in.

M predicts z_{t+1}, r_{t+1} and d_{t+1} from z_t, a_t and its state. A core is a subclass in a file
of its own and a row in `catalog`; `recurrent` has what recurrent cores with a mixture head share.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from dreamserve.manifest import MixtureSpec, NoiseSpec, TensorSpec
from dreamserve_training.models.mixture import Mixture

Batch = Mapping[str, Tensor]  # windows of B sequences; fields as in `data.sequences`
State = tuple[Tensor, ...]  # in the order of MemorySpec.recurrent_state, (B, …) each


class Prediction(NamedTuple):
    """What M predicts; leading axes are (B, T) for sequences and (B,) for a step."""

    mixture: Mixture  # over z_{t+1}
    reward: Tensor | None
    done_logit: Tensor | None
    state: State  # after the last step


class MemorySpec(NamedTuple):
    """What a manifest says of M; the names are those of `dreamserve.manifest.WorldSpec`."""

    latent_size: int
    recurrent_state: tuple[TensorSpec, ...]
    mixture: MixtureSpec
    noise: NoiseSpec


@dataclass(frozen=True)
class LossWeights:
    """What the parts of the loss count beside the mixture's likelihood."""

    reward: float = 1.0
    done: float = 1.0
    done_positive: float = 10.0  # of a step that ends its episode: such steps are rare


class WorldModel(nn.Module, ABC):
    """A memory model. Actions are int64 if `discrete_actions`, else float (…, action_dim)."""

    name: ClassVar[str]  # in recipes and in the names of its checkpoints
    config: dict[str, Any]  # the constructor's arguments
    z_dim: int
    action_dim: int
    discrete_actions: bool
    predict_reward: bool
    predict_done: bool

    @abstractmethod
    def forward(self, z: Tensor, actions: Tensor, state: State | None = None) -> Prediction:
        """Predict every step of sequences z (B, T, Z), actions (B, T, …); state zeros if None."""

    @abstractmethod
    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return the empty memory of `batch` rows, of `like`'s device and dtype."""

    @abstractmethod
    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
        """Return the parts and their weighted sum, `loss`, over the steps that the masks keep."""

    @abstractmethod
    def spec(self) -> MemorySpec:
        """Return what the manifest says of this model."""

    @abstractmethod
    def graph(self) -> nn.Module:
        """Return `predict` as a module to export: traceable, with weights of its own."""

    def predict(self, z: Tensor, action: Tensor, state: State) -> Prediction:
        """Predict one step of z (B, Z) and action (B, …); the reference for the exported graph."""
        output = self(z.unsqueeze(1), action.unsqueeze(1), state)
        mixture = Mixture(*(part.squeeze(1) for part in output.mixture))
        reward = None if output.reward is None else output.reward.squeeze(1)
        done_logit = None if output.done_logit is None else output.done_logit.squeeze(1)
        return Prediction(mixture, reward, done_logit, output.state)

    def fold(self) -> None:
        """Bring the weights, in place, into the form that the graph stores; outputs stay."""

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a state, by name, that this model cannot have left."""
