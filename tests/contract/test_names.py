"""Names in code that pages, docstrings and comments mention exist.

dotted       dreamserve.NAME.NAME anywhere; in backticks a name with dots, where its first part
             is one of our modules, classes, or a variable named after a class: it must resolve
identifiers  in backticks, any other name: some line of our code must have it
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

import pytest

import dreamserve
import dreamserve_client
import dreamserve_training
from dreamserve.settings import PREFIX

FILES = (
    *(".py", ".md", ".toml", ".lua", ".json", ".yaml", ".ini"),
    *(".npz", ".onnx", ".pt", ".pth", ".ckpt"),
)
DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"
Told = Any  # conftest.Told
Rule = Callable[[Told], Iterator[str]]


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


def unknown_dotted(told: Told) -> Iterator[str]:
    for name in re.findall(r"\bdreamserve\w*(?:\.[A-Za-z_]\w*)+", told.text):
        if not is_file(name) and not resolves(name):
            yield name
    for span in told.spans:
        if (named := re.fullmatch(rf"({DOTTED})(?:\(.*\))?", span)) and not is_file(named[1]):
            first = named[1].partition(".")[0]
            ours = any(name.split(".")[-1] == first for name in modules()) or named_as(first)
            placeholder = named[1].endswith(".NAME")
            if ours and not placeholder and not resolves(named[1]):
                yield span


def is_file(name: str) -> bool:
    return name.endswith(FILES)


def named_as(word: str) -> list[type]:
    """Return the classes of that name, or, for a variable's, those of whose name it is the end."""
    if word in classes() or not word.islower():
        return classes().get(word, [])
    ends = re.compile(rf"(\w*[a-z0-9])?{word.capitalize()}")
    return [kind for name, kinds in classes().items() if ends.fullmatch(name) for kind in kinds]


def resolves(name: str) -> bool:
    """Tell whether a name with dots leads somewhere: from one of our modules, with or without its
    packages before it, from a class or a variable named after one, or from somebody else's module.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        head = "." + ".".join(parts[:length])
        for full_name, module in modules().items():
            if f".{full_name}".endswith(head) and has(module, parts[length:]):
                return True
    return any(has(start, parts[1:]) for start in (*named_as(parts[0]), sys.modules.get(parts[0])))


def has(owner: object, names: Sequence[str]) -> bool:
    """Tell whether an object, or an instance of a class, has the attribute of the attribute of …"""
    for name in names:
        if not hasattr(owner, name):
            return isinstance(owner, type) and name in _fields(owner)
        owner = getattr(owner, name)
    return owner is not None


def _fields(kind: type) -> set[str]:
    declared = {name for each in kind.__mro__ for name in getattr(each, "__annotations__", ())}
    return declared | set(re.findall(r"\bself\.(\w+)\b[^=\n]* = ", inspect.getsource(kind)))


def unknown_identifiers(vocabulary: frozenset[str], told: Told) -> Iterator[str]:
    for span in told.spans:
        if re.fullmatch(rf"[A-Za-z_]\w*|{DOTTED}", span) and not is_file(span):
            words = [word for word in re.split(r"\.|_?NAME_?", span) if word]
            if not span.startswith(PREFIX) and not all(
                is_known(vocabulary, word) for word in words
            ):
                yield span


def is_known(vocabulary: frozenset[str], name: str) -> bool:
    """Tell whether our code has a name, or, for one like `_ms`, a name that ends so."""
    ending = name.startswith("_") and any(known.endswith(name) for known in vocabulary)
    return ending or name in vocabulary


EXAMPLES = {  # what each rule lets pass, and what it finds
    "dotted": (
        "dreamserve.noise.draw, `noise.draw`, `LocalClient.plan`, `dream.fork(…)`, `torch.jit`",
        ("dreamserve.noise.drawn", "`noise.drawn`", "`LocalClient.rollouts`", "`noise.keyz`"),
    ),
    "identifiers": (
        "`LocalClient`, `budget_ms`, `_ms`, `state.NAME`",
        ("`Dreamt`", "`budget_hours`"),
    ),
}


@pytest.fixture(params=EXAMPLES)
def rule(request: pytest.FixtureRequest, vocabulary: frozenset[str]) -> Rule:
    if request.param == "dotted":
        return unknown_dotted
    return partial(unknown_identifiers, vocabulary)


def test_what_is_mentioned_exists(rule: Rule, told: list[Told]) -> None:
    stale = {f"{one.path}: {name}" for one in told for name in rule(one)}
    assert not stale, "\n" + "\n".join(sorted(stale))


def test_what_does_not_exist_is_found(
    rule: Rule, request: pytest.FixtureRequest, telling: Callable[[str], Told]
) -> None:
    right, wrong = EXAMPLES[request.node.callspec.params["rule"]]
    assert not list(rule(telling(right)))
    for one in wrong:
        assert list(rule(telling(one))), one
