"""Many dreams as a VecEnv of stable-baselines3.

    from stable_baselines3 import PPO
    from dreamserve_client.envs.sb3 import DreamVecEnv

    envs = DreamVecEnv("http://127.0.0.1:8000", 256, max_episode_steps=200)
    PPO("MlpPolicy", envs).learn(100_000)

Needs the extra `sb3` of dreamserve-client.
"""

from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import MultiBinary

from dreamserve_client.envs.vector import DreamVectorEnv
from dreamserve_client.errors import APIConnectionError, ConfigurationError
from dreamserve_protocol.arrays import Bools, Float32, UInt8

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    advice = "pip install 'dreamserve-client[sb3]'"
    raise ConfigurationError(f"DreamVecEnv needs stable-baselines3: {advice}") from error

Indices = int | Iterable[int] | None
_MADE_WITH = signature(DreamVectorEnv).parameters


class DreamVecEnv(VecEnv):
    """A DreamVectorEnv, whose arguments it takes, in the form that stable-baselines3 wants.

    A new dream follows at once where one has ended, whose last observation is in the infos as
    `terminal_observation`. `seed` and `set_options` are for the next `reset` alone, also if it
    refuses them: the one after it has the environment's own temperature again. Attributes belong to
    all dreams at once; single ones have no methods.
    """

    def __init__(self, base_url: str | None = None, num_envs: int = 1, **options: Any) -> None:
        self._temperature = options.get("temperature", 1.0)
        self._notes: dict[str, Any] = {}  # what `set_attr` has set
        self.dreams = DreamVectorEnv(base_url, num_envs, autoreset_mode="SameStep", **options)
        spaces = self.dreams.single_observation_space, self.dreams.single_action_space
        self._of_a_row = dict(zip(("observation_space", "action_space"), spaces, strict=True))
        super().__init__(num_envs, *spaces)

    def reset(self) -> npt.NDArray[Any]:
        """Begin all dreams; return the observations."""
        seeded = self._seeds[0] is not None
        seeds = [int(seed) for seed in self._seeds if seed is not None] if seeded else None
        try:
            observations, infos = self.dreams.reset(seed=seeds, options=self._columns())
        except APIConnectionError:
            raise  # the same reset can be asked again
        except Exception:
            self._forget()
            raise
        self._forget()
        names = [name for name in infos if not name.startswith("_")]
        self.reset_infos = [
            {name: infos[name][row].item() for name in names} for row in range(self.num_envs)
        ]
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        if isinstance(self.action_space, MultiBinary):  # its policies draw float32 zeros and ones
            whole = np.asarray(actions).astype(np.int64)
            actions = whole if np.array_equal(whole, actions) else actions
        self._actions = actions

    def step_wait(self) -> tuple[npt.NDArray[Any], Float32, Bools, list[dict[str, Any]]]:
        """Advance the dreams; return observations, rewards, ends, and an info for each."""
        observations, rewards, terminated, truncated, found = self.dreams.step(self._actions)
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": cut} for cut in (truncated & ~terminated).tolist()
        ]
        ended = terminated | truncated
        for row in np.flatnonzero(ended).tolist():
            infos[row]["terminal_observation"] = found["final_obs"][row]
            begun = {name: found[name][row].item() for name in ("seed", "temperature")}
            self.reset_infos[row] = begun
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """End the sessions and the connections."""
        self.dreams.close()

    def get_images(self) -> Sequence[UInt8 | None]:
        """Return the decoded frames."""
        return self.dreams.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of all dreams, once for each row. Raises AttributeError."""
        known = self._of_a_row | self._notes
        found = known[attr_name] if attr_name in known else getattr(self.dreams, attr_name)
        return [found] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of all dreams. Raises ValueError for some of them.

        It may be a note of yours alone: setting what the dreams were made with would change none.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("an attribute belongs to all dreams at once: leave out indices")
        if attr_name in _MADE_WITH or hasattr(self.dreams, attr_name):
            raise ValueError(
                f"{attr_name} is chosen when the environment is made; `set_options` has options of"
                " the next reset, such as the temperature"
            )
        self._notes[attr_name] = value

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Raise AttributeError: the dreams are rows, not objects."""
        raise AttributeError(f"dreams are rows of one environment, they have no {method_name}")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """Return False for each row: nothing wraps a single dream."""
        return [False] * len(list(self._get_indices(indices)))

    def _forget(self) -> None:
        """Forget the seeds and the options of a reset that was answered."""
        self._reset_seeds()
        self._reset_options()

    def _columns(self) -> dict[str, npt.ArrayLike]:
        """Return the options of all rows as columns. Raises ValueError if rows have others."""
        names = set(self._options[0])
        if any(set(options) != names for options in self._options):
            raise ValueError("all dreams must have the same reset options")
        columns = {name: [options[name] for options in self._options] for name in names}
        ages = columns.pop("age", [])
        if any(age != ages[0] for age in ages):
            raise ValueError(f"all dreams of a reset have the same age, not {ages}")
        stacked = {name: np.stack(column) for name, column in columns.items()}
        return {"temperature": self._temperature, **stacked, **({"age": ages[0]} if ages else {})}
