"""What a callable of a recipe does, as a digest: of its code in the file and of what it uses there.

Comments and layout do not count, nor do other parts of the file, such as RECIPE's other fields.
"""

import ast
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any


def code_of(path: Path, field: str, function: Callable[..., Any]) -> str:
    """Return 16 hex digits of what RECIPE of the file `path` has as `field`, which is `function`.

    "" if all of it is elsewhere, such as a function of an imported module.
    """
    module = ast.parse(path.read_bytes())
    defined = {name: part for part in module.body for name in _names(part)}
    used: dict[int, ast.AST] = {}
    said = _said(field, module)
    found = list(_definitions(function, module, defined)) if said is None else [said]
    while found:
        part = found.pop()
        if id(part) not in used:
            used[id(part)] = part
            names = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
            found += [defined[name] for name in names & defined.keys()]
    parts = (part for part in used.values() if not isinstance(part, ast.Name))  # a name alone
    text = "\n".join(sorted(map(ast.unparse, parts)))
    return sha256(text.encode()).hexdigest()[:16] if text else ""


def _said(field: str, module: ast.Module) -> ast.AST | None:
    """Return the expression of RECIPE's `field`; None if RECIPE is not made by a call with it."""
    for part in reversed(module.body):
        if isinstance(part, ast.Assign | ast.AnnAssign) and isinstance(part.value, ast.Call):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(isinstance(each, ast.Name) and each.id == "RECIPE" for each in targets):
                given = {each.arg: each.value for each in part.value.keywords}
                return given.get(field)
    return None


def _definitions(
    function: Callable[..., Any], module: ast.Module, defined: dict[str, ast.stmt]
) -> Iterator[ast.AST]:
    """Yield where a function, a class or a lambda is defined."""
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
