"""Poisoned HTTP, each request with its answer."""

import gzip

from .poison import Row, bad, invalid, message, post, too_large

FRAMING = {
    "another media type": Row(
        post("/reset", b"{}", form="text/plain"),
        415,
        "unsupported_media_type",
        "text/plain is not supported; send application/json",
    ),
    "no media type": Row(
        message("POST", "/reset", b"{}"), 415, "unsupported_media_type", "no Content-Type"
    ),
    "gzip": Row(
        post("/reset", gzip.compress(b"{}"), "Content-Encoding: gzip"),
        415,
        "unsupported_media_type",
        "compressed",
    ),
    "gzip that does not say so": invalid(post("/reset", gzip.compress(b"{}")), "not JSON"),
    "a body beyond the limit": too_large(
        post("/reset", b"", "Content-Length: 99999999999"), "limit of 1000000 bytes"
    ),
    "lengths that differ": bad(
        post("/reset", b"{}", "Content-Length: 2", "Content-Length: 3"),
        "not a valid HTTP/1.1 request",
    ),
    "a negative length": bad(post("/reset", b"{}", "Content-Length: -2"), "Content-Length"),
    "a length and chunks": bad(
        post("/reset", b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        "not a valid HTTP/1.1 request",
    ),
    "chunks of garbage": bad(
        post("/reset", b"zz\r\n{}\r\n", "Transfer-Encoding: chunked"), "chunk"
    ),
    "chunks beyond 64 bits": bad(
        post("/reset", b"f" * 20 + b"\r\n", "Transfer-Encoding: chunked"), "hunk"
    ),
    "another coding": Row(
        post("/reset", b"{}", "Transfer-Encoding: gzip, chunked"),
        501,
        "not_implemented",
        "only supported Transfer-Encoding is chunked",
    ),
    "two hosts": bad(message("GET", "/livez", None, "Host: b"), "one Host header, not 2"),
    "a header without a name": bad(message("GET", "/livez", None, ": x"), "header"),
    "a folded header": bad(message("GET", "/livez", None, "A: b", " c: d"), "header"),
    "a control character": bad(message("GET", "/livez", None, "A: b\0c"), "header"),
    "large headers": Row(
        message("GET", "/livez", None, "A: " + "b" * 70_000),
        431,
        "headers_too_large",
        "limit of 65536 bytes",
    ),
    "another method": Row(message("DELETE", "/step", None), 405, "method_not_allowed", "POST"),
    "another path": Row(message("GET", "/stpe", None), 404, "not_found", "no such path: /stpe"),
    "another origin": Row(
        post("/reset", b"{}", "Origin: http://evil.example"),
        403,
        "forbidden_origin",
        "evil.example",
    ),
    "no HTTP": bad(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not a valid HTTP/1.1 request"),
}
