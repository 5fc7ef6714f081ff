"""The program `files` against a bucket in memory, with `notebook` played by the test."""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
from obstore.store import MemoryStore

from cluster.support import until
from notebook_job.codes import FilesExit
from notebook_job.contract import Contract
from notebook_job.files import Files
from notebook_job.locks import control_folder
from notebook_job.outcome import Result
from notebook_job.store import Store

NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "nbformat_minor": 4,
        "metadata": {"language_info": {"name": "python"}},
        "cells": [
            {
                "cell_type": "code",
                "metadata": {},
                "source": "print('shown')",
                "execution_count": 1,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": "shown\n"}],
            }
        ],
    }
)


@dataclass
class Run:
    """One run of the program; the test is `notebook`."""

    job: Path
    memory: MemoryStore
    files: Files
    task: "asyncio.Task[tuple[FilesExit, Result]]"
    lock: int = -1
    locks: list[int] = field(default_factory=list)

    @property
    def control(self) -> Path:
        return self.job / "control"

    @property
    def work(self) -> Path:
        return self.job / "work"

    def begin(self) -> None:
        """Hold `notebook`'s lock, as the bootstrap does."""
        self.lock = os.open(self.control / "notebook.lock.new", os.O_CREAT | os.O_RDWR)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        (self.control / "notebook.lock.new").rename(self.control / "notebook.lock")
        (self.control / "begun").touch()

    async def ready(self) -> None:
        """Wait for the inputs."""
        await appears((self.control / "ready").exists)

    def end(self) -> None:
        """End `notebook`, however."""
        os.close(self.lock)

    async def ended(self) -> tuple[FilesExit, Result]:
        """How the program ended."""
        async with asyncio.timeout(60):
            return await self.task

    def stored(self) -> list[str]:
        """The stored outputs."""
        entries = obstore.list(self.memory, "out").collect()
        return sorted(str(entry["path"]).removeprefix("out/") for entry in entries)

    def output(self, name: str) -> bytes:
        """A stored output."""
        return bytes(obstore.get(self.memory, f"out/{name}").bytes())

    def has(self, notebook: str) -> bool:
        """Whether the stored notebook has this content."""
        return "output.ipynb" in self.stored() and self.output("output.ipynb") == notebook.encode()

    def result(self) -> dict[str, Any]:
        """result.json."""
        found: dict[str, Any] = json.loads(self.output("result.json"))
        return found


Start = Callable[..., Run]


async def appears(look: Callable[[], bool]) -> None:
    """Wait, beside the program, until `look` sees what it looks for."""
    await asyncio.to_thread(until, look, seconds=30, what="what the program does")


@asynccontextmanager
async def starting(folder: Path) -> AsyncIterator[Start]:
    """Starts the program with some inputs; it doesn't outlive the block."""
    runs: list[Run] = []

    def begin(
        inputs: dict[str, bytes] | None = None,
        *,
        memory: MemoryStore | None = None,
        **changes: Any,
    ) -> Run:
        memory = memory or MemoryStore()
        for key, content in (inputs or {"n.ipynb": NOTEBOOK.encode()}).items():
            obstore.put(memory, f"in/{key}", content)
        values: dict[str, Any] = {
            "bucket": "jobs",
            "endpoint_url": "",
            "ca_bundle": "",
            "input_prefix": "in/",
            "output_prefix": "out/",
            "notebook": "n.ipynb",
            "output": "output.ipynb",
            "formats": ("ipynb",),
            "parameters": {},
            "package_input_folder": True,
        }
        store = Store(memory, bucket="jobs")
        job = folder / f"job-{len(runs)}"
        files = Files(Contract(**values | changes), store, job, control_folder(job))
        runs.append(Run(job, memory, files, asyncio.ensure_future(files.run())))
        return runs[-1]

    yield begin
    for run in runs:
        run.task.cancel()
