"""Many dreams as a vector environment of Gymnasium: one request advances all of them."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dreamserve_client.client import DreamClient
from dreamserve_client.columns import Columns, begun_rows
from dreamserve_client.dreams import Dreams
from dreamserve_client.envs.view import (
    LARGEST_SEED,
    METADATA,
    check_options,
    column_of,
    open_view,
)
from dreamserve_client.errors import APIConnectionError, ClosedError, ConfigurationError
from dreamserve_client.transports.choose import TransportName
from dreamserve_protocol.arrays import Bools, Float64, Int64, UInt8, array_of
from dreamserve_protocol.batches import FinalRows
from dreamserve_protocol.common import LARGEST_INTEGER
from dreamserve_protocol.errors import InvalidActionError, InvalidRequestError, ProblemError

Observations = npt.NDArray[Any]
Infos = dict[str, Any]
_OPTIONS = ("temperature", "bank", "latents", "age", "reset_mask")


class DreamVectorEnv(VectorEnv[Observations, Any, npt.NDArray[Any]]):
    """`num_envs` dreams on a server, in this process (`bundle`), or by a `client` of yours.

    Dream i is the one that DreamEnv has with the same seed, bit for bit. Options are those of
    DreamEnv, and

    observation: `latent`; `frame`, or `vector` in a world of vectors; `latent+memory`, the latent
        and then all recurrent tensors in the manifest's order; or names of tensors to concatenate,
        such as ("latent", "h").
    autoreset_mode: What happens to dreams that have ended, as in Gymnasium. A new dream's seed
        follows from the old one's.

    A row that fails raises its error, such as InvalidActionError, and `step` may then be called
    again, as in Dreams. If it is the reset of a row that fails, the others show their new dreams.
    """

    def __init__(
        self,
        base_url: str | None = None,
        num_envs: int = 1,
        *,
        bundle: Any = None,
        client: DreamClient | None = None,
        world: str | None = None,
        observation: str | Sequence[str] = "latent",
        temperature: npt.ArrayLike = 1.0,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        transport: TransportName = "http",
        api_key: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        self._mode = AutoresetMode(autoreset_mode)
        if num_envs < 1:
            raise ConfigurationError(f"num_envs must be at least 1, not {num_envs}")
        self._client, self._view = open_view(
            base_url, bundle, client, transport, world, observation, render_mode, api_key
        )
        view = self._view
        self.world, self.action_names = view.world.name, view.world.action_names
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_action_space = view.action_space
        self.single_observation_space = view.observation_space
        self.action_space = batch_space(view.action_space, num_envs)
        self.observation_space = batch_space(view.observation_space, num_envs)
        self.metadata = {**METADATA, "autoreset_mode": self._mode}
        columns = Columns(
            num_envs,
            world=self.world,
            temperature=temperature,
            max_steps=max_episode_steps,
            include=view.include,
            on_end="stay" if self._mode is AutoresetMode.DISABLED else "restart",
        )
        self._columns, self._dreams = columns, Dreams(self._client, columns)
        # What the rows show; with NEXT_STEP, new dreams wait in `_next` for the step after an end.
        self._shown, self._next = view.empty(num_envs), view.empty(num_envs)
        self._seeds = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, np.bool_)  # rows that the next step does not advance
        self._has_begun = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, Infos]:
        """Begin all dreams with the seeds `seed` + i, or those of a list; without, drawn ones.

        options: `temperature` and `bank`, one or (N,); `latents` (N, Z); `age`, that of all new
            dreams, as in Start; and `reset_mask` (N,), the rows to reset, where the others go on.

        The infos hold `seed` and `temperature`.
        """
        if self.closed:
            raise ClosedError("the environment is closed")
        given = check_options(options, _OPTIONS)
        rows = self._rows_of(given.pop("reset_mask", None))
        where = np.arange(self.num_envs) if rows is None else rows
        seeds = self._seeds_of(seed)[where]
        age = given.pop("age", None)
        count = self.num_envs
        columns = {name: column_of(name, one, count)[where] for name, one in given.items()}
        self._reset(rows, where, {"seeds": seeds, "age": age, **columns})
        return self._shown.observations.copy(), self._begun(where)

    def step(self, actions: Any) -> tuple[Observations, Float64, Bools, Bools, Infos]:
        """Advance the dreams by actions (N,) or (N, A).

        Raises ResetNeeded before `reset`, and with DISABLED for rows that have ended.
        """
        taken = self._checked(actions)
        new, rows = np.flatnonzero(self._ended), np.flatnonzero(~self._ended)
        after = None
        if not len(new):
            after = self._dreams.step(taken)
        elif len(rows):
            after = self._dreams.step(taken[rows], rows)
        self._shown.copy_rows(new, self._next)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        infos = self._begun(new)
        if after is not None:
            where = rows if len(new) else slice(None)
            self._view.write(self._shown, where, after)
            rewards[where] = after.rewards
            terminated[where], truncated[where] = after.terminated, after.truncated
            if after.final is not None:
                infos |= self._replace(rows[after.final.rows], after.final)
        if self._mode is not AutoresetMode.SAME_STEP:
            self._ended = terminated | truncated
        return self._shown.observations.copy(), rewards, terminated, truncated, infos

    def render(self) -> tuple[UInt8, ...] | None:
        """Return the decoded frames (H, W, C) of the dreams; None without a render_mode."""
        if self.render_mode is None:
            return None
        if self._shown.frames is None or not self._has_begun:
            raise gymnasium.error.ResetNeeded("call reset before render")
        return tuple(self._shown.frames.copy())

    def close_extras(self, **kwargs: Any) -> None:
        """End the sessions and the connections."""
        has_begun, self._has_begun = self._has_begun, False
        try:
            if has_begun:
                self._dreams.close()
        except APIConnectionError:
            pass  # the server is gone, and the sessions with it, or they expire there
        finally:
            self._client.close()

    def _checked(self, actions: Any) -> npt.NDArray[Any]:
        if not self._has_begun:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if self._mode is AutoresetMode.DISABLED and self._ended.any():
            rows = np.flatnonzero(self._ended).tolist()
            raise gymnasium.error.ResetNeeded(f"reset rows {rows}: their dreams have ended")
        taken = array_of("actions", self._view.taken(actions), error=InvalidActionError)
        if taken.ndim == 0 or len(taken) != self.num_envs:
            shape = f"not of shape {taken.shape}"
            raise ValueError(f"actions must be one for each of {self.num_envs} dreams, {shape}")
        return taken

    def _reset(self, rows: Int64 | None, where: Int64, columns: dict[str, Any]) -> None:
        """Begin dreams, and show those that have begun, whatever other rows did.

        When the first ones fail for a row, end those that have begun.
        """
        result = self._client.send(self._columns.reset(rows, **columns))
        new, fresh = begun_rows(result), self._view.empty(self.num_envs)
        self._view.write(fresh, where, result)
        self._shown.copy_rows(where[new], fresh)
        self._seeds[where[new]], self._ended[where[new]] = result.seeds[new], False
        try:
            self._columns.begun(result, rows)
        except ProblemError:
            if not self._has_begun:
                self._dreams.give_up()
            raise
        self._has_begun = True

    def _replace(self, rows: Int64, final: FinalRows) -> Infos:
        """Let new dreams follow those that ended in these rows; return the infos."""
        self._seeds[rows] = final.seeds
        if self._mode is AutoresetMode.NEXT_STEP:
            self._next.copy_rows(rows, self._shown)
            self._view.write(self._shown, rows, final)
            return {}
        last = self._view.empty(len(rows))
        self._view.write(last, slice(None), final)
        ended, observations = self._mask(rows), np.full(self.num_envs, None, object)
        for row, observation in zip(rows.tolist(), last.observations, strict=True):
            observations[row] = observation
        final_infos = {"final_obs": observations, "_final_obs": ended}
        return final_infos | {"final_info": {}, "_final_info": ended.copy()} | self._begun(rows)

    def _begun(self, rows: Int64) -> Infos:
        """Return the infos of dreams that have begun in these rows."""
        if not len(rows):
            return {}
        begun = self._mask(rows)
        columns: dict[str, npt.NDArray[Any]] = {
            "seed": self._seeds,
            "temperature": self._dreams.temperatures,
        }
        infos: Infos = {name: np.where(begun, column, 0) for name, column in columns.items()}
        return infos | {f"_{name}": begun.copy() for name in columns}

    def _mask(self, rows: Int64) -> Bools:
        mask = np.zeros(self.num_envs, np.bool_)
        mask[rows] = True
        return mask

    def _seeds_of(self, seed: int | Sequence[int | None] | None) -> Int64:
        """Return a seed for every row, and seed `np_random` with what is given.

        Raises InvalidRequestError for one that is too large.
        """
        if seed is None:
            return self.np_random.integers(LARGEST_SEED, size=self.num_envs)
        if isinstance(seed, int | np.integer):
            _check_seeds([seed])
            super().reset(seed=int(seed))
            return int(seed) + np.arange(self.num_envs)
        given = list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"there must be {self.num_envs} seeds, not {len(given)}")
        _check_seeds(given)
        if all_given := [one for one in given if one is not None]:
            self.np_random = np.random.default_rng(all_given)
        drawn = self.np_random.integers(LARGEST_SEED, size=self.num_envs)
        pairs = zip(given, drawn, strict=True)
        return np.array([fallback if one is None else one for one, fallback in pairs], np.int64)

    def _rows_of(self, mask: Any) -> Int64 | None:
        if mask is None:
            return None
        rows = np.asarray(mask)
        if rows.dtype != np.bool_ or rows.shape != (self.num_envs,) or not rows.any():
            shape = f"({self.num_envs},)"
            raise ValueError(f"reset_mask must be a bool array {shape} with at least one True")
        if not self._has_begun:
            raise gymnasium.error.ResetNeeded("reset all rows before some of them")
        return np.flatnonzero(rows)


def _check_seeds(seeds: Sequence[int | None]) -> None:
    """Raise InvalidRequestError for a seed that no array of them holds."""
    for seed in seeds:
        if isinstance(seed, int | np.integer) and seed > LARGEST_INTEGER:
            raise InvalidRequestError(f"seed must be within 0 and {LARGEST_INTEGER}, not {seed}")
