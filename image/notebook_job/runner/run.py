"""From run.json to an exit code: reads the notebook, chooses its kernel, executes, reports."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from notebook_job.codes import NotebookExit, Outcome

# The kubelet reads it when the container ends; elsewhere it isn't there.
_TERMINATION_LOG = Path("/dev/termination-log")
_TERMINATION_BYTES = 4096
_LOOK_SECONDS = 0.5


def provide_home(environment: MutableMapping[str, str], fallback: Path) -> None:
    """Make HOME a folder that can be written to: kernels, pip and matplotlib need one."""
    home = environment.get("HOME", "")
    if home:
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=home):
            return
    fallback.mkdir(exist_ok=True)
    environment["HOME"] = str(fallback)
    if home:
        # Kernels that the image has in its own home stay known.
        data = str(Path(home) / ".local/share/jupyter")
        known = environment.get("JUPYTER_PATH")
        environment["JUPYTER_PATH"] = f"{known}{os.pathsep}{data}" if known else data


def watch_lock(path: Path, when_free: Callable[[], None]) -> None:
    """Call `when_free`, from another thread, once the holder of the lock `path` ended."""

    def wait() -> None:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        when_free()

    threading.Thread(target=wait, name="files.lock", daemon=True).start()


def watch_file(path: Path, when_there: Callable[[], None]) -> None:
    """Call `when_there`, from another thread, once there is a file `path`; nothing tells of it."""

    def wait() -> None:
        while not path.exists():
            time.sleep(_LOOK_SECONDS)
        when_there()

    threading.Thread(target=wait, name=path.name, daemon=True).start()


def run(job: Path) -> int:
    """Run the notebook of the folder `job`; return the exit code."""
    control = job / "control"
    spec = json.loads((control / "run.json").read_text(encoding="utf-8"))
    provide_home(os.environ, job / "home")
    try:
        import nbclient  # noqa: F401
        import nbformat  # noqa: F401

        from notebook_job.runner import kernels, notebook
        from notebook_job.runner.state import Report
        from notebook_job.runner.usage import Meter
    except ImportError as error:
        return _without_nbclient(control, error)

    report = Report(control / "state.json", Meter())
    report.update(started_at=int(time.time() * 1000))

    def end(code: NotebookExit, outcome: Outcome, message: str) -> int:
        report.update(outcome=outcome, message=message, ended_at=int(time.time() * 1000))
        report.write()
        print(message, flush=True)  # noqa: T201
        _leave_message(control)
        return code

    path = job / "work" / spec["notebook"]
    try:
        content = notebook.read(path)
    except notebook.NotebookInvalid as error:
        return end(NotebookExit.NOTEBOOK_INVALID, Outcome.NOTEBOOK_INVALID, str(error))
    notebook.inject(content, spec["parameters"])
    report.update(total=sum(cell.cell_type == "code" for cell in content.cells))
    saved = control / "notebook.ipynb"

    def save() -> None:
        notebook.write(content, saved)

    # From here on there is always something to store.
    save()
    try:
        choice = kernels.choose(content.metadata, kernels.installed())
    except kernels.KernelMissing as error:
        return end(NotebookExit.KERNEL_MISSING, Outcome.KERNEL_MISSING, str(error))
    report.update(kernel=choice.name, kernel_note=choice.note)
    if choice.note:
        print(choice.note, flush=True)  # noqa: T201
    code = asyncio.run(_execute(content, choice.name, path.parent, report, save, control))
    if report.state.message:
        print(report.state.message, flush=True)  # noqa: T201
    _leave_message(control)
    return code


async def _execute(
    content: Any,
    kernel: str,
    cwd: Path,
    report: Any,
    save: Callable[[], None],
    control: Path,
) -> int:
    from notebook_job.runner.execution import Execution

    execution = Execution(notebook=content, kernel=kernel, cwd=cwd, report=report, save=save)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, execution.terminate)

    def in_loop(call: Callable[[], None]) -> None:
        # The loop may have closed at the end of the run.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(call)

    watch_lock(control / "files.lock", lambda: in_loop(execution.files_ended))
    watch_file(control / "replaced", lambda: in_loop(execution.replaced))
    return (await execution.run()).code


def _without_nbclient(control: Path, error: ImportError) -> int:
    message = (
        f"The image cannot run notebooks: {error}. "
        "It needs the Python packages nbclient and ipykernel."
    )
    print(message, flush=True)  # noqa: T201
    state = {"schema": 1, "outcome": Outcome.NBCLIENT_MISSING.value, "message": message}
    (control / "state.json").write_text(json.dumps(state))
    _leave_message(control)
    return NotebookExit.NBCLIENT_MISSING


def _leave_message(control: Path) -> None:
    """Say the same where the kubelet reads it, should `files` not live to store it."""
    with contextlib.suppress(OSError, ValueError):
        if not _TERMINATION_LOG.exists():
            return
        state = json.loads((control / "state.json").read_text())
        for length in (1000, 200, 20):
            state["message"] = state["message"][:length]
            if state.get("error"):
                state["error"]["value"] = state["error"]["value"][:length]
            text = json.dumps(state)
            if len(text) <= _TERMINATION_BYTES:
                _TERMINATION_LOG.write_text(text)
                return
