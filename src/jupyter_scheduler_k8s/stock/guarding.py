"""The run's end of the pipe to its guard; see guard.py."""

import json
import subprocess
import sys
from pathlib import Path

from jupyter_scheduler_k8s.errors import BackendError

_PROGRAM = Path(__file__).with_name("guard.py")


class Guard:
    """Ends the Job of a run that is stopped, should this process be killed."""

    def __init__(self, *, db_url: str, job_id: str, namespace: str) -> None:
        """Start it. What it needs goes through the pipe: a database's address may hold a password.

        Raises:
            BackendError: it can't be started.
        """
        arguments = {"db_url": db_url, "job_id": job_id, "namespace": namespace, "path": sys.path}
        try:
            process = subprocess.Popen(  # noqa: S603
                # Isolated and without site-packages: 9 MB instead of more.
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                stdin=subprocess.PIPE,
            )
        except OSError as error:
            raise BackendError(f"The guard of the run can't be started: {error}.") from None
        assert process.stdin is not None
        self._pipe = process.stdin
        try:
            self._pipe.write(json.dumps(arguments).encode() + b"\n")
            self._pipe.flush()
        except OSError as error:
            raise BackendError(f"The guard of the run has ended: {error}.") from None
        # The guard itself is the child of this one, which ends at once.
        process.wait()

    def dismiss(self) -> None:
        """Let it end: the run's record says what became of it."""
        try:
            self._pipe.write(b".")
            self._pipe.close()
        except OSError:
            # It is gone.
            return
