"""The playground at /play: a page on which a person plays a dream, and its parts below /play/.

The files are those of clients/web/, which this package contains. All links are relative, so the
page works behind a path prefix; it loads nothing from elsewhere, and its policy forbids it to.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from starlette.routing import Route
from starlette.types import Scope

from dreamserve.api.responses import BytesResponse, Static, page_headers

FOLDER = Path(__file__).parents[1] / "web"
PAGE = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    **page_headers(
        script_src="'self'",
        style_src="'self'",
        img_src="'self'",
        connect_src="'self'",  # the stream, too: 'self' includes ws: and wss: of the same host
        require_trusted_types_for="'script'",
    ),
    # A new version of the server is a new page; until then the answer is 304.
    "cache-control": "no-cache",
}


def play_routes() -> Iterator[Route]:
    """Yield a route for the page, and one for each of its parts."""
    for path in sorted(FOLDER.rglob("*.*")):
        name = path.relative_to(FOLDER).as_posix()
        yield Route("/play" if name == PAGE else f"/play/{name}", _file(path))


def _file(path: Path) -> Static:
    """Return the application that serves a file."""
    body, media_type = path.read_bytes(), MEDIA_TYPES[path.suffix]
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {**_HEADERS, "etag": tag}

    def make(scope: Scope) -> BytesResponse:
        known: bytes = scope["state"]["headers"].get(b"if-none-match", b"")
        if tag in known.decode("latin-1"):
            return BytesResponse(b"", status=304, headers=headers)
        return BytesResponse(body, media_type, headers=headers)

    return Static(make)
