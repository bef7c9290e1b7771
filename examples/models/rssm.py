"""A world model of your own: an RSSM with categorical latents becomes a bundle.

    .venv/bin/python examples/models/rssm.py rssm-world
    .venv/bin/dreamserve check rssm-world
    .venv/bin/dreamserve serve rssm-world

The environment is a dot on a line, seen as 8x8 gray frames; the reward is 1 at the right end. The
memory h is a GRU's, the latent z is 4 groups of 4 classes (DreamerV2, Hafner et al. 2021):
prior p(z | h), posterior q(z | h, x), which is why `encode` takes the memory.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from dreamserve.heads import Categorical
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, TensorSpec, WorldSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.export import WorldGraphs, half_precision, write_bundle

SIDE, ACTIONS, HIDDEN, GROUPS, CLASSES, STEPS = 8, 3, 32, 4, 4, 12
Z = GROUPS * CLASSES


class RSSM(nn.Module):
    """All parts of the model; the three graphs share them."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Linear(SIDE**2 + HIDDEN, 64), nn.ELU(), nn.Linear(64, Z))
        self.memory = nn.GRUCell(Z + ACTIONS, HIDDEN)
        self.prior = nn.Linear(HIDDEN, Z)
        self.reward = nn.Linear(HIDDEN, 1)
        self.show = nn.Sequential(nn.Linear(Z, 64), nn.ELU(), nn.Linear(64, SIDE**2))

    def posterior(self, frames: Tensor, h: Tensor) -> Tensor:
        """Return logits (B, groups, classes) of q(z | h, x)."""
        return self.see(torch.cat([frames.flatten(1), h], 1)).reshape(-1, GROUPS, CLASSES)

    def forward(self, z: Tensor, action: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next h, the logits of p(z | h), and the reward."""
        taken = (action[:, None] == torch.arange(ACTIONS)).type_as(z)
        h = self.memory(torch.cat([z, taken], 1), h)
        return h, self.prior(h).reshape(-1, GROUPS, CLASSES), self.reward(h).squeeze(1)


class Encode(nn.Module):
    def __init__(self, model: RSSM) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, h: Tensor) -> Tensor:
        return self.model.posterior(frames, h)


class Step(nn.Module):
    def __init__(self, model: RSSM) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent, action, h, temperature, noise):  # type: ignore[no-untyped-def]
        h, logits, reward = self.model(latent, action, h)
        # Inverse CDF: one uniform for each group. At temperature 0 this is the argmax.
        hot = torch.softmax(logits / temperature.clamp(min=1e-6)[:, None, None], dim=2)
        chosen = (noise[:, :, None] > hot.cumsum(2)[:, :, :-1]).long().sum(2)
        drawn = (chosen[:, :, None] == torch.arange(CLASSES)).type_as(latent).flatten(1)
        return drawn, reward, reward * 0 - 1e4, h, logits  # done_logit: it never ends


class Decode(nn.Module):
    def __init__(self, model: RSSM) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.model.show(latent)).reshape(-1, SIDE, SIDE, 1)


def episodes(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return frames (N, T + 1, 8, 8, 1) in [0, 1], random actions (N, T), rewards (N, T)."""
    actions = rng.integers(ACTIONS, size=(count, STEPS))
    places = [rng.integers(SIDE, size=count)]
    for t in range(STEPS):
        places.append(np.clip(places[-1] + actions[:, t] - 1, 0, SIDE - 1))
    at = np.stack(places, 1)
    frames = np.zeros((count, STEPS + 1, SIDE, SIDE, 1), np.float32)
    frames[np.arange(count)[:, None], np.arange(STEPS + 1), SIDE // 2, at] = 1
    rewards = (at[:, 1:] == SIDE - 1).astype(np.float32)
    return torch.from_numpy(frames), torch.from_numpy(actions), torch.from_numpy(rewards)


def observe(model: RSSM, frames: Tensor, actions: Tensor, rewards: Tensor) -> tuple[Tensor, dict]:
    """Return the loss of whole episodes, and their moments: h before, posterior logits."""
    h, prior, loss = torch.zeros(len(frames), HIDDEN), None, torch.zeros(())
    moments: dict[str, list[Tensor]] = {"state.h": [], "logits": []}
    for t in range(STEPS + 1):
        logits = model.posterior(frames[:, t], h)
        moments["state.h"].append(h.detach())
        moments["logits"].append(logits.detach())
        q = torch.softmax(logits, 2)
        drawn = one_hot(torch.distributions.Categorical(q).sample(), CLASSES).float()
        z = (drawn + q - q.detach()).flatten(1)  # straight-through gradients
        loss = loss + 100 * mse_loss(torch.sigmoid(model.show(z)), frames[:, t].flatten(1))
        if prior is not None:
            loss = loss + 0.1 * (q * (q.log() - prior.log_softmax(2))).sum((1, 2)).mean()
        if t < STEPS:
            h, prior, reward = model(z, actions[:, t], h)
            loss = loss + mse_loss(reward, rewards[:, t])
    return loss, {name: torch.cat(parts) for name, parts in moments.items()}


def main() -> None:
    """Train the model for a few seconds and write its bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--updates", type=int, default=300)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng, model = np.random.default_rng(0), RSSM()
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(options.updates):
        loss, _ = observe(model, *episodes(32, rng))
        adam.zero_grad()
        loss.backward()
        adam.step()
    model.eval()
    with torch.inference_mode():
        loss, moments = observe(model, *episodes(16, rng))
    spec = WorldSpec(
        name="rssm",
        action_space=DiscreteSpace(n=ACTIONS, names=("left", "stay", "right")),
        observation=FrameSpec(
            source_shape=(SIDE, SIDE, 1),
            crop=Crop(top=0, bottom=SIDE, left=0, right=SIDE),
            shape=(SIDE, SIDE, 1),
        ),
        latent_size=Z,
        recurrent_state=(TensorSpec(name="h", shape=(HIDDEN,)),),
        head=Categorical(groups=GROUPS, classes=CLASSES),
        encode_memory=True,
        noise=NoiseSpec(normal=0, uniform=GROUPS),
        temperature_rule="paper",
        done=DoneRule(),
        reward=RewardRule(kind="head"),
    )
    parts = (half_precision(part(model)) for part in (Encode, Step, Decode))
    bank = {name: part.numpy() for name, part in moments.items()}
    quality = {"loss": round(float(loss), 3)}
    origin = {"environment": "a dot on a line"}
    graphs = WorldGraphs(*parts)
    write_bundle(
        options.bundle, spec=spec, graphs=graphs, bank=bank, origin=origin, quality=quality,
        torchscript=False,
    )  # fmt: skip
    print(f"wrote {options.bundle}, loss {loss:.3f}")


if __name__ == "__main__":
    main()
