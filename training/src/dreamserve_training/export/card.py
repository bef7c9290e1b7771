"""Render a world's card, which describes the world to its users, from its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dreamserve.manifest import Manifest
from dreamserve.observations import FrameSpec


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of the card and its caption."""

    image: Image.Image
    caption: str


# What each measurement means, for readers of the card.
EXPLANATIONS = {
    "verdicts": "What is worse than a baseline that knows nothing.",
    "reconstruction": "How well V reconstructs held-out frames that it encodes and decodes.",
    "salient_things": (
        "How well V reconstructs small salient objects, such as fireballs. They are connected"
        " regions that differ strongly from the average picture. *Recalled*: the reconstruction"
        " keeps at least half of the region's contrast, at its place and in its colours."
        " *Invented*: a region of the reconstruction that the original frame does not show."
    ),
    "likelihood": (
        "How well M predicts the next latent of held-out episodes, in nats per latent dimension;"
        " lower is better. No model can be below the floor (the entropy of V's posterior); the"
        " baseline is one Gaussian per dimension, which ignores the past."
    ),
    "horizon": (
        "How far open-loop dreams under the real actions are from the real episodes: root mean"
        " square error per latent dimension after k steps. Baselines: the latent at the start"
        " (copy last), and the mean latent of all episodes (average latent)."
    ),
    "done": (
        "How well M predicts the ends of held-out episodes, at the done threshold; if ends are"
        " drawn, at the threshold with as many alarms as ends. *Average precision* and *precision"
        " at recall 0.8* are over all thresholds."
    ),
    "hazard": (
        "Events per 1,000 steps, by the age of the episode. *Real*: in held-out episodes;"
        " *expected*: by M's probabilities along them. *Dreamed*: by the probabilities of dreams"
        " that begin at real moments and take the real actions, without seeing what follows; *real"
        " of dreamed*: the real events of the same steps. A ratio below 1 is a dream that is safer"
        " than the real environment. *End* is by the world's own rule."
    ),
    "signals": "How well M predicts signals of held-out episodes: events, or the error of levels.",
    "reward": "Error of the predicted reward on held-out episodes, and that of their mean reward.",
    "parity": (
        "Largest relative difference between the outputs of the files and of the PyTorch models,"
        " on random inputs; and whether a dream is bit-identical in every batch."
    ),
    "real": (
        "Returns in the real environment. *As collected*: actions as those of the first pass's"
        " data; *vision cut*: C sees only an episode's first observation, and goes on in its own"
        " dream, at the mean temperature that it learned at; *average seen*: C is shown the mean"
        " latent in place of every observation; *plan*: actions of /plan."
    ),
    "differences": (
        "Returns of the controller less those of others in the same real episodes, paired by seed."
    ),
    "passes": (
        "Mean returns of the controller after each pass of the recipe: in the real environment"
        " (*mean*), of its blind twins, of the best agent that ignores observations, and in dreams."
        " The last columns are M's, on the held-out episodes of all passes."
    ),
    "dream": "Returns of the same controller in dreams of this world, by temperature.",
}


def render_card(manifest: Manifest, pictures: Mapping[str, Picture], sizes: dict[str, int]) -> str:
    """Return the card as Markdown. `sizes` are the sizes of the bundle's files in bytes."""
    sections = [
        f"# {manifest.name}",
        f"A world for dreamserve, version `{manifest.version}`. All measurements below are in"
        " `manifest.json`; this repository contains the code that makes them.",
        _properties(manifest),
        *(f"![{name}]({name}.png)\n\n{picture.caption}" for name, picture in pictures.items()),
        "## Quality" if manifest.quality else "",
        *(_section(name, value) for name, value in manifest.quality.items()),
        "## Origin",
        _rows(manifest.origin, ("property", "value")) if manifest.origin else "Not recorded.",
        "## Files",
        _rows({name: f"{size:,}" for name, size in sizes.items()}, ("file", "bytes")),
        f"Total: {sum(sizes.values()):,} bytes.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _properties(manifest: Manifest) -> str:
    memory = ", ".join(f"{t.name} {'x'.join(map(str, t.shape))}" for t in manifest.recurrent_state)
    reward = "predicted" if manifest.reward.value is None else f"{manifest.reward.value:g} per step"
    linear = "a linear policy" if manifest.controller else "none"
    properties = {
        "actions": str(manifest.action_space),
        "observation": _observation(manifest),
        "latent": manifest.latent_size,
        "memory": f"{memory} ({manifest.state_bytes():,} bytes per session, latent included)",
        "next latent": str(manifest.head),
        "temperature": f"rule `{manifest.temperature_rule}`",
        "an episode ends": str(manifest.done),
        "reward": reward,
        "starting points": f"{manifest.bank.size}, from real episodes",
        "controller": "a graph" if manifest.has_policy else linear,
    }
    return _rows(properties, ("property", "value"))


def _observation(manifest: Manifest) -> str:
    spec = manifest.observation
    if not isinstance(spec, FrameSpec):
        bounds = zip(spec.names, spec.low, spec.high, strict=True)
        return f"{len(spec.names)} numbers: " + ", ".join(
            name if low is high is None else f"{name} in [{_bound(low, '-∞')}, {_bound(high, '∞')}]"
            for name, low, high in bounds
        )
    crop, colors = spec.crop, f" {spec.color_order}" if spec.shape[2] == 3 else ""
    return (
        f"{'x'.join(map(str, spec.shape))}{colors}, from a camera of"
        f" {'x'.join(map(str, spec.source_shape))}, rows {crop.top} to {crop.bottom},"
        f" columns {crop.left} to {crop.right}"
    )


def _bound(value: float | None, unbounded: str) -> str:
    return unbounded if value is None else f"{value:.4g}"


def _section(name: str, value: Any) -> str:
    parts = [f"### {name.replace('_', ' ').capitalize()}", EXPLANATIONS.get(name, "")]
    if isinstance(value, Mapping) and value:
        parts.append(_grid(value) if _is_grid(value) else _rows(value, ("measure", "value")))
    else:
        parts.append(_bullets(value) if name == "verdicts" else _text(value))
    return "\n\n".join(part for part in parts if part)


def _bullets(values: Any) -> str:
    return "\n".join(f"- {_text(value)}" for value in values)


def _is_grid(value: Mapping[str, Any]) -> bool:
    return all(isinstance(row, Mapping) and row for row in value.values())


def _grid(value: Mapping[str, Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in value.values() for key in row))
    lines = [_line(["", *map(_title, columns)]), _line(["---"] * (len(columns) + 1))]
    for name, row in value.items():
        lines.append(_line([_title(name), *(_text(row.get(column, "")) for column in columns)]))
    return "\n".join(lines)


def _rows(value: Mapping[str, Any], head: tuple[str, str]) -> str:
    lines = [_line(list(head)), _line(["---", "---"])]
    for name, item in value.items():
        title = name if head[0] == "file" else _title(name)
        lines.append(_line([title, _text(item)]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _title(name: str) -> str:
    return str(name).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_title(name)} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
