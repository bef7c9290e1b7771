"""A hook of MkDocs: the site also has pages that stand elsewhere in this repository.

Links lead from file to file, so they work on a code host too; `on_page_markdown` changes those that
cross the border of docs/, whose files are at the root of the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("CHANGELOG.md", "bundles/carracing/card.md", "bundles/takecover/card.md")
_DOCS = "docs/"
_LINK = re.compile(r"(\]\()([^)#\s:]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of ELSEWHERE, with the pictures beside them."""
    for page in ELSEWHERE:
        folder = (ROOT / page).parent
        pictures = folder.glob("*.png") if folder != ROOT else ()
        for path in (ROOT / page, *pictures):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links to where the site has their targets."""
    name = page.file.src_uri
    folder = posixpath.dirname(name if name in ELSEWHERE else _DOCS + name)

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2])).removeprefix(_DOCS)
        return link[1] + posixpath.relpath(target, posixpath.dirname(name) or ".")

    return _LINK.sub(led, markdown)
