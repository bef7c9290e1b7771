"""Checks of a world's PyTorch models, before export."""

import torch

from dreamserve_training.models.mixture import mdn_loss_function
from dreamserve_training.models.vae import ConvVAE
from dreamserve_training.models.world_model import WorldModel
from dreamserve_training.validation.report import CheckFailed


def weights(vae: ConvVAE, model: WorldModel) -> str:
    """Check that every weight is finite."""
    counts = []
    for name, part in (("V", vae), ("M", model)):
        for weight, tensor in part.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise CheckFailed(f"{name}: {weight} holds NaN or infinity")
        counts.append(f"{name} {sum(p.numel() for p in part.parameters()):,} parameters")
    return ", ".join(counts)


def forward(vae: ConvVAE, model: WorldModel) -> str:
    """Check that state shapes fit and loss and gradients are finite, at several batch shapes."""
    if vae.z_dim != model.z_dim:
        raise CheckFailed(f"V has {vae.z_dim} latents, M has {model.z_dim}")
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, 1), (1, 16), (4, 1), (4, 16), (32, 8)]
    for batch, steps in sizes:
        z, actions = _sequences(model, batch, steps, generator)
        output = model(z, actions)
        for tensor, part in zip(model.spec().recurrent_state, output.state, strict=True):
            if part.shape != (batch, *tensor.shape):
                raise CheckFailed(f"{tensor.name} is {tuple(part.shape)} for a batch of {batch}")
        loss = mdn_loss_function(output.mixture, z)
        for head in (output.reward, output.done_logit):
            if head is not None:
                loss = loss + head.square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        numbers = [loss.detach(), *(g for g in gradients if g is not None)]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in numbers):
            raise CheckFailed(f"loss or gradient is not finite at batch {batch}, {steps} steps")
    return "batch x steps " + ", ".join(f"{batch}x{steps}" for batch, steps in sizes)


@torch.inference_mode()
def memory(vae: ConvVAE, model: WorldModel) -> str:
    """Check that a whole sequence and the same sequence step by step give the same outputs."""
    z, actions = _sequences(model, 3, 12, torch.Generator().manual_seed(1))
    at_once = model(z, actions)
    state, worst = None, 0.0
    for t in range(z.shape[1]):
        part = model(z[:, t : t + 1], actions[:, t : t + 1], state)
        state = part.state
        difference = (part.mixture.mu[:, 0] - at_once.mixture.mu[:, t]).abs().max()
        worst = max(worst, float(difference))
    if not worst < 1e-4:
        raise CheckFailed(f"step by step differs from the whole sequence by {worst:.2g}")
    return f"12 steps, one by one against all at once: {worst:.1e}"


def _sequences(
    model: WorldModel, batch: int, steps: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(batch, steps, model.z_dim, generator=generator)
    taken = model.action_input
    uniforms = torch.rand(batch, steps, *taken.shape, generator=generator)
    if taken.space is None:
        return z, 2 * uniforms - 1
    return z, torch.from_numpy(taken.space.uniform(uniforms.numpy()))
