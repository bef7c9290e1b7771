"""Prints the benchmarks' results: tables in Markdown, with command, machine and versions."""

import importlib.metadata
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from contention import Watch

PEERS = Path(__file__).parent / ".peers"


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Return the median of several rounds with their minimum and maximum."""
    least, most = min(values), max(values)
    return f"{statistics.median(values):{form}} ({least:{form}} to {most:{form}})"


def told(figure: float | None, form: str = "g") -> str:
    """Return a figure; `none` for one that is not known, such as the error of a single episode."""
    return "none" if figure is None else format(figure, form)


def verdict(claim: str, holds: bool) -> str:
    """Return a claim and whether it holds."""
    return f"{claim}: {'holds' if holds else 'FALLS SHORT'}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def print_circumstances(
    packages: Sequence[str],
    peers: Sequence[str] = (),
    watch: Watch | None = None,
    cores: str = "the server on one, the load on another",
) -> None:
    """Print the command, the machine, and the versions of `packages` and `peers`."""
    script = Path(sys.argv[0]).name
    model = "unknown CPU"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    print(f"\ncommand: python benchmarks/{' '.join([script, *sys.argv[1:]])}")
    print(f"machine: {model}, {os.cpu_count()} cores; {cores}")
    versions = [f"Python {sys.version.split()[0]}"]
    versions += [f"{name} {_version(name)}" for name in packages]
    print(f"versions: {', '.join(versions)}")
    if peers:
        print(f"peers: {', '.join(f'{name} {_peer_version(name)}' for name in peers)}")
    if watch is not None:
        print(f"quiet: {watch}")


def _version(package: str) -> str:
    """Look up the distribution of a package: onnxruntime may come from onnxruntime-gpu."""
    providers = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(providers[0]) if providers else "not installed"


def _peer_version(name: str) -> str:
    places = [str(place) for place in PEERS.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(name=name, path=places)
    return next((distribution.version for distribution in found), "not installed")
