"""How often the notebook is written while it runs, and the log that is kept of it."""

import asyncio
from pathlib import Path

import pytest

from notebook_job.runner.checkpoints import Checkpoints
from notebook_job.runner.tee import BoundedLog


class Writer:
    """Takes a while to write, on a clock of its own."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.now = 0.0
        self.written = 0
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def write(self) -> None:
        self.now += self._seconds
        self.written += 1


@pytest.mark.parametrize(("seconds", "wait"), [(0.001, 1.0), (0.5, 5.0), (30.0, 300.0)])
def test_writing_takes_a_tenth_of_the_time_at_most(seconds: float, wait: float) -> None:
    async def measured() -> float:
        writer = Writer(seconds)
        checkpoints = Checkpoints(writer.write, least_seconds=1.0, clock=writer.clock)
        return checkpoints.write_now()

    assert asyncio.run(measured()) == pytest.approx(wait)


async def test_a_change_is_written_and_silence_is_not() -> None:
    writer = Writer()
    checkpoints = Checkpoints(writer.write, least_seconds=0.0, clock=writer.clock)
    keeping = asyncio.ensure_future(checkpoints.keep())

    async def settled() -> int:
        for _ in range(10):
            await asyncio.sleep(0)
        return writer.written

    assert await settled() == 0
    checkpoints.changed()
    checkpoints.changed()
    assert await settled() == 1
    checkpoints.changed()
    assert await settled() == 2
    keeping.cancel()


async def test_a_full_disk_does_not_end_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        raise OSError("No space left on device")

    assert Checkpoints(write, least_seconds=1.0).write_now() >= 1.0
    assert "could not be saved yet: No space left on device" in capsys.readouterr().out


def test_the_log_keeps_its_end_within_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", limit=100)

    for number in range(100):
        log.write(f"line {number:03}\n".encode())
    log.close()

    content = (tmp_path / "log").read_text()
    assert len(content) <= 100
    assert content.endswith("line 098\nline 099\n")


def test_one_large_write_is_cut_to_its_end(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", limit=10)

    log.write(b"0123456789abcdef")
    log.close()

    assert (tmp_path / "log").read_bytes() == b"6789abcdef"
