"""Both programs in one container, for a run by hand: `python -m notebook_job`.

The environment is that of `files`; the folder is a temporary one. Exits with
`notebook`'s code, or with `files`' where the outputs could not be stored.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from notebook_job.files import forbid_inspection

# What `files` alone needs: its contract, and whatever opens S3.
_OF_FILES = ("S3_", "AWS_", "NOTEBOOK_PATH", "OUTPUT_", "PARAMETERS", "PACKAGE_INPUT_FOLDER")


def main() -> int:
    """Run both programs; return the exit code."""
    forbid_inspection()
    bootstrap = Path(__file__).with_name("bootstrap.py").read_text(encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_OF_FILES)
    }
    with tempfile.TemporaryDirectory(prefix="notebook-job-", ignore_cleanup_errors=True) as job:
        programs = [
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "notebook_job.files", job]
            ),
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", bootstrap, job], env=environment
            ),
        ]

        def forward(number: int, _frame: object) -> None:
            for program in programs:
                program.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, forward)
        files, notebook = (program.wait() for program in programs)
    return notebook or files


if __name__ == "__main__":
    sys.exit(main())
