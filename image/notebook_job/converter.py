"""The side of the converter that asks; see `convert`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Large notebooks take minutes; for ever takes longer.
CONVERT_SECONDS = 600
_ANSWER_BYTES = 1 << 16
# All that the process needs of the environment; credentials are not among it.
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class ConversionFailed(Exception):
    """The format could not be made; the text is a sentence."""


class Converter:
    """A process that converts, started when first needed or by `start`."""

    def __init__(self, formats: Sequence[str], *, seconds: float = CONVERT_SECONDS) -> None:
        self._formats = list(formats)
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Start the process, which then imports what the formats need."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "notebook_job.convert",
            json.dumps(self._formats),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _VARIABLES if name in os.environ}
            | {"PYTHONPATH": str(Path(__file__).parents[1])},
            limit=_ANSWER_BYTES,
        )
        return self._process

    async def convert(self, notebook: Path, output_format: str, *, title: str) -> Path:
        """The file with `notebook` in another format.

        Raises:
            ConversionFailed: see there.
        """
        output = notebook.with_name(f"output.{len(output_format)}.{os.urandom(4).hex()}")
        request = {
            "notebook": str(notebook),
            "format": output_format,
            "output": str(output),
            "title": title,
        }
        process = self._process or await self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), self._seconds)
            answer = json.loads(line)
        except asyncio.TimeoutError:
            await self.stop()
            raise ConversionFailed(
                f'Converting to "{output_format}" took longer than {self._seconds:.0f} s.'
            ) from None
        except (OSError, ValueError):
            await self.stop()
            raise ConversionFailed(f'The converter to "{output_format}" crashed.') from None
        if "error" in answer:
            raise ConversionFailed(answer["error"])
        return output

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
