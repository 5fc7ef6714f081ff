"""The program `files`: brings the inputs, waits for `notebook`, stores what it left.

Run as `python -m notebook_job.files [folder]`. It has the S3 credentials, and
trusts nothing in the shared folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from notebook_job import locks
from notebook_job.codes import FilesExit, Outcome
from notebook_job.contract import Contract, ContractError
from notebook_job.converter import Converter
from notebook_job.fetch import Inputs, InputsMissing, fetch, keep
from notebook_job.outcome import CUT_SHORT, STATE_BYTES, Result, final, read_state
from notebook_job.store import (
    AlreadyThere,
    ObjectMissing,
    Patience,
    Store,
    StoreError,
    connect,
    without_secrets,
)
from notebook_job.storing import NOTEBOOK, NOTEBOOK_BYTES, Storing
from notebook_job.turns import Turns, repeating
from notebook_job.volume import Refused, Volume

T = TypeVar("T")

NOTEBOOK_LOCK = "notebook.lock"
# How long S3 may be away: at the start somebody waits, at the end there is work to lose.
FETCH_SECONDS = 120.0
STORE_SECONDS = 900.0
# While the notebook runs, S3 has what it put out up to so long ago.
CHECKPOINT_SECONDS = 10.0
# How often a run looks whether the next one of its schedule has begun.
TURN_SECONDS = 10.0
# Looking at the file's date costs nothing; nothing tells when it changes.
_LOOK_SECONDS = 1.0
_BEGIN_POLLS = (0.02, 0.2)
_PATIENT_AFTER_SECONDS = 30.0
_TERMINATION_LOG = Path("/dev/termination-log")
# <sys/prctl.h>
_PR_SET_DUMPABLE = 4


class CutShort(Exception):
    """The run was told to end before there was anything to store."""


def log(text: str) -> None:
    """Print a line of this program's own log."""
    print(text, flush=True)  # noqa: T201


class Files:
    """One run of the program."""

    def __init__(self, contract: Contract, store: Store, job: Path, control: Volume) -> None:
        self._contract = contract
        self._store = store
        self._job = job
        self._control = control
        self._turns = (
            Turns(store, prefix=contract.turn_prefix, name=contract.turn_name)
            if contract.turn_name
            else None
        )
        # Tells this pod from others of the same run.
        self._marker = json.dumps({"pod": str(uuid.uuid4()), "time": _now_ms()}).encode()
        # Why the run was told to end.
        self._cause: Outcome | None = None
        self._cut_short = asyncio.Event()
        self._converter = Converter(contract.formats)

    def terminate(self) -> None:
        """SIGTERM: end what is not worth storing, and wait no longer with the rest."""
        self._cause = Outcome.TERMINATED
        self._cut_short.set()

    async def run(self) -> tuple[FilesExit, Result]:
        """Run to the end."""
        try:
            await self._until_cut_short(self._look())
            with repeating(self._look, seconds=TURN_SECONDS):
                work, inputs = await self._until_cut_short(self._bring_inputs())
                await self._until_cut_short(self._wait_for_begin())
                await self._until_cut_short(self._mark_started())
                await self._wait_for_end()
        except InputsMissing as error:
            return await self._give_up(FilesExit.INPUTS_FAILED, Outcome.INPUTS_FAILED, str(error))
        except AlreadyThere:
            return _already_started()
        except locks.NotBegun:
            message = "The notebook's container ended before it got its inputs."
            return await self._give_up(FilesExit.NOT_BEGUN, Outcome.NOT_BEGUN, message)
        except CutShort:
            return await self._end_before_it_began()
        return await self._store_outputs(work, inputs)

    async def _wait_for_end(self) -> None:
        """Let the notebook run, and store it meanwhile."""
        ended = locks.when_free(self._control, NOTEBOOK_LOCK)
        self._control.write("ready", b"")
        log("The notebook runs")
        if any(name != "ipynb" for name in self._contract.formats):
            await self._converter.start()
        await self._store_checkpoints(ended)
        log("The notebook ended")

    async def _look(self) -> None:
        """End the run if the next one of its schedule has begun."""
        if self._turns is None or self._cause is not None:
            return
        try:
            over = await self._turns.is_over()
        except StoreError as error:
            # A run isn't ended, nor failed, for what isn't known.
            log(f"Whether the next run of this schedule began was not seen. {error}")
            return
        if over and self._cause is None:
            log(CUT_SHORT[Outcome.REPLACED])
            with contextlib.suppress(Refused):
                self._control.write("replaced", b"")
            self._cause = Outcome.REPLACED
            self._cut_short.set()

    async def _until_cut_short(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._cut_short.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        raise CutShort

    async def _bring_inputs(self) -> tuple[Volume, Inputs]:
        begin = time.monotonic()
        self._provide_runner()
        folder = self._job / "work"
        folder.mkdir(exist_ok=True)
        work = Volume(folder)
        prefix = self._contract.input_prefix
        if kept := self._contract.keep_input_prefix:
            await keep(self._store, prefix=prefix, kept=kept, patience=Patience(FETCH_SECONDS))
            prefix = kept
        inputs = await fetch(
            self._store,
            prefix=prefix,
            notebook=self._contract.notebook,
            work=work,
            patience=Patience(FETCH_SECONDS),
        )
        seconds = time.monotonic() - begin
        log(f"Fetched {len(inputs.marks)} files, {inputs.size} bytes, in {seconds:.2f} s")
        return work, inputs

    def _provide_runner(self) -> None:
        """Put the runner's source and what it runs where `notebook` looks for them."""
        package = Path(__file__).parent
        for source in [package / "__init__.py", package / "codes.py", *package.glob("runner/*.py")]:
            target = f"runner/notebook_job/{source.relative_to(package).as_posix()}"
            self._control.write(target, source.read_bytes())
        spec = {
            "notebook": self._contract.notebook,
            "parameters": dict(self._contract.parameters),
        }
        self._control.write("run.json", json.dumps(spec).encode())

    async def _wait_for_begin(self) -> None:
        """Wait for `notebook`, which may take as long as its image takes to be pulled."""
        begin = time.monotonic()
        while not self._control.exists("begun"):
            if locks.is_held(self._control, NOTEBOOK_LOCK) is False:
                raise locks.NotBegun
            patient = time.monotonic() - begin > _PATIENT_AFTER_SECONDS
            await asyncio.sleep(_BEGIN_POLLS[patient])
        if not locks.is_held(self._control, NOTEBOOK_LOCK):
            raise locks.NotBegun

    async def _mark_started(self) -> None:
        """Say in S3 that this run began: notebooks have effects, so no other pod may begin it."""
        try:
            await self._store.put_new(self._started_key, self._marker, Patience(FETCH_SECONDS))
        except AlreadyThere:
            raise
        except StoreError as error:
            raise InputsMissing(f"The run cannot begin. {error}") from None

    @property
    def _started_key(self) -> str:
        return f"{self._contract.output_prefix}started"

    async def _store_checkpoints(self, ended: asyncio.Future[None]) -> None:
        """Store the notebook as it grows, until `ended`."""
        cut_short = asyncio.ensure_future(self._cut_short.wait())
        stored = None
        due = time.monotonic() + min(3.0, CHECKPOINT_SECONDS)
        while not ended.done():
            waiting: set[asyncio.Future[Any]] = {ended}
            if not cut_short.done():
                waiting.add(cut_short)
            await asyncio.wait(waiting, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            # A pod that is evicted may have 2 s: nothing is waited for then.
            if ended.done() or (time.monotonic() < due and not cut_short.done()):
                continue
            mark = self._control.mark(NOTEBOOK)
            if mark is None or mark == stored:
                continue
            begin = time.monotonic()
            await self._store_checkpoint()
            if cut_short.done():
                # Should the rest never come to be stored, the run's end is told.
                result = final(self._read_state(), cut_short=self._cause, now_ms=_now_ms())
                await self._put_result(replace(result, outputs=("ipynb",)))
            stored = mark
            now = time.monotonic()
            due = now + max(CHECKPOINT_SECONDS, 10 * (now - begin))
        cut_short.cancel()

    async def _store_checkpoint(self) -> None:
        try:
            await self._store.put(
                self._contract.output_key("ipynb"),
                lambda: self._control.chunks(NOTEBOOK, NOTEBOOK_BYTES),
                Patience(0),
            )
        except (StoreError, Refused) as error:
            log(f"The notebook is not stored yet: {error}")

    async def _store_outputs(self, work: Volume, inputs: Inputs) -> tuple[FilesExit, Result]:
        begin = time.monotonic()
        result = final(self._read_state(), cut_short=self._cause, now_ms=_now_ms())
        storing = Storing(
            self._contract,
            self._store,
            control=self._control,
            work=work,
            inputs=inputs.marks,
            patience=Patience(STORE_SECONDS),
        )
        await storing.notebook()
        if not storing.stored.failures:
            if self._cause is not None:
                # Should the time not suffice for the rest, the run's end is told.
                await storing.result(result)
            if self._contract.package_input_folder:
                await storing.files()
            await storing.formats(self._converter)
        result = await storing.result(result)
        await self._converter.stop()
        stored = storing.stored
        log(
            f"Stored {', '.join(stored.outputs) or 'no notebook'} and {len(stored.files)} files "
            f"in {time.monotonic() - begin:.2f} s"
        )
        for sentence in [*stored.failures, *stored.failed_outputs.values()]:
            log(sentence)
        if stored.failures:
            return FilesExit.OUTPUTS_FAILED, result
        if self._cause is Outcome.TERMINATED:
            return FilesExit.TERMINATED, result
        # A notebook that ended before it heard of the next run has not been replaced.
        replaced = result.outcome is Outcome.REPLACED
        return FilesExit.REPLACED if replaced else FilesExit.STORED, result

    def _read_state(self) -> Result | None:
        try:
            return read_state(self._control.read("state.json", STATE_BYTES))
        except Refused:
            return None

    async def _end_before_it_began(self) -> tuple[FilesExit, Result]:
        if self._cause is not Outcome.REPLACED:
            message = "The run was ended from outside before it began."
            return await self._give_up(FilesExit.TERMINATED, Outcome.TERMINATED, message)
        message = CUT_SHORT[Outcome.REPLACED]
        try:
            begun_by = await self._store.get(self._started_key, Patience(0))
        except ObjectMissing:
            return await self._give_up(FilesExit.REPLACED, Outcome.REPLACED, message)
        except StoreError:
            # Another pod's outputs may be there.
            return FilesExit.REPLACED, Result(Outcome.REPLACED, message)
        if begun_by != self._marker:
            return _already_started()
        return await self._give_up(FilesExit.REPLACED, Outcome.REPLACED, message)

    async def _give_up(
        self, code: FilesExit, outcome: Outcome, message: str
    ) -> tuple[FilesExit, Result]:
        """Say why nothing ran, in S3 too where that is possible."""
        result = Result(outcome, message, ended_at=_now_ms())
        await self._put_result(result)
        return code, result

    async def _put_result(self, result: Result) -> None:
        with contextlib.suppress(StoreError):
            key = f"{self._contract.output_prefix}result.json"
            await self._store.put(key, result.to_json(), Patience(0))


def _already_started() -> tuple[FilesExit, Result]:
    # The outputs are the other pod's: nothing is written.
    message = "Another pod had begun this run before; a notebook is not run twice."
    return FilesExit.ALREADY_STARTED, Result(Outcome.ALREADY_STARTED, message)


def _now_ms() -> int:
    return int(time.time() * 1000)


def forbid_inspection() -> None:
    """Make this process unreadable to others of its user: its environment has the credentials."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


async def run(job: Path, environment: Mapping[str, str]) -> tuple[FilesExit, Result]:
    """Run the program for the folder `job`; return how it ended."""
    control = locks.control_folder(job)
    # Held until the process ends.
    locks.hold(control, "files.lock")
    try:
        contract = Contract.from_environment(environment)
        bucket = connect(
            bucket=contract.bucket,
            endpoint_url=contract.endpoint_url,
            ca_bundle=contract.ca_bundle,
            environment=environment,
        )
    except ContractError as error:
        return FilesExit.INPUTS_FAILED, Result(Outcome.INPUTS_FAILED, str(error))
    except OSError as error:
        message = f"The file of S3_CA_BUNDLE cannot be read: {error.strerror}."
        return FilesExit.INPUTS_FAILED, Result(Outcome.INPUTS_FAILED, message)
    except Exception as error:  # noqa: BLE001
        # obstore's own texts may repeat what it was configured with.
        message = f"S3 cannot be set up: {type(error).__name__}."
        return FilesExit.INPUTS_FAILED, Result(Outcome.INPUTS_FAILED, message)
    program = Files(contract, Store(bucket, bucket=contract.bucket), job, control)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, program.terminate)
    return await program.run()


def main() -> NoReturn:
    """Run, tell, exit."""
    os.umask(0o002)
    forbid_inspection()
    # Before the loop has its handler; process 1 of a container has no default action.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(FilesExit.TERMINATED))
    job = Path(sys.argv[1] if len(sys.argv) > 1 else "/job")
    try:
        code, result = asyncio.run(run(job, os.environ))
    except BaseException as error:  # noqa: BLE001
        log(without_secrets(traceback.format_exc()))
        message = f"The program that moves the files failed: {type(error).__name__}."
        code, result = FilesExit.OTHER, Result(Outcome.NOTEBOOK_LOST, message)
    if result.message:
        log(result.message)
    with contextlib.suppress(OSError):
        if _TERMINATION_LOG.exists():
            _TERMINATION_LOG.write_bytes(result.to_termination_message())
    # The thread that waited for the lock may wait for ever.
    os._exit(code)


if __name__ == "__main__":
    main()
