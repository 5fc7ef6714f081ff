"""One execution of a notebook, by nbclient: its cells, its kernel's death, a SIGTERM."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbclient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from notebook_job.codes import NotebookExit, Outcome
from notebook_job.runner.checkpoints import Checkpoints
from notebook_job.runner.state import CellError, Report
from notebook_job.runner.usage import Meter, readable_size, was_killed_for_memory

# An image on a slow disk may take minutes to import for the first time.
KERNEL_START_SECONDS = 600
# Outputs of many megabytes arrive long after the cell's reply.
_OUTPUT_SECONDS = 600
# A pod that is evicted was seen to have 2 s; an interrupted cell gets a part of it to clean up.
_INTERRUPT_SECONDS = 0.7
_KILL_SECONDS = 1.0
# Kernels may run what was registered for their exit.
_SHUTDOWN_SECONDS = 30
_POLL_SECONDS = 0.01
_SOCKET_FOLDER_CHARACTERS = 80
# The kernel, not this process, is what the machine kills first for memory.
_OOM_SCORE = "1000"


@dataclass(frozen=True)
class Ending:
    """How an execution ended."""

    code: NotebookExit
    outcome: Outcome
    message: str = ""
    error: CellError | None = None


# Why a run is cut short. Their messages go on with how far it had got.
_TERMINATED = Ending(NotebookExit.TERMINATED, Outcome.TERMINATED, "The run was ended from outside")
_REPLACED = Ending(
    NotebookExit.REPLACED,
    Outcome.REPLACED,
    "The next run of this schedule began, and replaced this one",
)
_FILES_ENDED = Ending(
    NotebookExit.INPUTS_NEVER_CAME,
    Outcome.TERMINATED,
    "The program that stores the outputs ended, so the run was ended",
)


class _Client(nbclient.NotebookClient):
    """nbclient, telling when outputs change."""

    on_output: Callable[[], None] = staticmethod(lambda: None)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        try:
            return super().process_message(msg, cell, cell_index)
        finally:
            self.on_output()


class Execution:
    """Runs the cells of `notebook` in order, in the folder `cwd`."""

    def __init__(
        self, *, notebook: Any, kernel: str, cwd: Path, report: Report, save: Callable[[], None]
    ) -> None:
        self._notebook = notebook
        self._kernel = kernel
        self._report = report
        self._save = save
        self._client = _Client(
            notebook,
            kernel_name=kernel,
            timeout=None,
            startup_timeout=KERNEL_START_SECONDS,
            iopub_timeout=_OUTPUT_SECONDS,
            resources={"metadata": {"path": str(cwd)}},
        )
        self._meter = Meter()
        self._before = self._meter.read()
        self._terminated = asyncio.Event()
        self._cut = _TERMINATED

    def terminate(self) -> None:
        """End the run soon, keeping what the finished cells put out."""
        self._end(_TERMINATED)

    def replaced(self) -> None:
        """End the run soon: the next run of its schedule has begun."""
        self._end(_REPLACED)

    def files_ended(self) -> None:
        """End the run: nothing is left that could store its outputs."""
        self._end(_FILES_ENDED)

    def _end(self, cut: Ending) -> None:
        # Of several reasons the first one is told.
        if not self._terminated.is_set():
            self._cut = cut
            self._terminated.set()

    def _save_all(self) -> None:
        with contextlib.suppress(Exception):
            self._client.set_widgets_metadata()
        self._save()
        self._report.write()

    async def run(self) -> Ending:
        """Execute, and save the notebook as it is at the end."""
        checkpoints = Checkpoints(self._save_all)
        self._client.on_output = checkpoints.changed
        checkpoints.write_now()
        keeping = asyncio.ensure_future(checkpoints.keep())
        running = asyncio.ensure_future(self._cells(checkpoints))
        stopping = asyncio.ensure_future(self._terminated.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        keeping.cancel()
        if self._terminated.is_set():
            checkpoints.write_now()
            await self._interrupt(running)
            ending = self._cut_short()
        else:
            stopping.cancel()
            ending = running.result()
        self._report.update(
            outcome=ending.outcome,
            message=ending.message,
            error=ending.error,
            ended_at=int(time.time() * 1000),
        )
        self._save_all()
        await self._stop_kernel()
        if self._terminated.is_set() and ending.outcome is not self._cut.outcome:
            # Whatever had been reached: SIGTERM never looks like success.
            ending = self._cut_short()
            self._report.update(outcome=ending.outcome, message=ending.message)
        self._report.write()
        return ending

    async def _cells(self, checkpoints: Checkpoints) -> Ending:
        client = self._client
        index, started = 0, False
        try:
            manager = client.create_kernel_manager()
            _use_sockets_of_this_container(manager)
            await client.async_start_new_kernel(cwd=client.resources["metadata"]["path"])
            started = True
            self._offer_kernel_to_the_machine()
            await client.async_start_new_kernel_client()
            await self._read_language()
            for index, cell in enumerate(self._notebook.cells):
                count = client.code_cells_executed + 1
                begin = time.perf_counter()
                await client.async_execute_cell(cell, index, execution_count=count)
                if cell.cell_type != "code":
                    continue
                done = self._report.state.finished + 1
                self._report.update(finished=done)
                checkpoints.changed()
                place = f"Cell {index + 1} ({done} of {self._report.state.total} with code)"
                seconds = time.perf_counter() - begin
                print(f"{place} finished in {seconds:.1f} s", flush=True)  # noqa: T201
        except CellExecutionError as failure:
            return self._cell_error(failure, index)
        except DeadKernelError:
            return await self._dead(f"The kernel died in cell {index + 1}")
        except OSError as error:
            if started:
                raise
            return Ending(
                NotebookExit.KERNEL_MISSING,
                Outcome.KERNEL_MISSING,
                f'The kernel "{self._kernel}" cannot start: {error}.',
            )
        except RuntimeError as error:
            # What jupyter_client raises for a kernel that ends, or stays silent, at its start.
            return await self._dead(f'The kernel "{self._kernel}" did not start: {error}')
        return Ending(NotebookExit.COMPLETED, Outcome.COMPLETED)

    async def _read_language(self) -> None:
        client = self._client
        kernel: Any = client.kc
        reply = await client.async_wait_for_reply(await _awaited(kernel.kernel_info()))
        language = reply["content"].get("language_info") if reply else None
        if language:
            self._notebook.metadata["language_info"] = language

    def _offer_kernel_to_the_machine(self) -> None:
        pid = _kernel_pid(self._client.km)
        if pid is not None:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/oom_score_adj").write_text(_OOM_SCORE)

    def _cell_error(self, failure: Any, index: int) -> Ending:
        name = str(getattr(failure, "ename", "")) or type(failure).__name__
        value = str(getattr(failure, "evalue", "")) or ""
        message = f"Cell {index + 1} raised {name}: {value}".rstrip(": ")
        if was_killed_for_memory(self._before, self._meter.read()):
            message += (
                f". A process of the notebook was killed for memory; {self._limit_sentence()}"
            )
        print(_plain(str(failure)), flush=True)  # noqa: T201
        return Ending(
            NotebookExit.CELL_ERROR,
            Outcome.CELL_ERROR,
            message,
            CellError(name=name, value=value, cell=index + 1),
        )

    def _limit_sentence(self) -> str:
        limit = self._meter.read().memory_limit_bytes
        if limit is None:
            return "the machine had no more memory."
        return f"the memory limit is {readable_size(limit)}."

    async def _dead(self, what: str) -> Ending:
        how = await _how_it_ended(self._client.km)
        if was_killed_for_memory(self._before, self._meter.read()):
            return Ending(
                NotebookExit.OUT_OF_MEMORY,
                Outcome.OUT_OF_MEMORY,
                f"{what}: out of memory; {self._limit_sentence()}",
            )
        return Ending(
            NotebookExit.KERNEL_DIED,
            Outcome.KERNEL_DIED,
            f"{what}{f' ({how})' if how else ''}.",
        )

    def _cut_short(self) -> Ending:
        state = self._report.state
        done = f"{state.finished} of {state.total} code cells had finished"
        return replace(self._cut, message=f"{self._cut.message}; {done}.")

    async def _interrupt(self, running: asyncio.Future[Ending]) -> None:
        manager = self._client.km
        if manager is not None and not running.done():
            with contextlib.suppress(Exception):
                await _awaited(manager.interrupt_kernel())
            await asyncio.wait({running}, timeout=_INTERRUPT_SECONDS)
        running.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.wait({running}, timeout=_KILL_SECONDS)
        if running.done() and not running.cancelled():
            # Its outcome is this run's end, whatever it is.
            running.exception()

    async def _stop_kernel(self) -> None:
        """End the kernel: gently after a run of its own, at once when the time is short."""
        process = _process(self._client.km)
        if process is None or process.poll() is not None:
            return
        asking = asyncio.ensure_future(_asked_to_end(self._client.km, process))
        stopping = asyncio.ensure_future(self._terminated.wait())
        await asyncio.wait(
            {asking, stopping}, timeout=_SHUTDOWN_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        stopping.cancel()
        asking.cancel()
        if process.poll() is None:
            with contextlib.suppress(OSError):
                process.kill()


async def _asked_to_end(manager: Any, process: Any) -> None:
    """Ask the kernel to end, and wait until it has: jupyter_client would look ten times rarer."""
    await _awaited(manager.request_shutdown())
    while process.poll() is None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


def _use_sockets_of_this_container(manager: Any) -> None:
    """Talk to the kernel through files, where it is sure to know how: the network is the pod's."""
    spec = getattr(manager, "kernel_spec", None)
    if getattr(spec, "language", "") != "python":
        return
    with contextlib.suppress(OSError):
        folder = tempfile.mkdtemp(prefix="kernel-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        # The names of sockets, which are longer by a few characters, may have 107.
        if len(folder) <= _SOCKET_FOLDER_CHARACTERS:
            manager.transport = "ipc"
            manager.connection_file = f"{folder}/kernel.json"


async def _awaited(value: Any) -> Any:
    """The result of a call that is a coroutine in some versions of jupyter_client only."""
    return await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value


def _process(manager: Any) -> Any:
    # `provisioner` since jupyter_client 7, `kernel` before.
    provisioner = getattr(manager, "provisioner", None)
    return getattr(provisioner, "process", None) or getattr(manager, "kernel", None)


def _kernel_pid(manager: Any) -> int | None:
    pid = getattr(_process(manager), "pid", None)
    return pid if isinstance(pid, int) else None


async def _how_it_ended(manager: Any) -> str:
    """How the kernel's process ended, as far as it is known: "signal SIGSEGV"."""
    process = _process(manager)
    poll = getattr(process, "poll", None)
    code = poll() if poll else None
    if not isinstance(code, int):
        return ""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _plain(text: str) -> str:
    """`text` without the colours of a terminal."""
    import re

    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
