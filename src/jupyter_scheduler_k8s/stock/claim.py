"""Who looks after a run: a lock that is free as soon as its holder is dead.

It is a file beside the run's folder in the staging area, because whoever shares
the database shares that area, on other machines, too.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from jupyter_scheduler_k8s.errors import ConfigurationError


def staging_area(job_id: str, input_path: str) -> Path:
    """The folder that holds the folders of all jobs.

    Args:
        job_id: the job's id.
        input_path: `staging_paths["input"]` of upstream's scheduler.

    Raises:
        ConfigurationError: it is no local folder.
    """
    area, found, _ = input_path.partition(f"/{job_id}/")
    if not found or "://" in area:
        raise ConfigurationError(
            "K8sExecutionManager needs a local folder for the files of its jobs: set"
            " Scheduler.staging_path to one, or leave it out."
        )
    return Path(area)


class Claim:
    """The lock of one run, held from `take` until `release` or the end of this process."""

    def __init__(self, area: Path, job_id: str) -> None:
        """`area` is `staging_area`'s."""
        self._path = area / f".{job_id}.claim"
        self._descriptor: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Whether the lock is ours now; with `wait`, it will be.

        Raises:
            OSError: this file system has no locks.
        """
        flags = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, flags)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:
                os.close(descriptor)
                raise
            # Who held it may have removed the file meanwhile.
            if os.fstat(descriptor).st_nlink:
                self._descriptor = descriptor
                return True
            os.close(descriptor)

    def is_free(self) -> bool:
        """Whether nobody holds the lock; False where that can't be known."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None
