"""Running other programs: quietly, with their output kept, and with a sign of life."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from .errors import CommandFailed

PROGRESS_SECONDS = 8.0


def say(text: str) -> None:
    print(text, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    input_text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a short command and returns its output.

    Raises CommandFailed, with what the program said, when it fails and ``check`` is set.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=None if env is None else dict(env),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(f"The program {words[0]} is not installed.") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{words[0]} did not end within {timeout:.0f} s.") from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise CommandFailed(f"{' '.join(words[:4])} … failed: {said[-2000:]}")
    return done


def run_long(
    title: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    note: str = "",
    feed: Callable[[IO[bytes]], None] | None = None,
) -> None:
    """Runs a command that takes long: output to ``log``, a line on the terminal every few seconds.

    ``note`` says beforehand how long it may take; ``feed`` writes the command's standard input.
    Raises CommandFailed, with the end of the log, when the command fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    say(f"{title} ({note}) …" if note else f"{title} …")
    with log.open("ab") as output:
        output.write(f"--- {title}\n".encode())
        output.flush()
        offset = output.tell()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
        if feed:
            Thread(target=_feed, args=(process, feed), daemon=True).start()
        try:
            while True:
                try:
                    code = process.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - started
                    say(f"  {title}: {elapsed:.0f} s{_last_words(log, offset)}")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    elapsed = time.monotonic() - started
    if code != 0:
        with log.open("rb") as output:
            output.seek(offset)
            said = output.read().decode(errors="replace").strip()
        raise CommandFailed(f"{title} failed after {elapsed:.0f} s; see {log}.\n{said[-3000:]}")
    say(f"  {title}: done in {elapsed:.0f} s")


def _feed(process: subprocess.Popen[bytes], feed: Callable[[IO[bytes]], None]) -> None:
    assert process.stdin
    # A command that ends early says why itself.
    with contextlib.suppress(BrokenPipeError), process.stdin:
        feed(process.stdin)


def _last_words(log: Path, offset: int) -> str:
    """The last line that the command wrote, shortened, as a hint that it moves."""
    with log.open("rb") as output:
        size = output.seek(0, 2)
        output.seek(max(offset, size - 400))
        lines = output.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:70]})" if lines and lines[-1].strip() else ""
