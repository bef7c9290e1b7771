"""The server's settings: DREAMSERVE_* variables, which command line options override.

No other module reads the environment. Names include units.
"""

import os
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreamserve.environment import meant_for_us, unknown
from dreamserve.errors import SettingsError

PREFIX = "DREAMSERVE_"


class Settings(BaseModel):
    """All settings; frozen after start-up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes any free one.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="critical, error, warning, info or debug."
    )
    allowed_origins: str = Field(
        "",
        description="Comma-separated origins of web pages that may use this server; * for any.",
    )
    allowed_hosts: str = Field(
        "",
        description="Comma-separated names in Host that a server on a loopback address accepts"
        " beside this machine's own; * for any.",
    )

    backend: Literal["auto", "onnx", "torch", "onnx-cuda", "torch-cuda"] = Field(
        "auto", description="auto, onnx, torch, onnx-cuda or torch-cuda."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of a step; 0: the fastest number, measured at start.",
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32", description="Precision of a step on torch-cuda; tf32 and bf16 are less exact."
    )

    capacity: int = Field(
        10_000, ge=1, le=100_000_000, description="Maximum number of sessions; beyond it 429."
    )
    session_ttl_s: float = Field(
        3600.0, gt=0, description="Seconds after which an idle session expires."
    )
    max_batch: int = Field(256, ge=1, le=65_536, description="Maximum rows of one inference call.")
    max_queue: int = Field(4096, ge=1, description="Maximum waiting requests; beyond it 429.")
    max_jobs: int = Field(
        64, ge=1, description="Maximum concurrent plans, samples and rollouts; beyond it 429."
    )
    max_wait_s: float = Field(
        10.0,
        gt=0,
        description="Maximum expected wait of a plan, sample or rollout; beyond it 429.",
    )
    slice_ms: float = Field(
        1.5, gt=0, description="Length of a slice of a plan; a step waits for one slice at most."
    )
    drain_s: float = Field(
        20.0,
        ge=0,
        description="Maximum seconds to finish requests and serve existing sessions after SIGTERM.",
    )
    drain_quiet_s: float = Field(
        5.0,
        ge=0,
        description="Seconds without a request about a session that end this time early.",
    )

    max_connections: int = Field(
        2000,
        ge=1,
        description="Maximum connections; beyond it the longest idle are closed, else 429."
        " The limit of open files can lower it.",
    )
    head_timeout_s: float = Field(
        10.0, gt=0, description="Maximum seconds to receive a request line and headers, then 408."
    )
    transfer_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Maximum seconds to receive a body, then 408, and for a client to read what is"
        " sent to it, then the connection is closed.",
    )
    idle_timeout_s: float = Field(
        75.0, gt=0, description="Seconds after which a connection without a request is closed."
    )
    socket_idle_timeout_s: float = Field(
        3600.0, gt=0, description="Seconds after which a WebSocket without a message is closed."
    )
    max_head_bytes: int = Field(
        64 * 2**10, ge=1024, description="Maximum size of request line and headers; beyond it 431."
    )

    max_body_bytes: int = Field(
        32 * 2**20,
        ge=1,
        description="Maximum body size, beyond it 413; a larger frame closes /stream.",
    )
    max_elements: int = Field(
        1_000_000,
        ge=1,
        description="Maximum elements of all lists and objects of a body; beyond it 413."
        " A packed array counts as three.",
    )
    max_lists: int = Field(
        100_000, ge=1, description="Maximum lists, objects and keys of a body; beyond it 413."
    )
    max_bodies_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Maximum sum of all bodies over 64 KiB whose requests are received or in"
        " progress; beyond it 429.",
    )
    max_responses_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Maximum sum of all responses that clients have not read; beyond it large"
        " responses wait, and who has not read for the longest is disconnected.",
    )
    max_stream_requests: int = Field(
        256,
        ge=1,
        description="Maximum requests in progress on one /stream; then reading pauses.",
    )
    max_dreamt_steps: int = Field(
        2_000_000, ge=1, description="Maximum imagined steps of one plan, sample or rollout."
    )
    max_plan_steps: int = Field(
        10_000, ge=1, description="Maximum steps of a plan: `horizon` x `action_repeat`."
    )
    max_job_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Maximum memory of one plan, sample, rollout or batch in progress.",
    )
    max_rows: int = Field(
        65_536,
        ge=1,
        description="Maximum rows of a batch, episodes per policy, futures of /sample, and"
        " `candidates` x `particles` of a plan.",
    )
    max_forks: int = Field(1024, ge=1, description="Maximum sessions that one fork creates.")
    max_rewind: int = Field(256, ge=0, description="Maximum `rewind_window` of a session.")
    max_kept_steps: int = Field(
        100_000, ge=0, description="Maximum sum of all sessions' rewind windows; beyond it 429."
    )
    max_plan_bytes: int = Field(
        64 * 2**20, ge=0, description="Memory for all sessions' last plans, for warm starts."
    )
    max_frames: int = Field(2048, ge=1, description="Maximum frames in a request or a response.")
    max_mixture_bytes: int = Field(
        64 * 2**20, ge=1, description="Maximum bytes of mixtures in a response of /sample."
    )

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins as a set."""
        return frozenset(filter(None, map(str.strip, self.allowed_origins.split(","))))

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Return the settings; `given` overrides the environment, which overrides the defaults.

        `given` are options of the command line. Raises SettingsError with a one-line message.
        """
        variables = meant_for_us(os.environ, PREFIX)
        known = {PREFIX + name.upper(): name for name in cls.model_fields}
        problems = list(unknown(variables, known))
        environment = {known[name]: value for name, value in variables.items() if name in known}
        try:
            settings = cls(**environment | given)
        except ValidationError as error:
            problems += [_told(problem, given) for problem in error.errors()]
            raise SettingsError("; ".join(problems)) from error
        if problems:
            raise SettingsError("; ".join(problems))
        return settings


def option(name: str) -> str:
    """Return the option of the command line that overrides a setting."""
    return f"--{name.replace('_', '-')}"


def _told(problem: Any, given: dict[str, Any]) -> str:
    name = str(problem["loc"][0])
    where = option(name) if name in given else PREFIX + name.upper()
    return f"{where} is {problem['input']!r}: {problem['msg']}"
