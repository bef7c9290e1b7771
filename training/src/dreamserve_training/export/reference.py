"""The trained PyTorch models as a Backend: the reference for the exported files.

It calls the methods that were trained instead of the modules that are exported, so the comparison
also finds errors in those modules.
"""

import torch
from torch import Tensor

from dreamserve.backends.base import Array, State, StepInput, StepOutput
from dreamserve.manifest import WorldSpec
from dreamserve_training.export.graphs import NEVER_DONE
from dreamserve_training.models.catalog import Vision
from dreamserve_training.models.controller import Policy, features_of
from dreamserve_training.models.mixture import sample_with_noise
from dreamserve_training.models.signals import shown_signals
from dreamserve_training.models.world_model import WorldModel


class ModelBackend:
    """A backend that runs the PyTorch models; shapes as in `dreamserve.backends.base`."""

    name = "pytorch"

    def __init__(
        self, spec: WorldSpec, vae: Vision, memory: WorldModel, controller: Policy | None = None
    ) -> None:
        self.spec, self.vae, self.memory = spec, vae.eval(), memory.eval()
        self.controller = controller

    @torch.inference_mode()
    def encode(self, observations: Array, state: State = ()) -> tuple[Array, ...]:
        """Return mu and logvar of each observation's posterior."""
        mu, logvar = self.vae.encode(torch.from_numpy(observations))
        return mu.numpy(), logvar.numpy()

    @torch.inference_mode()
    def decode(self, latent: Array) -> Array:
        """Return the decoded observation of each latent."""
        frames: Array = self.vae.decode(torch.from_numpy(latent)).contiguous().numpy()
        return frames

    def policy(self, latent: Array, state: State) -> Array:
        """Return the scores of the controller. ValueError without one."""
        if self.controller is None:
            raise ValueError("these models have no controller")
        tensors = {"latent": latent, **self.spec.named_state(state)}
        return self.controller.scores(features_of(tensors, self.controller.inputs))

    @torch.inference_mode()
    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step."""
        state = tuple(map(torch.from_numpy, batch.state))
        latent, action = torch.from_numpy(batch.latent), torch.from_numpy(batch.action)
        mixture, reward, done_logit, state, signals = self.memory.predict(latent, action, state)
        temperature = torch.from_numpy(batch.temperature)
        sizes = [self.spec.noise.normal, self.spec.noise.uniform]
        normal, uniform = torch.split(torch.from_numpy(batch.noise), sizes, dim=1)
        rule = self.spec.temperature_rule
        drawn = sample_with_noise(mixture, temperature, normal, uniform, rule)
        return StepOutput(
            drawn.numpy(),
            _or_constant(reward, temperature, self.spec.reward.value or 0.0),
            _or_constant(done_logit, temperature, NEVER_DONE),
            tuple(part.numpy() for part in state),
            tuple(part.numpy() for part in mixture),
            tuple(part.numpy() for part in shown_signals(self.memory.signals, signals)),
        )


def _or_constant(prediction: Tensor | None, like: Tensor, constant: float) -> Array:
    values: Array = (torch.full_like(like, constant) if prediction is None else prediction).numpy()
    return values
