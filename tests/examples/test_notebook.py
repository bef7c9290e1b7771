"""The notebook runs from top to bottom, with shorter games; stored outputs are small and whole."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_BYTES = 100_000
PRINTED, SHORTER = "steps=250", "steps=20"  # of the games that are planned


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    """Return the code cells."""
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell in the namespace `names`; return the value of its last line, as Jupyter does."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


@pytest.mark.slow
def test_every_cell_runs(
    cells: list[dict[str, Any]], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)  # where Jupyter runs it
    names: dict[str, Any] = {}
    sources = ["".join(cell["source"]) for cell in cells]
    assert "".join(sources).count(PRINTED) == 1
    values = [run_cell(source.replace(PRINTED, SHORTER), names) for source in sources]
    (picture,) = (value for value in values if value is not None)
    assert isinstance(picture, Image.Image)
    assert picture.size == (5 * 64 * 2, 64 * 2)
    assert len(picture.getcolors(picture.width * picture.height)) > 100
    printed = capsys.readouterr().out
    assert "steps 40 return 40.0" in printed
    assert "\nTrue\n" in printed  # the same dream twice
    assert "of 64 futures are alive after 200 steps" in printed
    assert "planned [" in printed


def test_the_stored_outputs_are_of_these_cells_and_small(cells: list[dict[str, Any]]) -> None:
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"stream", "execute_result"}
    assert all(cell["outputs"] for cell in cells)
    assert (EXAMPLES / "notebook.ipynb").stat().st_size < MAX_BYTES
