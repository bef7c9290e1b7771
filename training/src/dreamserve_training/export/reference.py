"""The trained PyTorch models themselves, behind the protocol that graphs are served by.

What is exported is compared with this: `nn.LSTM` and the models' own methods, not the graphs that
were made from them, so a mistake in making them shows.
"""

import torch
from torch import Tensor

from dreamserve.backends.base import Actions, Array, StepInput, StepOutput
from dreamserve.manifest import WorldSpec
from dreamserve_training.export.graphs import NEVER_DONE
from dreamserve_training.models.mixture import sample_with_noise
from dreamserve_training.models.recurrent import MDNRNN
from dreamserve_training.models.vae import ConvVAE


class ModelBackend:
    """A world computed by its PyTorch models; shapes as `dreamserve.backends.base` says."""

    name = "pytorch"

    def __init__(self, spec: WorldSpec, vae: ConvVAE, mdnrnn: MDNRNN) -> None:
        self.spec, self.vae, self.mdnrnn = spec, vae.eval(), mdnrnn.eval()

    @torch.inference_mode()
    def encode(self, frames: Array) -> tuple[Array, Array]:
        """Return the posterior's mu and logvar of each frame."""
        mu, logvar = self.vae.encode(torch.from_numpy(frames))
        return mu.numpy(), logvar.numpy()

    @torch.inference_mode()
    def decode(self, latent: Array) -> Array:
        """Return the frame that each latent stands for."""
        frames: Array = self.vae.decode(torch.from_numpy(latent)).contiguous().numpy()
        return frames

    @torch.inference_mode()
    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step."""
        h, c = map(torch.from_numpy, batch.state)
        z, action = _sequence(batch.latent), _sequence(batch.action)
        output = self.mdnrnn(z, action, (h, c))
        mixture = type(output.mixture)(*(part.squeeze(1) for part in output.mixture))
        temperature = torch.from_numpy(batch.temperature)
        normal, uniform = torch.from_numpy(batch.noise).split(
            (self.spec.noise.normal, self.spec.noise.uniform), dim=1
        )
        rule = self.spec.temperature_rule
        drawn = sample_with_noise(mixture, temperature, normal, uniform, rule)
        constant = self.spec.reward.value
        return StepOutput(
            drawn.numpy(),
            _or_constant(output.reward, temperature, constant if constant is not None else 0.0),
            _or_constant(output.done_logit, temperature, NEVER_DONE),
            tuple(part.numpy() for part in output.state),
            *(part.numpy() for part in mixture),
        )


def _sequence(array: Array | Actions) -> Tensor:
    return torch.from_numpy(array).unsqueeze(1)  # one step long: (B, 1, …)


def _or_constant(head: Tensor | None, like: Tensor, constant: float) -> Array:
    values: Array = (torch.full_like(like, constant) if head is None else head.squeeze(1)).numpy()
    return values
