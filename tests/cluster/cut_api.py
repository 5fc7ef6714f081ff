"""The Kubernetes API behind a connection that a test can cut."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class CutApi:
    """Passes connections on to the API server, until it is cut. TLS goes through as it is."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._target = address
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        # The same host, so that its certificate is right.
        self.port = 0
        self.restore()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # Wakes the thread that accepts; closing alone would not.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Let connections through again."""
        listener = socket.create_server((self._target[0], self.port), backlog=64)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    source: Any = key.fileobj
                    data = source.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)


@contextmanager
def cut_api(kubeconfig: str, folder: Path) -> Iterator[tuple[CutApi, str]]:
    """Such a connection, and a kubeconfig file that leads through it."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    (cluster,) = (found["cluster"] for found in config["clusters"])
    address = urlsplit(cluster["server"])
    api = CutApi((str(address.hostname), address.port or 443))
    cluster["server"] = f"https://{address.hostname}:{api.port}"
    path = folder / "cut.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield api, str(path)
    finally:
        api.cut()
