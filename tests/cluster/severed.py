"""A line to a server that can be cut, and mended: what a network does to a TCP connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """Forwards connections from a port of its own, as long as it isn't cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server((host, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._cut = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cut(self) -> None:
        """End all connections; new ones are closed as soon as they are made."""
        with self._lock:
            self._cut = True
            ending, self._open = self._open, set()
        for end in ending:
            _end(end)

    def mend(self) -> None:
        """Let new connections through."""
        with self._lock:
            self._cut = False

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        _end(self._listener)
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._forward(near)

    def _forward(self, near: socket.socket) -> None:
        with self._lock:
            if self._cut:
                near.close()
                return
            far = socket.create_connection(self._target)
            self._open |= {near, far}
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, target)).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _end(source)
    _end(target)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def severed_line(host: str, port: int) -> Iterator[Line]:
    """A line to `host`, from another port of the same address, so that its certificate fits."""
    line = Line(host, port)
    try:
        yield line
    finally:
        line.close()
