"""The program `check`: whether a container like that of `files` can use the bucket.

Run as `python -m notebook_job.check`, with the environment of `files`. It
stores, reads and deletes one object below the output prefix.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from notebook_job.contract import Contract, ContractError
from notebook_job.store import Patience, Store, StoreError, connect

# Somebody waits for the answer.
_SECONDS = 15.0
_TERMINATION_LOG = Path("/dev/termination-log")


async def check(store: Store, prefix: str) -> None:
    """Use the bucket as a run does.

    Raises:
        StoreError: something didn't work; the text says what.
    """
    key, content = f"{prefix}check", uuid.uuid4().hex.encode()
    await store.put(key, content, Patience(_SECONDS))
    try:
        if await store.get(key, Patience(_SECONDS)) != content:
            raise StoreError("Another object was read than the one that was stored.")
    finally:
        await store.delete(key, Patience(_SECONDS))


def problem(environment: Mapping[str, str]) -> str:
    """What is wrong, in a sentence; empty where all is well."""
    try:
        contract = Contract.from_environment(environment)
        bucket = connect(
            bucket=contract.bucket,
            endpoint_url=contract.endpoint_url,
            ca_bundle=contract.ca_bundle,
            environment=environment,
        )
        asyncio.run(check(Store(bucket, bucket=contract.bucket), contract.output_prefix))
    except (ContractError, StoreError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001
        # obstore's own texts may repeat what it was configured with.
        return f"S3 cannot be set up: {type(error).__name__}."
    return ""


def main() -> NoReturn:
    """Tell, where Kubernetes looks for it and in the log."""
    found = problem(os.environ)
    print(found or "The bucket can be used.", flush=True)  # noqa: T201
    with contextlib.suppress(OSError):
        if _TERMINATION_LOG.exists():
            _TERMINATION_LOG.write_text(found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
