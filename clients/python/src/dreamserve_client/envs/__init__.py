"""Dreams as environments of Gymnasium and of stable-baselines3.

    import gymnasium
    import dreamserve_client.envs  # registers dreamserve/Dream-v0

    env = gymnasium.make("dreamserve/Dream-v0", base_url="http://127.0.0.1:8000")
    envs = gymnasium.make_vec("dreamserve/Dream-v0", num_envs=256, bundle="bundles/takecover")

`dreamserve_client.envs.sb3` has the environment for stable-baselines3. docs/environments.md tells
more. Needs the extra `gymnasium` of dreamserve-client.
"""

from dreamserve_client.errors import ConfigurationError

try:
    import gymnasium
except ImportError as error:
    advice = "pip install 'dreamserve-client[gymnasium]'"
    raise ConfigurationError(f"dreamserve_client.envs needs gymnasium: {advice}") from error

from dreamserve_client.envs.single import DreamEnv
from dreamserve_client.envs.vector import DreamVectorEnv

__all__ = ["ENV_ID", "DreamEnv", "DreamVectorEnv"]

ENV_ID = "dreamserve/Dream-v0"

gymnasium.register(
    ENV_ID,
    entry_point="dreamserve_client.envs.single:DreamEnv",
    vector_entry_point="dreamserve_client.envs.vector:DreamVectorEnv",
)
