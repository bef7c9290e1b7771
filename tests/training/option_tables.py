"""The tables of options in docs/."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def documented(page: str, heading: str, column: str = "default") -> dict[str, str]:
    """Return a column of the tables of options in a section of a page, by option.

    Rows of several options have as many values. Tables without such a column are left out.
    """
    _, after = re.split(rf"^##+ {heading}$", (DOCS / page).read_text(), flags=re.MULTILINE)
    section = re.split(r"^##+ ", after, flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for table in re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE):
        lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        head, _, *rows = lines
        if column not in head:
            continue
        for cells in rows:
            names, value = re.findall(r"`(\w+)`", cells[0]), cells[head.index(column)]
            values = value.split(", ") if len(names) > 1 and value else [value] * len(names)
            found |= dict(zip(names, values, strict=True))
    return found
