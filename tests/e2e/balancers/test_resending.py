"""A load balancer never sends a step twice; it tries another server if none has seen the step."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

REQUESTS = 12  # of different sessions: all of them hash to one of two servers once in 2048 runs


class Counting(ThreadingHTTPServer):
    """A server that counts its POST requests, and hangs up instead of answering if it `breaks`."""

    def __init__(self, breaks: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.posts = breaks, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.server.posts += 1
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.breaks:
            self.close_connection = True
        else:
            self.do_GET()

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


@contextmanager
def serving(server: Counting) -> Iterator[Counting]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def steps(url: str) -> list[int]:
    """Step many sessions once; return the statuses."""
    with httpx.Client() as http:
        headers = [{"x-session-id": f"s{i}"} for i in range(REQUESTS)]
        answers = [http.post(f"{url}/step", json={"action": 1}, headers=one) for one in headers]
        return [answer.status_code for answer in answers]


def test_a_step_that_reached_a_server_is_not_sent_to_another_one(run_balancer, tmp_path):
    with (
        serving(Counting(breaks=True)) as broken,
        serving(Counting()) as working,
        run_balancer(tmp_path, broken.url, working.url) as url,
    ):
        statuses = steps(url)
        failed = [status for status in statuses if status in (502, 503)]
        assert len(failed) == broken.posts >= 1
        assert statuses.count(200) == working.posts == REQUESTS - broken.posts


def test_a_step_that_reached_no_server_goes_to_the_next_one(run_balancer, free_port, tmp_path):
    nobody = f"http://127.0.0.1:{free_port}"
    with (
        serving(Counting()) as working,
        run_balancer(tmp_path, nobody, working.url) as url,
    ):
        assert steps(url) == [200] * REQUESTS
        assert working.posts == REQUESTS
