"""The playground as it is served: every part of it, and nothing from anywhere else."""

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

import pytest

from dreamserve.api.play import FOLDER, MEDIA_TYPES, PAGE

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
PARTS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*"))
LOADING = {"href", "src", "srcset", "data", "action", "background", "poster"}


class Reader(HTMLParser):
    """Collects the tags with their attributes, and what is within script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()


def url_of(part: str) -> str:
    return "/play" if part == PAGE else f"/play/{part}"


async def test_the_index_leads_to_the_page(client: Any) -> None:
    index = (await client.http.get("/")).json()
    answer = await client.http.get(index["play"])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>dreamserve playground" in answer.text


@pytest.mark.parametrize("part", PARTS)
async def test_every_part_is_served_with_its_type_and_its_policy(client: Any, part: str) -> None:
    answer = await client.http.get(url_of(part))
    assert answer.status_code == 200
    assert answer.content == (FOLDER / part).read_bytes()
    assert answer.headers["content-type"] == MEDIA_TYPES["." + part.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
    assert not any("unsafe" in rule or "http" in rule or "*" in rule for rule in policy)


async def test_a_part_that_the_browser_has_is_not_sent_again(client: Any) -> None:
    first = await client.http.get("/play")
    assert first.headers["cache-control"] == "no-cache"
    known = {"if-none-match": f'"other", W/{first.headers["etag"]}'}
    again = await client.http.get("/play", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert "content-length" not in again.headers
    assert again.headers["etag"] == first.headers["etag"]
    changed = await client.http.get("/play", headers={"if-none-match": '"other"'})
    assert changed.status_code == 200


async def test_all_links_of_the_page_are_relative_and_lead_to_something(client: Any) -> None:
    reader = Reader((FOLDER / PAGE).read_text())
    links = {value for _, given in reader.tags for name, value in given.items() if name in LOADING}
    assert links
    for link in links:
        assert link is not None
        assert not re.match(r"/|\w+:", link), link
        # Behind a path prefix the page is at /prefix/play.
        path = urljoin("http://host/prefix/play", link).removeprefix("http://host/prefix")
        assert (await client.http.get(path)).status_code == 200, link


def test_modules_import_what_is_there() -> None:
    for part in PARTS:
        if part.endswith(".js"):
            source = (FOLDER / part).read_text()
            imported = re.findall(r"(?:from|import\() ?\"([^\"]+)\"", source)
            for path in imported:
                assert path.startswith((".", "..")), f"{part}: {path}"
                assert (FOLDER / part).parent.joinpath(path).is_file(), f"{part}: {path}"


def test_the_page_has_no_inline_script_or_style_and_loads_nothing_from_elsewhere() -> None:
    reader = Reader((FOLDER / PAGE).read_text())
    assert reader.inline == ""
    for tag, given in reader.tags:
        assert not {name for name in given if name.startswith("on") or name == "style"}, tag
    for part in PARTS:
        source = (FOLDER / part).read_text()
        elsewhere = re.findall(r"\bhttps?://[\w.-]+", source)
        assert set(elsewhere) <= {"http://www.w3.org"}, part  # SVG's name, which nobody fetches
        assert not re.findall(r"@import|url\(|innerHTML|eval\(", source), part


def test_the_package_and_the_image_contain_every_part() -> None:
    project = tomllib.loads((ROOT / "service/pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["dreamserve"]
    for part in PARTS:
        path = PurePosixPath("web", part)
        depths = (one for one in patterns if one.count("/") == str(path).count("/"))
        assert any(path.match(pattern) for pattern in depths), part
    assert FOLDER.resolve() == ROOT / "clients/web"
    assert "COPY clients/web ./clients/web\n" in (ROOT / "Dockerfile").read_text()
    assert "!clients/web\n" in (ROOT / ".dockerignore").read_text()


def test_every_module_has_one_idea_and_is_short() -> None:
    for part in PARTS:
        assert len((FOLDER / part).read_text().splitlines()) < 250, part
