"""Names in code that our texts mention exist.

dotted       dreamserve.NAME.NAME anywhere; in backticks a name with dots, where its first part
             is one of our modules, classes, or a variable named after a class: it must resolve
identifiers  in backticks, any other name: it must occur in our code
"""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import dreamserve
import dreamserve_client
import dreamserve_training
from dreamserve.settings import PREFIX

FILES = (
    ".conf",
    ".env",
    *(".py", ".md", ".toml", ".lua", ".json", ".yaml", ".yml", ".ini"),
    *(".npz", ".onnx", ".pt", ".pth", ".ckpt"),
)
DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
Text = Any  # conftest.Text
Check = Callable[..., None]


@cache
def modules() -> dict[str, ModuleType]:
    """Return every module of the three packages, by its dotted name."""
    found: dict[str, ModuleType] = {}
    for package in (dreamserve, dreamserve_training, dreamserve_client):
        found[package.__name__] = package
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            found[info.name] = importlib.import_module(info.name)
    return found


@cache
def classes() -> dict[str, list[type]]:
    """Return our classes by name."""
    found: dict[str, list[type]] = {}
    for module in modules().values():
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                found.setdefault(name, []).append(kind)
    return found


def unknown_dotted(text: Text) -> Iterator[str]:
    for name in re.findall(r"\bdreamserve\w*(?:\.[A-Za-z_]\w*)+", text.text):
        if not is_file(name) and not resolves(name):
            yield name
    for span in text.spans:
        if (named := re.fullmatch(rf"({DOTTED})(?:\(.*\))?", span)) and not is_file(named[1]):
            first = named[1].partition(".")[0]
            ours = any(name.split(".")[-1] == first for name in modules()) or named_as(first)
            placeholder = named[1].endswith(".NAME")
            if ours and not placeholder and not resolves(named[1]):
                yield span


def is_file(name: str) -> bool:
    return name.endswith(FILES)


def named_as(word: str) -> list[type]:
    """Return the classes with that name or, for a variable, those whose name ends with it."""
    if word in classes() or not word.islower():
        return classes().get(word, [])
    ends = re.compile(rf"(\w*[a-z0-9])?{word.capitalize()}")
    return [kind for name, kinds in classes().items() if ends.fullmatch(name) for kind in kinds]


def resolves(name: str) -> bool:
    """Return whether a dotted name resolves from one of our modules, with or without its packages,
    from a class or a variable named after one, or from a third-party module.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        head = "." + ".".join(parts[:length])
        for full_name, module in modules().items():
            if f".{full_name}".endswith(head) and has(module, parts[length:]):
                return True
    return any(has(start, parts[1:]) for start in (*named_as(parts[0]), sys.modules.get(parts[0])))


def has(owner: object, names: Sequence[str]) -> bool:
    """Return whether an object, or an instance of a class, has a chain of attributes."""
    for name in names:
        if not hasattr(owner, name):
            return isinstance(owner, type) and name in _fields(owner)
        owner = getattr(owner, name)
    return owner is not None


def _fields(kind: type) -> set[str]:
    declared = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", ())}
    return declared | set(re.findall(r"\bself\.(\w+)\b[^=\n]* = ", inspect.getsource(kind)))


def unknown_identifiers(vocabulary: frozenset[str], text: Text) -> Iterator[str]:
    for span in text.spans:
        if re.fullmatch(rf"[A-Za-z_]\w*|{DOTTED}", span) and not is_file(span):
            words = [word for word in re.split(r"\.|_?NAME_?", span) if word]
            if not span.startswith(PREFIX) and not all(
                is_known(vocabulary, word) for word in words
            ):
                yield span


def is_known(vocabulary: frozenset[str], name: str) -> bool:
    """Return whether our code has a name or, for one like `_ms`, a name with that ending."""
    ending = name.startswith("_") and any(known.endswith(name) for known in vocabulary)
    return ending or name in vocabulary


def test_mentioned_dotted_names_resolve(assert_mentions_exist: Check) -> None:
    valid = "dreamserve.noise.draw, `noise.draw`, `LocalClient.plan`, `dream.fork(…)`, `torch.jit`"
    invalid = ["dreamserve.noise.drawn", "`noise.drawn`", "`LocalClient.rollouts`", "`noise.keyz`"]
    assert_mentions_exist(unknown_dotted, valid, invalid)


def test_mentioned_identifiers_exist(
    vocabulary: frozenset[str], assert_mentions_exist: Check
) -> None:
    valid = "`LocalClient`, `budget_ms`, `_ms`, `state.NAME`"
    missing = partial(unknown_identifiers, vocabulary)
    assert_mentions_exist(missing, valid, ["`Dreamt`", "`budget_hours`"])
