"""A world model of your own: a deterministic latent without a decoder becomes a bundle.

    .venv/bin/python examples/models/latent.py latent-world
    .venv/bin/dreamserve check latent-world
    .venv/bin/dreamserve serve latent-world

The environment is a cart that is pushed with a force in [-2, 2], seen as a vector (place, speed);
the reward is highest at place 1. The model is of the kind of TD-MPC2 (Hansen et al. 2024): a latent
that predicts rewards and its own future, and never an observation. It has no memory and takes no
noise; `decode` is left out.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from dreamserve.heads import Deterministic
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, WorldSpec
from dreamserve.observations import VectorSpec
from dreamserve.spaces import BoxSpace
from dreamserve_training.export import WorldGraphs, half_precision, write_bundle

Z, STEPS, FORCE = 16, 8, 2.0


class Model(nn.Module):
    """All parts of the model; the two graphs share them."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Linear(2, 64), nn.ELU(), nn.Linear(64, Z), nn.Tanh())
        self.next = nn.Sequential(nn.Linear(Z + 1, 64), nn.ELU(), nn.Linear(64, Z), nn.Tanh())
        self.reward = nn.Sequential(nn.Linear(Z, 64), nn.ELU(), nn.Linear(64, 1))

    def forward(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next latent (B, Z) and its reward (B,)."""
        z = self.next(torch.cat([z, action / FORCE], 1))
        return z, self.reward(z).squeeze(1)


class Encode(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, vectors: Tensor) -> Tensor:
        return self.model.see(vectors)


class Step(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent, action, temperature, noise):  # type: ignore[no-untyped-def]
        mean, reward = self.model(latent, action)
        done_logit = reward * 0 - 1e4 + 0 * (temperature + noise.sum(1))  # it never ends
        return mean, reward, done_logit, mean.clone()


def episodes(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return vectors (N, T + 1, 2), random forces (N, T, 1) and rewards (N, T)."""
    forces = rng.uniform(-FORCE, FORCE, (count, STEPS, 1)).astype(np.float32)
    seen = [rng.uniform(-1, 1, (count, 2)).astype(np.float32)]
    for t in range(STEPS):
        place, speed = seen[-1].T
        speed = 0.9 * speed + 0.1 * forces[:, t, 0]
        seen.append(np.stack([np.clip(place + 0.2 * speed, -2, 2), speed], 1).astype(np.float32))
    vectors = np.stack(seen, 1)
    rewards = 1 - np.square(vectors[:, 1:, 0] - 1)
    return torch.from_numpy(vectors), torch.from_numpy(forces), torch.from_numpy(rewards)


def loss_of(model: Model, vectors: Tensor, forces: Tensor, rewards: Tensor) -> Tensor:
    """Return the loss of whole episodes: of rewards, and of the latents to come."""
    z, loss = model.see(vectors[:, 0]), torch.zeros(())
    for t in range(STEPS):
        z, reward = model(z, forces[:, t])
        with torch.no_grad():
            following = model.see(vectors[:, t + 1])
        loss = loss + mse_loss(reward, rewards[:, t]) + mse_loss(z, following)
    return loss / STEPS


def main() -> None:
    """Train the model for a few seconds and write its bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--updates", type=int, default=500)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng, model = np.random.default_rng(0), Model()
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(options.updates):
        loss = loss_of(model, *episodes(64, rng))
        adam.zero_grad()
        loss.backward()
        adam.step()
    model.eval()
    vectors, forces, rewards = episodes(64, rng)
    with torch.inference_mode():
        loss, mean = loss_of(model, vectors, forces, rewards), model.see(vectors[:, 0])
    spec = WorldSpec(
        name="latent",
        action_space=BoxSpace(low=(-FORCE,), high=(FORCE,), names=("force",)),
        observation=VectorSpec(names=("place", "speed"), low=(-2.0, None), high=(2.0, None)),
        latent_size=Z,
        recurrent_state=(),
        head=Deterministic(),
        has_decode=False,
        noise=NoiseSpec(normal=0, uniform=0),
        temperature_rule="paper",
        done=DoneRule(),
        reward=RewardRule(kind="head"),
    )
    graphs = WorldGraphs(half_precision(Encode(model)), half_precision(Step(model)))
    write_bundle(
        options.bundle, spec=spec, graphs=graphs, bank={"mean": mean.numpy()},
        origin={"environment": "a cart on a line"}, quality={"loss": round(float(loss), 4)},
        torchscript=False,
    )  # fmt: skip
    print(f"wrote {options.bundle}, loss {loss:.4f}")


if __name__ == "__main__":
    main()
