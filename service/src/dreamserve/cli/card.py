"""`dreamserve inspect`: what a bundle is, and how good it is, for people or as JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dreamserve.bundle import Bundle, load_bundle
from dreamserve.errors import printable
from dreamserve.manifest_parts import FileSpec


def print_card(path: Path) -> None:
    """Verify the bundle and print its card. Raises BundleError."""
    bundle = load_bundle(path)
    manifest = bundle.manifest
    Console(highlight=False, markup=False).print(
        Group(
            Text.assemble((manifest.name, "bold"), " ", manifest.version),
            _section("World", _grid(_world(bundle))),
            _section("Files, all hashes verified", _grid(_files(bundle))),
            _section("Quality, as measured when it was made", *_measurements(manifest.quality)),
            _section("Origin", _grid(_plain(manifest.origin))),
        )
    )


def print_json(path: Path) -> None:
    """Verify the bundle and print its manifest and the sizes of its files. Raises BundleError."""
    bundle = load_bundle(path)
    fields = {
        "path": str(path),
        "state_bytes": bundle.manifest.state_bytes(),
        "files": {spec.file: _size(bundle, spec) for spec in bundle.manifest.files()},
        "manifest": bundle.manifest.model_dump(mode="json"),
    }
    typer.echo(json.dumps(fields, indent=2))  # in ASCII: nothing commands a terminal


def _world(bundle: Bundle) -> Iterator[tuple[str, Any]]:
    manifest = bundle.manifest
    controller = manifest.controller
    yield "observation", _printable(manifest.observation)
    yield "actions", _printable(manifest.action_space)
    yield "head", str(manifest.head)
    yield "latent", f"{manifest.latent_size} numbers"
    state = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in manifest.recurrent_state)
    yield (
        "state",
        f"{state or 'no memory'}; {manifest.state_bytes():,} bytes a session, with the latent",
    )
    reward = manifest.reward
    yield "reward", "predicted" if reward.value is None else f"{reward.value:g} for each step"
    yield "end", str(manifest.done)
    yield "temperature", f"{manifest.temperature_rule} rule"
    yield "starts", f"{manifest.bank.size} real starting points"
    if signals := manifest.signals:
        yield "signals", _printable(", ".join(signal.name for signal in signals))
    linear = f"{controller.kind}, of {controller.inputs}" if controller else "none"
    yield "controller", "a graph" if manifest.has_policy else linear


def _files(bundle: Bundle) -> Iterator[tuple[str, Any]]:
    for spec in bundle.manifest.files():
        yield spec.file, f"{_size(bundle, spec) / 1e6:7.2f} MB  sha256 {spec.sha256[:16]}…"


def _size(bundle: Bundle, spec: FileSpec) -> int:
    return (bundle.path / spec.file).stat().st_size


def _measurements(quality: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield a line for each group of numbers, and a table for each group of such groups."""
    for name, value in quality.items():
        nested = isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
        if nested and value:
            yield ""
            yield _comparison(name, value)
        else:
            yield _grid([(name, _listed(value))])


def _comparison(name: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(_printable(name), style="cyan", header_style="cyan")
    for column in columns:
        table.add_column(_printable(column), justify="right")
    for row, values in rows.items():
        table.add_row(_printable(row), *(_listed(values.get(column, "")) for column in columns))
    return table


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_printable(key)} {_listed(one)}" for key, one in value.items())
    return _printable(value)


def _printable(value: Any) -> str:
    """Return a text of the manifest without what would command a terminal."""
    return printable(str(value))


def _plain(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are one line each; `--json` has the others."""
    for name, value in fields.items():
        if not isinstance(value, dict | list):
            yield name, _printable(value)


def _section(title: str, *parts: RenderableType) -> RenderableType:
    return Group("", Text(title, "bold"), *(Padding(part, (0, 0, 0, 2)) for part in parts))


def _grid(rows: Any) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", min_width=12)
    grid.add_column()
    for name, value in rows:
        grid.add_row(_printable(name), str(value))
    return grid
