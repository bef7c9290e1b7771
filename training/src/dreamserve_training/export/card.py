"""Render a world's card, the page to read before using it, from the manifest alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dreamserve.manifest import Manifest
from dreamserve.spaces import DiscreteSpace


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of the card and what it shows, in a sentence."""

    image: Image.Image
    caption: str


# What each measurement means, for readers of the card.
EXPLANATIONS = {
    "reconstruction": "How well V keeps a frame: held-out frames encoded, decoded, compared.",
    "salient_things": (
        "Small bright things decide (in a shooting game: what flies at you). A connected region"
        " that differs strongly from the average picture counts as recalled when its"
        " reconstruction keeps at least half of its contrast, there, in its own colours."
        " *Invented*: such regions of the reconstruction that the frame does not show."
    ),
    "likelihood": (
        "How well M predicts the next latent of held-out episodes, in nats per latent dimension;"
        " lower is better. No model can be below the floor (the entropy of V's own posterior);"
        " the baseline is one Gaussian a dimension that knows nothing of the past."
    ),
    "horizon": (
        "How far an open-loop dream strays from what really happened, under the real actions:"
        " root mean square error per latent dimension after k steps. Beside it, what one gets by"
        " repeating the last latent seen, and by always guessing the average one."
    ),
    "done": "Does M know when an episode ends? Judged on held-out episodes at the done threshold.",
    "reward": "Error of the predicted reward on held-out episodes, beside always saying the mean.",
    "parity": (
        "Worst relative difference of the files' answers from the PyTorch models', on random"
        " inputs; and whether a dream is the same to the bit whatever shares its batch."
    ),
    "real": "Returns in the real environment over fresh seeds, beside policies that see nothing.",
    "dream": "Returns of the same controller inside this dream, by temperature.",
}


def render_card(manifest: Manifest, pictures: Mapping[str, Picture], sizes: dict[str, int]) -> str:
    """Return the card as Markdown. `sizes` are the bundle's files in bytes."""
    sections = [
        f"# {manifest.name}",
        f"A world for dreamserve, version `{manifest.version}`. Every number below is in"
        " `manifest.json`; the software that measures it is in this repository.",
        _what_it_is(manifest),
        *(f"![{name}]({name}.png)\n\n{picture.caption}" for name, picture in pictures.items()),
        "## How good it is" if manifest.quality else "",
        *(_section(name, value) for name, value in manifest.quality.items()),
        "## Where it comes from",
        _rows(manifest.origin, ("what", "value")) if manifest.origin else "Not recorded.",
        "## Files",
        _rows({name: f"{size:,}" for name, size in sizes.items()}, ("file", "bytes")),
        f"Together {sum(sizes.values()):,} bytes.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what_it_is(manifest: Manifest) -> str:
    space, mixture, frame = manifest.action_space, manifest.mixture, manifest.frame
    names = ", ".join(f"{i} {name}" for i, name in enumerate(space.names))
    kind = f"Discrete({space.n})" if isinstance(space, DiscreteSpace) else f"Box{space.shape}"
    memory = ", ".join(f"{t.name} {'x'.join(map(str, t.shape))}" for t in manifest.recurrent_state)
    crop = frame.crop
    reward = "predicted" if manifest.reward.value is None else f"{manifest.reward.value:g} a step"
    facts = {
        "actions": f"{kind}: {names}",
        "frame": (
            f"{'x'.join(map(str, frame.shape))} {frame.color_order}, from a camera of"
            f" {'x'.join(map(str, frame.source_shape))}, rows {crop.top} to {crop.bottom},"
            f" columns {crop.left} to {crop.right}"
        ),
        "latent": manifest.latent_size,
        "memory": f"{memory} ({manifest.state_bytes():,} bytes a session with its latent)",
        "mixture": f"{mixture.head}, {mixture.components} components",
        "temperature": f"rule `{manifest.temperature_rule}`",
        "an episode ends": f"when the done logit exceeds {manifest.done.threshold:g}",
        "reward": reward,
        "starting points": f"{manifest.bank.size} real ones",
        "controller": "a linear policy" if manifest.controller else "none",
    }
    return _rows(facts, ("what", "value"))


def _section(name: str, value: Any) -> str:
    parts = [f"### {name.replace('_', ' ').capitalize()}", EXPLANATIONS.get(name, "")]
    if isinstance(value, Mapping) and value:
        parts.append(_grid(value) if _is_grid(value) else _rows(value, ("measure", "value")))
    else:
        parts.append(_text(value))
    return "\n\n".join(part for part in parts if part)


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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_title(name)} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
