"""The start of `notebook`, passed as text to `python3 -c` in an image of anyone's making.

It says that this container is alive, by a lock that the kernel drops whatever
ends it, waits for the runner and the inputs that `files` brings, and becomes
the runner. Any Python 3 runs it; the folder is its only argument.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time

INPUTS_NEVER_CAME = 27
TERMINATED = 24
POLL_SECONDS = 0.02


def begin(control: str) -> None:
    """Take the lock, which stays held until this process ends, and say so."""
    # The other container may run as another user of the same group.
    os.umask(0o002)
    os.makedirs(control, exist_ok=True)
    name = os.path.join(control, "notebook.lock")
    # The file gets its name once it is held: a free one means that its holder ended.
    lock = os.open(name + ".new", os.O_RDWR | os.O_CREAT, 0o664)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(name + ".new", name)
    os.close(os.open(os.path.join(control, "begun"), os.O_WRONLY | os.O_CREAT, 0o664))


def is_free(lock: str) -> bool:
    """Whether the holder of the file `lock` ended."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def wait_for_inputs(control: str) -> None:
    """Return when the inputs are there; exit when they never will be."""
    ready = os.path.join(control, "ready")
    files_lock = os.path.join(control, "files.lock")
    while not os.path.exists(ready):
        if is_free(files_lock) and not os.path.exists(ready):
            print("The inputs never came: the program that fetches them ended.", flush=True)
            sys.exit(INPUTS_NEVER_CAME)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    # Process 1 of a container has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    job = sys.argv[1] if len(sys.argv) > 1 else "/job"
    begin(os.path.join(job, "control"))
    # An optional checker of web addresses, which jsonschema would load, takes a second to
    # do so in the usual Jupyter images; notebooks hold none that it checks.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    # What takes longest to import is imported while the inputs are on their way; what is
    # missing the runner says.
    with contextlib.suppress(Exception):
        import nbclient  # noqa: F401
    wait_for_inputs(os.path.join(job, "control"))
    sys.path.insert(0, os.path.join(job, "control", "runner"))
    from notebook_job.runner import main

    main(job)
