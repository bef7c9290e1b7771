"""Every script of benchmarks/ runs, with settings that make it take seconds."""

import ast
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamserve_training.data.episodes import save_episode
from dreamserve_training.tasks import run_stages

FOLDER = Path(__file__).parents[2] / "benchmarks"
TABLE = "|---"
SBIN = "/usr/sbin"
SCRIPTS = {
    "ablations": "RECIPE POLE --only network,method --iterations 1 --seeds 2 --episodes 1 --out OUT"
    " --learners 1",
    "batch_step": "--rows 8 --rounds 1 --seconds 0.5",
    "camera": "--rounds 1 --seconds 0.5 --steps 10",
    "capacity": "--rounds 1 --seconds 0.5 --sessions 100,1000",
    "dream_danger": "--temperatures 1 --dreams 8 --steps 7",
    "durability": "--rounds 1 --seconds 0.5",
    "evolve": "--generations 1 --max-steps 3 --slice 3",
    "foreseen": "RECIPE POLE",
    "gpu": "--device cpu --worlds lstm256-z32 --sizes 1,9 --candidates 20 --runs 1",
    "http_step": "--only dreamserve --rounds 1 --seconds 0.5",
    "many_connections": "--connections 200 --steps 50",
    "mixture_heads": "takecover RUN --epochs 1 --components 2",
    "overload": "--seconds 0.5 --connections 20 --rounds 1",
    "plan": "--worlds lstm256-z32 --rounds 1 --repeats 1 --no-peers",
    "plan_beside_steps": "--rounds 1 --seconds 0.5 --planners 1",
    "plan_budget": "--sessions 2 --rounds 1 --seconds 0.2",
    "plan_quality": "--systems 1 --starts 1 --seeds 1 --candidates 32 --iterations 2 --no-peers"
    " --only '4 states, 1 action' --bounds 1",
    "plan_trees": "--depths 3 --trees 1",
    "playground": "--players 2 --rounds 1 --seconds 1",
    "ppo": "--dreams 8 --steps 4 --rounds 1",
    "soak": "--seconds 2 --sample-s 1 --measure-s 0.5 --ttl-s 4 --capacity 400",
    "soak --store redis": "--seconds 2 --sample-s 1 --measure-s 0.5 --ttl-s 4 --capacity 400",
    "startup": "--only dreamserve --rounds 1",
    "survival": "--rounds 1 --sessions 10 --settle-s 0.3 --stopped-s 2",
    "stream_step": "--rounds 1 --seconds 0.5",
    "takecover": "--episodes 1 --max-steps 5",
    "takecover --guided": "--episodes 1 --max-steps 5",
    "takecover --real-time": "--episodes 1 --max-steps 5",
    "training": "--no-peers --episodes 1 --frames 64 --epochs 1 --memory-epochs 1",
    "where_hit": "--episodes 1 --max-steps 60 --workers 1",
    "vector_env": "--worlds lstm256-z32 --rounds 1 --seconds 0.5",
}
LOADED_BY_WRK = {
    "batch_step",
    "camera",
    "capacity",
    "durability",
    "http_step",
    "overload",
    "plan_beside_steps",
    "stream_step",
}
WITHOUT_TABLE = {"idle_engine", "worlds"}


def run(name: str, options: list[str], stdin: str | None = None) -> str:
    """Run a script, assert that it exits with 0, and return its output."""
    ran = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"BENCH_ATTEMPTS": "1", "BENCH_SESSIONS": "512"},
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_to_its_end_and_prints_its_table(script: str, tmp_path: Path) -> None:
    name, *flags = script.split()
    if name in LOADED_BY_WRK and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    if name == "playground" and shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    uses_redis = name in ("durability", "survival") or "redis" in flags
    if uses_redis and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    if name == "survival" and not (shutil.which("nginx") or shutil.which("nginx", path=SBIN)):
        pytest.skip("nginx is not installed")
    if name in ("mixture_heads", "takecover", "training", "where_hit"):
        pytest.importorskip("vizdoom", reason="pip install 'dreamserve-training[vizdoom]'")
    options = [*flags, *shlex.split(SCRIPTS[script])]
    if "RUN" in options:
        write_latents(tmp_path)
        options[options.index("RUN")] = str(tmp_path)
    if "POLE" in options:
        paths = {"RECIPE": str(write_pole(tmp_path)), "POLE": str(tmp_path), "OUT": str(tmp_path)}
        options = [paths.get(option, option) for option in options]
    printed = run(name, options)
    rows = printed[printed.index(TABLE) :].splitlines()
    assert rows[1].startswith("| ")


def write_pole(folder: Path) -> Path:
    """Train a tiny world of CartPole in `folder`, up to its controller; return the recipe."""
    recipe = folder / "pole.py"
    recipe.write_text(
        "from dreamserve_training.recipe import Recipe\n\n"
        'RECIPE = Recipe(env="CartPole-v1", steps=200, memory_options={"rnn_size": 8},\n'
        '    train={"epochs": 1}, bank={"draft": 8}, max_episode_steps=20,\n'
        '    controller={"method": "ppo", "iterations": 1, "dreams": 8, "steps": 4})\n'
    )
    names = ("collect", "vae", "encode", "memory", "controller")
    run_stages(str(recipe), folder, folder / "bundle", names)
    return recipe


def write_latents(folder: Path) -> None:
    """Write a recipe's latent episodes for `mixture_heads`: 64 latents a frame, three windows."""
    generator, steps = np.random.default_rng(0), 150
    for split, count in (("train", 4), ("holdout", 2)):
        (folder / "latents" / split).mkdir(parents=True)
        for number in range(count):
            episode = {
                "mu": generator.normal(size=(steps, 64)).astype(np.float16),
                "logvar": np.full((steps, 64), -2, np.float16),
                "actions": generator.integers(3, size=steps),
                "rewards": np.ones(steps, np.float32),
                "terminated": np.arange(steps) == steps - 1,
            }
            save_episode(folder / "latents" / split / f"episode-{number}.npz", episode)


def test_an_idle_engine_reports_its_memory_and_then_its_times() -> None:
    options = ["lstm256-z32", "--sessions", "100", "--capacity", "200"]
    filled, times = run("idle_engine", options, stdin="\n").splitlines()
    assert "resident_bytes" in filled
    assert "single_us" in times


def test_a_world_is_written_where_the_scripts_look_for_it() -> None:
    assert Path(run("worlds", ["lstm256-z32"]).strip(), "manifest.json").is_file()


def test_every_script_is_run_here() -> None:
    runnable = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert runnable == {script.split()[0] for script in SCRIPTS} | WITHOUT_TABLE


def top_level_names(path: Path) -> set[str]:
    """Return the names defined or imported at the top level of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("peers/**/*.py")), ids=lambda path: path.stem)
def test_a_peer_compiles_and_imports_only_names_that_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").partition(".")[0]
            # The peers' environment lacks our packages; peers import only one another.
            assert not module.startswith("dreamserve")
            beside = path.parent / f"{module}.py"
            if beside.is_file():
                assert {alias.name for alias in node.names} <= top_level_names(beside)
