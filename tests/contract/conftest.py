"""What tests of documentation read: the pages, docstrings and comments of this repository."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("service/src", "training/src", "clients/python/src", "benchmarks", "tests")


class Told(NamedTuple):
    """A page, a docstring, or a file's comments."""

    path: str
    text: str

    @property
    def spans(self) -> Iterator[str]:
        """What stands in backticks, code blocks aside."""
        prose = re.sub(r"^```.*?^```", "", self.text, flags=re.MULTILINE | re.DOTALL)
        for paragraph in re.split(r"\n\s*\n", prose):
            yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", paragraph))


@pytest.fixture(scope="session")
def tracked() -> tuple[str, ...]:
    """Return the paths of all files of this repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return tuple(path for path in listed.stdout.splitlines() if (ROOT / path).exists())


@pytest.fixture(scope="session")
def told(tracked: tuple[str, ...]) -> list[Told]:
    """Return all that is told, but for what tests of names tell as examples."""
    found: list[Told] = []
    for path in tracked:
        if path.endswith(".md") and not path.startswith("bundles/"):
            found.append(Told(path, (ROOT / path).read_text()))
        elif path.endswith(".py") and path.startswith(SOURCES):
            source = (ROOT / path).read_text()
            found += [Told(path, said.value) for said in _docstrings(ast.parse(source))]
            found.append(Told(path, _comments(source)))
    return [one for one in found if not one.path.startswith("tests/contract/")]


@pytest.fixture
def telling() -> Callable[[str], Told]:
    """Return what makes an example out of a text."""
    return lambda text: Told("example", text)


@pytest.fixture(scope="session")
def vocabulary(tracked: tuple[str, ...]) -> frozenset[str]:
    """Return every word of our code: names, and words in its strings but for docstrings."""
    words: set[str] = set()
    for path in tracked:
        words |= {part.removesuffix(".py") for part in Path(path).parts}
        if path.startswith("tests/contract/"):
            continue
        if path.endswith(".py"):
            words |= _words((ROOT / path).read_text())
        elif path.endswith((".toml", ".lua", ".json", "Makefile")):
            words |= set(re.findall(r"\w+", (ROOT / path).read_text()))
    return frozenset(words)


def _words(source: str) -> set[str]:
    tree = ast.parse(source)
    docstrings = {id(said) for said in _docstrings(tree)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    strings = " ".join(str(one.value) for one in constants if id(one) not in docstrings)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return names | set(re.findall(r"\w+", strings))


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str()) as said), *_]:
                    yield said


def _comments(source: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string[1:] for token in tokens if token.type == tokenize.COMMENT)
