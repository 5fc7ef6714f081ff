"""Open watches, and what each of them is sent of a change."""

import json
import queue
from typing import Any

from faults.fake_api.requests import Asked
from faults.fake_api.things import Thing, matches


class OpenWatch:
    """A watch that a client has open."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.actions: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def send(self, event: Any) -> None:
        """Send one event, or any bytes as a line."""
        line = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.actions.put(("send", line + b"\n"))

    def close(self) -> None:
        """End the stream as a server does whose time is up."""
        self.actions.put(("close", b""))

    def cut(self, beginning: bytes = b"") -> None:
        """End the connection in the middle of a line."""
        self.actions.put(("cut", beginning))


def send(watch: OpenWatch, kind: str, thing: Thing, before: Thing | None) -> None:
    """One change as this watch sees it, through its selector."""
    is_in = kind != "DELETED" and matches(thing, watch.asked.query)
    was_in = before is not None and matches(before, watch.asked.query)
    if is_in:
        watch.send({"type": "MODIFIED" if was_in else "ADDED", "object": thing})
    elif was_in:
        # As the API server does it: the object as it was, under the new version.
        version = thing["metadata"]["resourceVersion"]
        metadata = {**(before or thing)["metadata"], "resourceVersion": version}
        watch.send({"type": "DELETED", "object": {**(before or thing), "metadata": metadata}})
