"""``python -m local_cluster COMMAND``, run from anywhere; the checkout is found from this file."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from . import steps
from .errors import LocalClusterError
from .layout import Layout

COMMANDS: dict[str, Callable[[Layout], None]] = {
    "up": steps.up,
    "up-without-image": lambda layout: steps.up(layout, with_image=False),
    "down": steps.down,
    "status": steps.status,
    "delete-records": steps.delete_records,
    "image-build": steps.build_image,
    "image-load": lambda layout: steps.load_images(layout, tests=False),
    "test-images": lambda layout: steps.load_images(layout, tests=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="local_cluster")
    parser.add_argument("command", choices=COMMANDS)
    command = COMMANDS[parser.parse_args().command]
    # Where administrators' programs are, also for a shell that doesn't look there.
    os.environ["PATH"] = (
        os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
    )
    try:
        command(Layout.of(Path(__file__).parents[2]))
    except LocalClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The machine refused: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
