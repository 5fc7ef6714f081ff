"""1,000 input files of 4 KB up to S3, ours beside `aws s3 sync`."""

import asyncio
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from budgets.repeated import interleaved, milliseconds
from budgets.servers import Lab
from budgets.table import Measurement
from jupyter_scheduler_k8s.staging import stage
from jupyter_scheduler_k8s.storage import Storage

_FILES, _SIZE = 1000, 4096
_TIMES = 3
# Times itself, so that uv's own start is not in the figure.
_SYNC = """
import subprocess, sys, time
began = time.perf_counter()
subprocess.run(["aws", "s3", "sync", "--only-show-errors", *sys.argv[1:]], check=True)
print((time.perf_counter() - began) * 1000)
"""


def uploads(lab: Lab) -> list[Measurement]:
    """The input tree of one job, from the disk to S3."""
    root = lab.folder / "uploads"
    root.mkdir()
    for number in range(_FILES):
        (root / f"input-{number:04}.bin").write_bytes(secrets.token_bytes(_SIZE))
    (root / "input.ipynb").write_text("{}")
    with asyncio.Runner() as runner:
        # The environment of the client is that of this process.
        given = {key: value for key, value in lab.environment.items() if key.startswith("AWS_")}
        os.environ |= given
        storage = Storage(
            bucket=lab.environment["S3_BUCKET"], endpoint_url=lab.environment["S3_ENDPOINT_URL"]
        )
        ours, theirs = interleaved(
            lambda: _ours(lab, runner, storage, root), lambda: _sync(lab, root), times=_TIMES
        )
    return [
        Measurement(
            what=f"{_FILES:,} input files of {_SIZE // 1024} KB to S3",
            ours=ours,
            theirs=theirs,
            against="aws s3 sync",
            unit="ms",
            budget=0.2,
            note="ours as a server does it, in its process, from finding the files to the last"
            " answer; the command with its own start, without that of uv.",
        )
    ]


def _ours(lab: Lab, runner: asyncio.Runner, storage: Storage, root: Path) -> float:
    prefix = _prefix()

    async def upload() -> None:
        tree = await asyncio.to_thread(
            stage, str(root), "input.ipynb", package=True, output_directory=str(root / "none")
        )
        await storage.upload_tree(prefix, tree)

    taken = milliseconds(lambda: runner.run(upload()))
    _remove(lab, prefix)
    return taken


def _sync(lab: Lab, root: Path) -> float:
    prefix = _prefix()
    environment = lab.environment
    target = f"s3://{environment['S3_BUCKET']}/{prefix}"
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise RuntimeError("uv isn't found, which brings the aws command.")
    done = subprocess.run(
        (
            *(uv, "run", "--quiet", "--no-project", "--with", "awscli", "python", "-c", _SYNC),
            *(str(root), target, "--endpoint-url", environment["S3_ENDPOINT_URL"]),
        ),
        env={**environment, "HOME": os.environ["HOME"]},
        check=True,
        capture_output=True,
        text=True,
    )
    _remove(lab, prefix)
    return float(done.stdout)


def _prefix() -> str:
    return f"jobs/bench-{secrets.token_hex(8)}/input/"


def _remove(lab: Lab, prefix: str) -> None:
    """Remove what was stored, and see that it was all."""
    bucket = lab.bucket
    keys = bucket.keys(prefix)
    if len(keys) < _FILES:
        raise RuntimeError(f"Only {len(keys)} of {_FILES} files were stored.")
    for key in keys:
        bucket.client.remove_object(bucket.name, key)
