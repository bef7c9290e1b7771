"""The server's settings: DREAMSERVE_* variables, which command line options override.

No other module reads the environment. Names include units.
"""

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dreamserve import listed
from dreamserve.environment import meant_for_us, unknown
from dreamserve.errors import SettingsError
from dreamserve.trust import UNTRUSTED, Trust

PREFIX = "DREAMSERVE_"
# User and password of a URL, even of one whose password is not percent-encoded; or in its query.
_SECRET = re.compile(r"(?<=:/)/\S*@|(?<=[?&])(username|password)=[^&\s]*", re.IGNORECASE)


class Settings(BaseModel):
    """All settings; frozen after start-up."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes any free one.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="critical, error, warning, info or debug."
    )
    log_format: Literal["text", "json"] = Field("text", description="text or json.")
    access_log: bool = Field(False, description="Log every request, not only problems.")
    max_log_lines_per_s: int = Field(
        10, ge=1, description="Maximum log lines of one kind a second; then their number."
    )
    metrics: bool = Field(True, description="Serve Prometheus metrics at /metrics.")
    traces: bool = Field(
        False, description="Send OpenTelemetry traces, as the variables OTEL_* say."
    )
    allowed_origins: Annotated[str, AfterValidator(listed.origins)] = Field(
        "",
        description="Comma-separated origins of web pages that may use this server; * for any.",
    )
    allowed_hosts: Annotated[str, AfterValidator(listed.hosts)] = Field(
        "",
        description="Comma-separated names in Host that a server on a loopback address accepts"
        " beside this machine's own; * for any.",
    )

    api_keys_file: str = Field(
        "", description="TOML file of API keys (docs/security.md). Without one, no key is needed."
    )
    requests_per_s: float = Field(
        0.0,
        ge=0,
        le=1e9,
        description="Maximum requests per second of an API key that has no limit of its own, or,"
        " without keys, of a client address; beyond it 429. 0: no limit.",
    )
    request_burst: int = Field(
        100, ge=1, description="Requests that may come at once before that rate holds."
    )
    trusted_proxies: Annotated[str, AfterValidator(listed.proxies)] = Field(
        "",
        description="Comma-separated addresses or networks of proxies whose X-Forwarded-For and"
        " X-Forwarded-Proto are believed; * for any.",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path prefix at which a proxy serves this server, such as /dreams.",
    )
    tls_cert: str = Field("", description="PEM file of the certificate chain, to serve HTTPS.")
    tls_key: str = Field("", description="PEM file of the certificate's private key.")

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

    max_bundle_bytes: int = Field(
        UNTRUSTED.max_bundle_bytes,
        ge=1,
        description="Maximum bytes of a bundle's files, and of its arrays as float32.",
    )
    max_graph_bytes: int = Field(
        UNTRUSTED.max_graph_bytes,
        ge=1,
        description="Maximum memory of each ONNX graph, as it is tried at start and as it runs.",
    )
    load_timeout_s: float = Field(
        UNTRUSTED.load_timeout_s,
        gt=0,
        le=86_400,
        description="Maximum seconds to load a bundle's ONNX graphs and run each on a few batches.",
    )
    worlds_folder: str = Field(
        "",
        description="Folder of bundles that administrators may load while the server runs.",
    )
    trust_torchscript: bool = Field(
        UNTRUSTED.trust_torchscript,
        description="Run the bundles' TorchScript, which can do what this user can; for torch*.",
    )

    capacity: int = Field(
        10_000, ge=1, le=100_000_000, description="Maximum number of sessions; beyond it 429."
    )
    session_ttl_s: float = Field(
        3600.0, gt=0, le=1e9, description="Seconds after which an idle session expires."
    )
    store: str = Field(
        "memory",
        min_length=1,
        description="Where sessions are stored: memory, sqlite:PATH, or a redis:// URL.",
    )
    durability: Literal["strict", "relaxed"] = Field(
        "strict",
        description="strict: a response waits until its step is stored; relaxed: it does not.",
    )
    store_timeout_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Seconds until the store must have confirmed a step; then 503.",
    )
    max_batch: int = Field(256, ge=1, le=65_536, description="Maximum rows of one inference call.")
    max_queue: int = Field(4096, ge=1, description="Maximum waiting requests; beyond it 429.")
    max_jobs: int = Field(
        64, ge=1, description="Maximum concurrent plans, samples and rollouts; beyond it 429."
    )
    max_wait_s: float = Field(
        10.0,
        gt=0,
        le=1e6,
        description="Maximum expected wait of a plan, sample or rollout; beyond it 429.",
    )
    slice_ms: float = Field(
        1.5,
        gt=0,
        le=1e4,
        description="Length of a slice of a plan; a step waits for one slice at most.",
    )
    drain_s: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="Maximum seconds to finish requests and serve existing sessions after SIGTERM.",
    )
    drain_quiet_s: float = Field(
        5.0,
        ge=0,
        le=1e6,
        description="Seconds without a request about a session that end this time early.",
    )

    max_connections: int = Field(
        2000,
        ge=1,
        description="Maximum connections; beyond it the longest idle are closed, else 429."
        " The limit of open files can lower it.",
    )
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        le=1e6,
        description="Maximum seconds to receive a request line and headers, then 408.",
    )
    transfer_timeout_s: float = Field(
        60.0,
        gt=0,
        le=1e6,
        description="Maximum seconds to receive a body, then 408, and for a client to read what is"
        " sent to it, then the connection is closed.",
    )
    idle_timeout_s: float = Field(
        75.0,
        gt=0,
        le=1e6,
        description="Seconds after which a connection without a request is closed.",
    )
    socket_idle_timeout_s: float = Field(
        3600.0,
        gt=0,
        le=1e6,
        description="Seconds after which a WebSocket without a message is closed.",
    )
    max_head_bytes: int = Field(
        64 * 2**10, ge=1024, description="Maximum size of request line and headers; beyond it 431."
    )

    max_body_bytes: int = Field(
        32 * 2**20,
        ge=1,
        description="Maximum body size, and of its PNG frames when decoded, beyond it 413; a larger"
        " message closes /stream.",
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
        10_000,
        ge=1,
        description="Maximum steps of a plan: `horizon` x `action_repeat` + `policy_steps`.",
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
    max_kept_bytes: int = Field(
        2 * 2**30,
        ge=0,
        description="Maximum memory of all sessions' rewind windows, if every step kept includes"
        " everything; beyond it 429.",
    )
    max_plan_bytes: int = Field(
        64 * 2**20, ge=0, description="Memory for all sessions' last plans, for warm starts."
    )
    max_frames: int = Field(2048, ge=1, description="Maximum frames in a request or a response.")
    max_mixture_bytes: int = Field(
        64 * 2**20, ge=1, description="Maximum bytes of mixtures in a response of /sample."
    )

    def changed(self) -> dict[str, Any]:
        """Return the settings that are not the default, without what is secret, for the log."""
        fields = type(self).model_fields.items()
        values = {name: getattr(self, name) for name, field in fields}
        return {
            name: masked(str(values[name])) if _is_open(name) else "***"
            for name, field in fields
            if values[name] != field.default
        }

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins as a set."""
        return frozenset(listed.items(self.allowed_origins))

    @property
    def trust(self) -> Trust:
        """How far bundles are trusted."""
        return Trust(
            self.max_bundle_bytes, self.max_graph_bytes, self.load_timeout_s, self.trust_torchscript
        )

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Return the settings; `given` overrides the environment, which overrides the defaults.

        An empty variable counts as not set: those who start a process often cannot remove one.
        `given` are options of the command line. Raises SettingsError with a one-line message.
        """
        variables = meant_for_us(os.environ, PREFIX)
        known = {PREFIX + name.upper(): name for name in cls.model_fields}
        problems = list(unknown(variables, known, PREFIX))
        environment = {
            known[name]: value for name, value in variables.items() if name in known and value
        }
        try:
            settings = cls(**environment | given)
        except ValidationError as error:
            problems += [_told(problem, given) for problem in error.errors()]
            raise SettingsError("; ".join(problems)) from error
        if problems:
            raise SettingsError("; ".join(problems))
        return settings


def logs_as_json(given: dict[str, Any]) -> bool:
    """Return whether the log is wanted as JSON, also where other settings are not valid.

    `given` are options of the command line.
    """
    return (given.get("log_format") or os.environ.get(f"{PREFIX}LOG_FORMAT")) == "json"


def masked(text: str) -> str:
    """Return a text without the users and passwords of URLs in it."""
    return _SECRET.sub(lambda found: "/***@" if found[0][0] == "/" else f"{found[1]}=***", text)


def otel_variable(name: str, default: str) -> str:
    """Return a variable of OpenTelemetry that its SDK leaves to others to read."""
    return os.environ.get(name) or default


def _is_open(name: str) -> bool:
    """Return whether a setting may be logged, as its name says."""
    return not any(word in name for word in ("key", "token", "secret", "password"))


def option(name: str) -> str:
    """Return the option of the command line that overrides a setting."""
    return f"--{name.replace('_', '-')}"


def _told(problem: Any, given: dict[str, Any]) -> str:
    name = str(problem["loc"][0])
    where = option(name) if name in given else PREFIX + name.upper()
    given_value = repr(problem["input"]) if _is_open(name) else "***"
    return masked(f"{where} is {given_value}: {problem['msg'].removeprefix('Value error, ')}")
