"""The site of docs/ builds without a warning, and its pages load nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARDS = ("bundles/carracing/card.md", "bundles/takecover/card.md")
SOURCES = ("mkdocs.yml", "CHANGELOG.md", "docs", *CARDS)
LOADING = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("use", "href")}


def build(folder: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    done = build(ROOT, path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return path


class Loads(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        relation = dict(attrs).get("rel") or ""
        for name, value in attrs:
            if (tag, name) in LOADING and relation not in ("canonical", "next", "prev"):
                self.urls.append(value or "")


def test_a_page_loads_only_files_of_the_site(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        if page.name == "404.html":  # for a server's root: its paths are absolute
            continue
        urls = Loads(page.read_text()).urls
        assert urls
        for url in urls:
            path = url.partition("?")[0].partition("#")[0]
            assert not path or (page.parent / path).is_file(), f"{page.name} loads {url}"
        assert 'class="mermaid"' not in page.read_text(), "its script is loaded from a CDN"


def test_a_style_sheet_loads_nothing_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.findall(r"(?:url\(|@import)[\s'\"]*(?:https?:)?//", sheet.read_text())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](api.md#nowhere)", "#nowhere"),
        ("![a](nowhere.png)", "nowhere.png"),
        (None, "lonely.md"),
    ],
    ids=["page", "anchor", "picture", "page that the navigation leaves out"],
)
def test_what_leads_nowhere_is_found(tmp_path: Path, line: str | None, message: str) -> None:
    for source in SOURCES:
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
        copy(ROOT / source, target)
    for picture in (ROOT / "bundles/takecover").glob("*.png"):
        shutil.copy(picture, tmp_path / "bundles/takecover")
    page = tmp_path / "docs" / ("index.md" if line else "lonely.md")
    with page.open("a") as file:
        file.write(f"\n{line or 'Text.'}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert message in done.stderr
