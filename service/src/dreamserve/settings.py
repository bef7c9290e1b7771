"""The server's settings: DREAMSERVE_* variables, or what the command line gives over them.

The one place that reads the environment. Units are in the names.
"""

import os
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dreamserve.errors import SettingsError

PREFIX = "DREAMSERVE_"


class Settings(BaseSettings):
    """All that can be chosen at start-up; frozen afterwards."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes any free one.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="critical, error, warning, info or debug."
    )
    allowed_origins: str = Field(
        "", description="Origins of web pages that may drive this server, with commas; * for any."
    )

    backend: Literal["auto", "onnx", "torch", "onnx-cuda", "torch-cuda"] = Field(
        "auto", description="auto, onnx, torch, onnx-cuda or torch-cuda."
    )
    threads: int = Field(
        0, ge=0, description="Threads of a step on the CPU; 0: as many as are fastest, measured."
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32", description="Of a step on torch-cuda; tf32 and bf16 are less exact."
    )

    capacity: int = Field(10_000, ge=1, description="Sessions at once; one more is answered 429.")
    session_ttl_s: float = Field(3600.0, gt=0, description="A session idle for longer expires.")
    max_batch: int = Field(256, ge=1, description="Rows of one inference call.")
    max_queue: int = Field(4096, ge=1, description="Requests waiting; one more is answered 429.")
    max_jobs: int = Field(
        64, ge=1, description="Plans, samples and rollouts at once; one more is answered 429."
    )
    slice_ms: float = Field(
        1.5, gt=0, description="Length of a slice of a plan; a step waits for one slice at most."
    )
    drain_s: float = Field(20.0, ge=0, description="Seconds to serve known sessions after SIGTERM.")

    max_body_bytes: int = Field(
        32 * 2**20,
        ge=1,
        description="A larger body is answered 413; a larger frame closes /stream.",
    )
    max_stream_requests: int = Field(
        256, ge=1, description="Requests in progress on one /stream; more are not read yet."
    )
    max_dreamt_steps: int = Field(
        2_000_000, ge=1, description="Steps that one plan, sample or rollout may take."
    )
    max_rows: int = Field(65_536, ge=1, description="Sessions in one /step/batch or /reset/batch.")
    max_forks: int = Field(1024, ge=1, description="Sessions that one fork may make.")
    max_rewind: int = Field(256, ge=0, description="Steps that a session can ask to keep.")
    max_kept_steps: int = Field(
        100_000, ge=0, description="Steps that all sessions together can ask to keep; else a 429."
    )
    max_frames: int = Field(2048, ge=1, description="Frames in one request or one answer.")
    max_mixture_bytes: int = Field(
        64 * 2**20, ge=1, description="Mixtures in one answer of /sample, as float32."
    )

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins one by one."""
        return frozenset(filter(None, map(str.strip, self.allowed_origins.split(","))))

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_variables(cls, values: Any) -> Any:
        known = {PREFIX + name.upper() for name in cls.model_fields}
        given = {name for name in os.environ if name.upper().startswith(PREFIX)}
        if unknown := sorted(name for name in given if name.upper() not in known):
            raise ValueError(f"unknown variable {', '.join(unknown)}; known are {sorted(known)}")
        return values

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Return the settings, `given` over the environment over the defaults.

        Raises SettingsError with one clear line.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            problems = (
                f"{PREFIX + str(e['loc'][0]).upper() if e['loc'] else 'environment'}: {e['msg']}"
                for e in error.errors()
            )
            raise SettingsError("; ".join(problems)) from error
