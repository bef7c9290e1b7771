"""One dream as an environment of Gymnasium."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from dreamserve_client import calls
from dreamserve_client.client import DreamClient, DreamSession
from dreamserve_client.envs.view import (
    LARGEST_SEED,
    METADATA,
    check_options,
    open_view,
)
from dreamserve_client.errors import APIConnectionError
from dreamserve_client.transports.choose import TransportName
from dreamserve_protocol.arrays import UInt8
from dreamserve_protocol.common import Start
from dreamserve_protocol.ids import new_id
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.step import StepResult

_STARTS = ("bank", "latent", "frames", "vectors", "actions", "age")
_OPTIONS = ("temperature", *_STARTS)


class DreamEnv(gymnasium.Env[npt.NDArray[Any], Any]):
    """One dream on a server (`base_url`), in this process (`bundle`), or by a `client` of yours.

    world: Name of a loaded world. Default: the first one loaded.
    observation: What is observed, as in DreamVectorEnv.
    temperature: That of the dreams, unless `reset` has another one.
    max_episode_steps: Steps after which a dream is truncated. Default: none.
    render_mode: With "rgb_array", every step includes the decoded frame, for `render`.
    transport: "http", or "stream", one WebSocket, which has less latency.
    api_key: As in DreamClient.

    Raises ConfigurationError, and as DreamClient.
    """

    metadata = METADATA

    def __init__(
        self,
        base_url: str | None = None,
        *,
        bundle: Any = None,
        client: DreamClient | None = None,
        world: str | None = None,
        observation: str | Sequence[str] = "latent",
        temperature: float = 1.0,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        transport: TransportName = "http",
        api_key: str | None = None,
    ) -> None:
        self._client, self._view = open_view(
            base_url, bundle, client, transport, world, observation, render_mode, api_key
        )
        described = self._view.world
        self.world, self.action_names = described.name, described.action_names
        self.action_space = self._view.action_space
        self.observation_space = self._view.observation_space
        self.render_mode, self.temperature = render_mode, temperature
        self.max_episode_steps = max_episode_steps
        self._session: DreamSession | None = None
        self._id = new_id(self._client.route)
        self._frame: UInt8 | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Begin the dream with that seed; without one, with a seed drawn from `np_random`.

        options: `temperature`; `bank`, a starting point of the world's own, `age`, or `latent`, or
            `frames` or `vectors` with the `actions` between them, as in Start.

        The info holds `seed` and `temperature`, which begin the dream again.
        """
        super().reset(seed=seed)
        given = check_options(options, _OPTIONS)
        start = {name: given[name] for name in _STARTS if name in given}
        reset = calls.reset(
            self.world,
            session_id=self._id,
            seed=int(self.np_random.integers(LARGEST_SEED)) if seed is None else seed,
            temperature=given.get("temperature", self.temperature),
            start=Start(**start) if start else None,
            max_steps=self.max_episode_steps,
            include=self._view.include,
        )
        begun = self._client.send(replace(reset, ids_may_change=True))
        self._session, self._id = DreamSession(self._client, begun), begun.session_id
        return self._observe(begun), {"seed": begun.seed, "temperature": begun.temperature}

    def step(self, action: Any) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Advance the dream by one action."""
        if self._session is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        after = self._session.step(self._view.taken(action), include=self._view.include)
        return self._observe(after), after.reward, after.terminated, after.truncated, {}

    def render(self) -> UInt8 | None:
        """Return the decoded frame (H, W, C) of the dream; None without a render_mode."""
        if self.render_mode is None:
            return None
        if self._frame is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        return self._frame.copy()

    def close(self) -> None:
        """End the session and the connections; a second call does nothing."""
        session, self._session = self._session, None
        try:
            if session is not None:
                session.close()
        except APIConnectionError:
            pass  # the server is gone, and the session with it, or it expires there
        finally:
            self._client.close()

    def _observe(self, result: ResetResult | StepResult) -> npt.NDArray[Any]:
        # a copy: an observation is its receiver's own
        self._frame = None if self.render_mode is None else np.array(result.frame)
        return self._view.one(result)
