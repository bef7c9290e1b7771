"""The pages, docstrings and comments of this repository, and the check of what they mention."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("service/src", "training/src", "clients/python/src", "benchmarks", "examples", "tests")


class Text(NamedTuple):
    """A page, a docstring, or the comments of a file."""

    path: str
    text: str

    @property
    def spans(self) -> Iterator[str]:
        """Yield what stands in backticks, without code blocks."""
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
def texts(tracked: tuple[str, ...]) -> list[Text]:
    """Return all texts except those of tests/contract/, whose examples name what is missing."""
    found: list[Text] = []
    for path in tracked:
        if path.endswith(".md") and not path.startswith("bundles/"):
            found.append(Text(path, (ROOT / path).read_text()))
        elif path.endswith(".py") and path.startswith(SOURCES):
            source = (ROOT / path).read_text()
            found += [Text(path, docstring.value) for docstring in _docstrings(ast.parse(source))]
            found.append(Text(path, _comments(source)))
    return [text for text in found if not text.path.startswith("tests/contract/")]


@pytest.fixture
def assert_mentions_exist(texts: list[Text]) -> Callable[..., None]:
    """Return the check of one rule: `missing` yields the mentions in a text that do not exist.

    The rule must accept the example `valid` and find fault with every example of `invalid`.
    """

    def check(missing: Callable[[Text], Iterator[str]], valid: str, invalid: Sequence[str]) -> None:
        assert not list(missing(Text("example", valid)))
        for example in invalid:
            assert list(missing(Text("example", example))), example
        found = {f"{text.path}: {name}" for text in texts for name in missing(text)}
        assert not found, "\n" + "\n".join(sorted(found))

    return check


@pytest.fixture(scope="session")
def vocabulary(tracked: tuple[str, ...]) -> frozenset[str]:
    """Return every word of our code: names, and words in strings other than docstrings."""
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
    docstrings = {id(docstring) for docstring in _docstrings(tree)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    strings = " ".join(str(node.value) for node in constants if id(node) not in docstrings)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return names | set(re.findall(r"\w+", strings))


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(ast.Constant(str()) as docstring), *_]:
                    yield docstring


def _comments(source: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string[1:] for token in tokens if token.type == tokenize.COMMENT)
