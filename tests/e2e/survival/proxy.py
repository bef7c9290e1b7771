"""A TCP proxy that can be cut, or made to hang: a bad network between a server and its store."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

POLL_S = 0.05


class Proxy:
    """Forwards connections to a port of this machine, as its `state` says."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(POLL_S)
        self.port: int = self._listening.getsockname()[1]
        self._open = threading.Event()  # bytes pass
        self._open.set()
        self._is_cut, self._is_over = False, False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def cut(self) -> None:
        """Reset all connections, and every new one."""
        self._is_cut = True
        self._reset()

    def hang(self) -> None:
        """Accept connections, and forward nothing."""
        self._open.clear()

    def heal(self) -> None:
        """Forward again, also what was held back."""
        self._is_cut = False
        self._open.set()

    def run(self) -> None:
        """Accept connections until `close`."""
        while not self._is_over:
            try:
                inward, _ = self._listening.accept()
            except TimeoutError:
                continue
            if self._is_cut:
                inward.close()
                continue
            try:
                outward = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                inward.close()
                continue
            self._sockets |= {inward, outward}
            for pair in ((inward, outward), (outward, inward)):
                thread = threading.Thread(target=self._forward, args=pair)
                thread.start()
                self._threads.append(thread)

    def close(self) -> None:
        """End all connections and threads."""
        self._is_over = True
        self._open.set()
        self._reset()

    def join(self) -> None:
        """Wait for the threads of connections."""
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()
        self._listening.close()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                while not self._open.wait(POLL_S):
                    pass
                target.sendall(content)
        self._end(source, target)

    def _reset(self) -> None:
        self._end(*self._sockets.copy())

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._sockets.discard(one)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Run a proxy until the block ends."""
    proxy = Proxy(port)
    accepting = threading.Thread(target=proxy.run)
    accepting.start()
    try:
        yield proxy
    finally:
        proxy.close()
        accepting.join(10.0)
        proxy.join()
