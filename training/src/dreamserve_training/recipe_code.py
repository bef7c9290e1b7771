"""What a function of a recipe's file does, as a digest: of its code and of what it uses there.

Comments and layout do not count, nor do other parts of the file, such as RECIPE itself.
"""

import ast
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any


def code_of(path: Path, function: Callable[..., Any]) -> str:
    """Return 16 hex digits of a function or class of the file `path`; "" if it is elsewhere."""
    module = ast.parse(path.read_bytes())
    defined = {name: part for part in module.body for name in _names(part)}
    used: dict[int, ast.AST] = {}
    found = list(_definitions(function, module, defined))
    while found:
        part = found.pop()
        if id(part) not in used:
            used[id(part)] = part
            names = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
            found += [defined[name] for name in names & defined.keys()]
    text = "\n".join(sorted(map(ast.unparse, used.values())))
    return sha256(text.encode()).hexdigest()[:16] if used else ""


def _definitions(
    function: Callable[..., Any], module: ast.Module, defined: dict[str, ast.stmt]
) -> Iterator[ast.AST]:
    name = str(getattr(function, "__qualname__", "")).partition(".")[0]
    if name in defined:
        yield defined[name]
    elif name == "<lambda>":
        line = function.__code__.co_firstlineno
        for each in ast.walk(module):
            if isinstance(each, ast.Lambda) and each.lineno == line:
                yield each


def _names(part: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a file defines, but for RECIPE."""
    if isinstance(part, ast.FunctionDef | ast.ClassDef):
        yield part.name
    elif isinstance(part, ast.Assign | ast.AnnAssign):
        targets = part.targets if isinstance(part, ast.Assign) else [part.target]
        named = (each for target in targets for each in ast.walk(target))
        yield from (each.id for each in named if isinstance(each, ast.Name) and each.id != "RECIPE")
