"""Write a first recipe for an environment, with the defaults that follow from it as comments."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from dreamserve.observations import FrameSpec
from dreamserve_training.defaults import resolve
from dreamserve_training.files import atomic_write
from dreamserve_training.probe import probe
from dreamserve_training.recipe import Recipe, ResolvedRecipe
from dreamserve_training.recipe_files import RecipeError, recipe_name

_TEMPLATE = '''"""{env_id}: {observation}.

dreamserve-train recipe ./{name}.py --out runs/{name}
"""

from dreamserve_training.recipe import Recipe

RECIPE = Recipe(
    env={env!r},  # or a callable that returns an environment, such as a class or a lambda
{given}\
    # Each line below says what holds without it; uncomment a line to change it.
    # action_names={names!r},
    # max_episode_steps={limit},
{size}\
    # steps={steps},  # of experience, about; more is better, and takes longer
    # collect={{{collect}}},
{vae}\
    # memory_options={{{memory}}},
    # train={{{train}}},
    # controller={{{controller}}},
    # evaluate={{{evaluate}}},
    # There is more: who plays (policy), numbers to store (record), other agents to compare with
    # (baselines); see the documentation, "Bring your own environment".
)
'''


def write_recipe(folder: Path, name: str, env: str, part: str | None = None) -> Path:
    """Write `folder`/NAME.py for the environment `env`, and return its path.

    Raises RecipeError for an invalid name and if the file exists, and what `probe.probe` raises.
    """
    path = folder / f"{name}.py"
    recipe_name(str(path))
    if path.exists():
        raise RecipeError(f"{path}: exists and will not be overwritten")
    recipe = Recipe(env=env, name=name.lower(), part=part)
    probed = probe(recipe)
    text = _text(name, recipe, resolve(recipe, probed), probed.mean_steps)
    with atomic_write(path) as file:
        file.write(text.encode())
    return path


def _text(name: str, recipe: Recipe, resolved: ResolvedRecipe, mean_steps: float) -> str:
    spec, env = resolved.env.observation, resolved.env
    is_frames = isinstance(spec, FrameSpec)
    shape = " x ".join(map(str, spec.shape))
    seen = f"pictures of {shape}" if is_frames else f"{shape} numbers"
    size = f"    # size={spec.shape[:2]},  # (height, width) that the world sees\n"
    vae = f"    # vae={{{_shown(resolved.vae, 'z_dim', 'epochs')}}},\n"
    return _TEMPLATE.format(
        name=name,
        env=recipe.env,
        env_id=env.env_id,
        observation=f"observations are {seen}",
        given=f"    part={recipe.part!r},\n" if recipe.part else "",
        names=list(env.action_space.names),
        limit=env.max_episode_steps,
        size=size if is_frames else "",
        steps=max(1000, round(resolved.collect.episodes * mean_steps / 1000) * 1000),
        collect=_shown(resolved.collect, "episodes", "shortest", "longest"),
        vae=vae if is_frames else "",
        memory=_options(resolved.memory_options),
        train=_shown(resolved.train, "epochs", "lr"),
        controller=_shown(resolved.controller, "generations", "population", "temperature"),
        evaluate=_shown(resolved.evaluate, "episodes", "plan_episodes", "plan"),
    )


def _shown(config: Any, *names: str) -> str:
    return _options({item.name: getattr(config, item.name) for item in fields(config)}, *names)


def _options(options: dict[str, Any], *names: str) -> str:
    return ", ".join(f'"{name}": {options[name]!r}' for name in names or options)
