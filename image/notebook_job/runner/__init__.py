"""Executes the notebook and says what became of it: the second half of `notebook`.

`files` copies this package, with `codes`, into the shared folder, and the
bootstrap calls `main` there. It runs in images of anyone's making: Python 3.9
or later, and nothing but the standard library, nbformat and nbclient.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from notebook_job.codes import Outcome
from notebook_job.runner.tee import Tee


def main(job: str) -> NoReturn:
    """Run the notebook that `job`/control/run.json names, and exit with what became of it."""
    # Here, because it imports modules that the image may lack; the tee comes first so that
    # whatever an import prints is in the log.
    control = Path(job) / "control"
    tee = Tee(control / "log")
    code = 1
    try:
        from notebook_job.runner.run import run

        code = run(Path(job))
    except BaseException as error:  # noqa: BLE001
        traceback.print_exc()
        message = f"The program that runs the notebook failed: {type(error).__name__}: {error}"
        state = {"schema": 1, "outcome": Outcome.NOTEBOOK_LOST.value, "message": message}
        # On a full disk nothing can be said.
        with contextlib.suppress(OSError):
            (control / "state.json").write_text(json.dumps(state))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        tee.close()
    # Threads of libraries may never end, and could keep the lock held.
    os._exit(code)
