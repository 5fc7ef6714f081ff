"""The S3 server: versitygw over a folder, with keys of its own for each cluster."""

import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from . import binaries, processes
from .errors import LocalClusterError
from .layout import BUCKET, Layout
from .processes import Daemon

PORT = 7070
REGION = "us-east-1"
ROLE = "s3"


@dataclass(frozen=True, slots=True)
class S3:
    """Where the server is, and how to log in."""

    endpoint: str
    access_key: str
    secret_key: str


def up(layout: Layout, address: str) -> S3:
    """Starts the server on ``address`` and makes the bucket."""
    server = binaries.build(layout, binaries.S3_SERVER)
    # The gateway treats each folder below its root as a bucket.
    (layout.s3_data / BUCKET).mkdir(parents=True, exist_ok=True)
    access_key, secret_key = _keys(layout.state / "s3-keys.json")
    log = layout.logs / "s3.log"
    port = _port(layout, address)
    daemon = Daemon(
        ROLE,
        [
            *(server, "--port", f"{address}:{port}", "--region", REGION, "--quiet"),
            *("posix", layout.s3_data),
        ],
        {"ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key},
    )
    processes.ensure(layout.state, daemon, log=log)

    def ready() -> bool:
        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            return False
        return True

    processes.wait_until("The S3 server", ready, seconds=30, daemon=(layout.state, ROLE), log=log)
    return S3(f"http://{address}:{port}", access_key, secret_key)


def _port(layout: Layout, address: str) -> int:
    """The port of the server that runs, else the one before, the usual one, or any that is free."""
    note = layout.state / "s3-port"
    before = int(note.read_text()) if note.exists() else PORT
    if note.exists() and processes.running(layout.state).get(ROLE):
        return before
    for port in (before, PORT, 0):
        with socket.socket() as probe:
            # Connections of a server that ended a moment ago don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        note.write_text(str(port))
        return port
    raise LocalClusterError(f"No port is free at {address} for the S3 server.")


def _keys(path: Path) -> tuple[str, str]:
    if not path.exists():
        path.touch(mode=0o600)
        keys = {"access": secrets.token_hex(10).upper(), "secret": secrets.token_urlsafe(30)}
        path.write_text(json.dumps(keys))
    data = json.loads(path.read_text())
    return data["access"], data["secret"]
