"""Waits until its run's process has ended; where that was killed, ends the run.

Started as a file, by guarding.py, for each run: so it imports next to nothing
until it is needed. It leaves its parent, its session and its group, so that what
kills these does not kill it. Its standard input is a pipe from the run's process:
a line of JSON, then nothing until the end, and before a normal end one byte more.
"""

import os


def main() -> None:
    if os.fork():
        return
    os.setsid()
    told = b""
    while piece := os.read(0, 65536):
        told += piece
    line, _, farewell = told.partition(b"\n")
    if farewell or not line:
        return
    import json
    import site
    import sys

    site.main()
    arguments = json.loads(line)
    sys.path[:] = arguments.pop("path")
    from jupyter_scheduler_k8s.stock.stopping import stop_if_asked

    stop_if_asked(**arguments)


if __name__ == "__main__":
    main()
