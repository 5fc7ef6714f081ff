"""One server after the other: each is killed, and the next begins with an empty home."""

import http.client
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_lab.server import LabServer, RequestFailed, start, stop

# What a client sees when its server dies.
BROKEN = (OSError, http.client.HTTPException)


class Servers:
    """The server that is alive at the moment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.root = folder / "files"
        self.root.mkdir()
        self._folder = folder
        self._environment = environment
        self._changing = threading.Lock()
        self.killed = 0
        self._server = self._next()

    def _next(self) -> LabServer:
        home = self._folder / f"home-{self.killed}"
        return start(self.root, home=home, environment=self._environment)

    def kill(self) -> None:
        """SIGKILL the server, and start another."""
        with self._changing:
            self._server.kill()
            self.killed += 1
            self._server = self._next()

    def stop(self) -> None:
        """End the last one."""
        with self._changing:
            stop(self._server)

    def ask(self, method: str, path: str, body: object = None, *, seconds: float = 180) -> Any:
        """The answer to a request, which is repeated while servers die.

        Raises:
            RequestFailed: a server refused it.
            TimeoutError: none answered.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                return self._server.request(method, path, body, seconds=60)
            except RequestFailed:
                raise
            except BROKEN:
                time.sleep(0.2)
        raise TimeoutError(f"{method} {path} had no answer in {seconds} s")
