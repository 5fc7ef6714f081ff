"""`python -m local_lab demo` and `python -m local_lab lab`."""

import shutil
import signal
import sys
from pathlib import Path

from local_lab.demo import example_folder, run_demo
from local_lab.environment import cluster_environment, state_folder
from local_lab.server import running


def main(arguments: list[str]) -> int:
    """Run one of the two commands; the exit code is 0 where it did what it should."""
    # So that the server ends with this program, however that is ended.
    for wanted in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wanted, lambda number, _: sys.exit(128 + number))
    root_dir, home = _folders()
    environment = cluster_environment()
    with running(root_dir, home=home, environment=environment) as server:
        match arguments:
            case ["demo"]:
                return 0 if run_demo(server, environment) else 1
            case ["lab"]:
                print(f"JupyterLab: {server.url}lab?token={server.token}")
                print(f"Its files are in {root_dir}, its log is {server.log}. Ctrl+C ends it.")
                try:
                    return server.process.wait()
                except KeyboardInterrupt:
                    return 0
    print("usage: python -m local_lab demo|lab", file=sys.stderr)
    return 2


def _folders() -> tuple[Path, Path]:
    """The server's root folder, with the example in it, and its home."""
    root_dir = state_folder() / "lab" / "files"
    shutil.copytree(example_folder(), root_dir / "bike-hire", dirs_exist_ok=True)
    return root_dir, state_folder() / "lab" / "home"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
