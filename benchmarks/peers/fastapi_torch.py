"""The obvious first version: FastAPI, torch in the thread pool, each session's tensors in a dict.

    benchmarks/.peers/bin/python benchmarks/peers/fastapi_torch.py BUNDLE --port 9002

Each request is a batch of one. Only types are validated: a repeated request advances the session
twice.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class ResetBody(BaseModel):
    """The fields of dreamserve's /reset."""

    session_id: str
    seed: int = 0
    temperature: float = 1.0


class StepBody(BaseModel):
    """The fields of dreamserve's /step that the load sends, and two optional ones."""

    session_id: str
    action: int
    step: int | None = None
    include: list[str] = []


@dataclass
class Session:
    """One dream's state: latent (1, Z), h and c (1, R), temperature (1,)."""

    latent: torch.Tensor
    h: torch.Tensor
    c: torch.Tensor
    temperature: torch.Tensor
    step: int = 0


class World:
    """A bundle's step graph and bank of starts, in torch."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.normal: int = manifest["noise"]["normal"]
        self.uniform: int = manifest["noise"]["uniform"]
        self.threshold: float = manifest["done"]["threshold"]
        self.graph = torch.jit.load(str(bundle / "step.pt")).float().eval()
        with np.load(bundle / "bank.npz") as bank:
            self.bank = {name: torch.from_numpy(bank[name]).float() for name in bank.files}

    def begin(self, temperature: float) -> Session:
        """Return a session that starts at a random entry of the bank."""
        entry = int(torch.randint(len(self.bank["mu"]), ()))
        rows = {name: values[entry : entry + 1] for name, values in self.bank.items()}
        spread = torch.exp(rows["logvar"] / 2)
        return Session(
            latent=rows["mu"] + spread * torch.randn_like(spread),
            h=rows["state.h"],
            c=rows["state.c"],
            temperature=torch.full((1,), temperature),
        )

    @torch.inference_mode()
    def advance(self, session: Session, action: int) -> tuple[float, float]:
        """Take a step; return its reward and its done logit."""
        noise = torch.cat([torch.randn(1, self.normal), torch.rand(1, self.uniform)], dim=1)
        session.latent, reward, done_logit, session.h, session.c, *_ = self.graph(
            session.latent, torch.tensor([action]), session.h, session.c, session.temperature, noise
        )
        session.step += 1
        return reward.item(), done_logit.item()


def app_of(world: World) -> FastAPI:
    """Return the application."""
    app = FastAPI()
    sessions: dict[str, Session] = {}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/reset")
    def reset(body: ResetBody) -> dict[str, Any]:
        session = sessions[body.session_id] = world.begin(body.temperature)
        return {"session_id": body.session_id, "step": 0, "latent": session.latent[0].tolist()}

    @app.post("/step")
    def step(body: StepBody) -> dict[str, Any]:
        session = sessions.get(body.session_id)
        if session is None:
            raise HTTPException(404, f"no session {body.session_id!r}")
        reward, done_logit = world.advance(session, body.action)
        return {
            "session_id": body.session_id,
            "step": session.step,
            "latent": session.latent[0].tolist(),
            "reward": reward,
            "terminated": done_logit > world.threshold,
            "truncated": False,
            "info": {},
        }

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    uvicorn.run(
        app_of(World(arguments.bundle)),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
