"""`python -m budgets [--rows NAME,...]`: measure, and print the table."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from budgets.freshness import condition_shown
from budgets.memory import memory
from budgets.pages import pages, schedules
from budgets.posting import post
from budgets.running import end_to_end
from budgets.servers import Lab, lab
from budgets.starting import lab_start, listed
from budgets.table import Measurement, Missing, table
from budgets.uploads import uploads

# In this order, so that what needs no server comes before any runs.
ROWS: dict[str, Callable[[Lab], list[Measurement]]] = {
    "pages": lambda made: pages(made.folder),
    "schedules": lambda made: schedules(made.folder),
    "listed": lambda made: listed(made.folder),
    "lab-start": lab_start,
    "uploads": uploads,
    "post": post,
    "end-to-end": end_to_end,
    "condition": condition_shown,
    "memory": memory,
}


def main(arguments: list[str]) -> int:
    """Measure and print; 0 whatever was measured, because this is no test."""
    asked = argparse.ArgumentParser(prog="make bench", description=__doc__)
    asked.add_argument("--rows", default="", help=f"only these, of {','.join(ROWS)}")
    rows = [name for name in asked.parse_args(arguments).rows.split(",") if name] or list(ROWS)
    if unknown := set(rows) - set(ROWS):
        asked.error(f"no such row: {', '.join(sorted(unknown))}")
    lines: list[Measurement | Missing] = []
    # An end from outside still stops the servers and removes what was made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, lab(Path(folder)) as made:
        for name in ROWS:
            if name in rows:
                lines += _measured(name, made)
    print(table(lines))
    return 0


def _measured(name: str, made: Lab) -> list[Measurement | Missing]:
    began = time.monotonic()
    try:
        found: list[Measurement | Missing] = [*ROWS[name](made)]
    except Exception as error:  # noqa: BLE001 - the other rows are worth having
        found = [Missing(name, f"{type(error).__name__}: {error}")]
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
