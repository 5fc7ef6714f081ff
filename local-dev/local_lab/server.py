"""Starting and stopping a JupyterLab server, as a user would start it."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SCHEDULER_FLAG = "--SchedulerApp.scheduler_class=jupyter_scheduler_k8s.K8sScheduler"
# The stock scheduler, whose jobs run on Kubernetes all the same.
EXECUTION_MANAGER_FLAG = (
    "--Scheduler.execution_manager_class=jupyter_scheduler_k8s.K8sExecutionManager"
)

_START_SECONDS = 60


class RequestFailed(RuntimeError):
    """The server answered with an error; the text is the one that a user would see."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class LabServer:
    """A running server.

    Attributes:
        process: its process, the leader of its own group.
        url: its base address, with the last slash.
        token: what opens it.
        root_dir: the folder that its file browser shows.
        log: the file with its output.
    """

    process: subprocess.Popen[bytes]
    url: str
    token: str = field(repr=False)
    root_dir: Path
    log: Path

    def request(
        self, method: str, path: str, body: object = None, *, seconds: float = 120, **query: str
    ) -> Any:
        """The answer of a REST call below `/scheduler/`: JSON, or None where it is empty.

        Raises:
            RequestFailed: the answer is an error.
        """
        address = f"{self.url}scheduler/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, method=method)  # noqa: S310
        request.add_header("Authorization", f"token {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RequestFailed(error.code, _message(error.read())) from None
        return json.loads(text) if text else None

    def kill(self) -> None:
        """SIGKILL the server and all its processes, and wait for its end."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(
    root_dir: Path,
    *,
    home: Path,
    environment: Mapping[str, str],
    flags: tuple[str, ...] = (),
    mode: str = SCHEDULER_FLAG,
    python: str = sys.executable,
) -> Iterator[LabServer]:
    """A JupyterLab server on a free port of this machine, until the block ends.

    Args:
        root_dir: the folder that its file browser shows.
        home: its HOME: settings, state and log go there, nothing to the caller's own.
        environment: its environment variables, beside HOME.
        flags: more of its command line.
        mode: the flag that says what of it is ours.
        python: the interpreter of the environment that JupyterLab is installed in.

    Raises:
        RuntimeError: it doesn't start; the text has the end of its log.
    """
    server = start(
        root_dir, home=home, environment=environment, flags=flags, mode=mode, python=python
    )
    try:
        yield server
    finally:
        stop(server)


def start(
    root_dir: Path,
    *,
    home: Path,
    environment: Mapping[str, str],
    flags: tuple[str, ...] = (),
    mode: str = SCHEDULER_FLAG,
    python: str = sys.executable,
) -> LabServer:
    """Start a server and wait until it answers; see `running`."""
    port, token = _free_port(), secrets.token_hex(24)
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    command = [
        python,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root_dir}",
        mode,
        *flags,
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=root_dir,
            env={**environment, "HOME": str(home), "JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = LabServer(process, f"http://127.0.0.1:{port}/", token, root_dir, log)
    try:
        _wait_until_it_answers(server)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: LabServer) -> None:
    """End a server as a terminal would; SIGKILL where it doesn't end in 10 seconds."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_until_it_answers(server: LabServer) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            server.request("GET", "config", seconds=5)
        except (OSError, RequestFailed):
            time.sleep(0.1)
        else:
            return
    tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-30:])
    raise RuntimeError(f"JupyterLab did not start. The end of {server.log}:\n{tail}")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
