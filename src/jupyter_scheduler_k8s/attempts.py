"""Which attempt's outputs are the job's, where a job may be tried again.

Each attempt of such a job stores below a prefix of its own, its pod's uid, so that
none writes over what another left and each has its own `started` marker. Jobs
that are tried once have no such prefixes.
"""

import re
from collections.abc import Iterable
from typing import Protocol

from jupyter_scheduler_k8s import names

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What an attempt can leave without having computed anything.
_MARKERS = (names.STARTED_KEY, names.RESULT_KEY, names.LOG_KEY)


class Stored(Protocol):
    """An object in S3; `modified` is in seconds since the epoch, by S3's clock."""

    @property
    def key(self) -> str: ...
    @property
    def modified(self) -> float: ...


def outputs_of(job_id: str, stored: Iterable[Stored]) -> str:
    """The prefix of a job's outputs: of several attempts', that of the last that has any.

    An attempt that was lost before it stored anything hides no earlier one.

    Args:
        job_id: the job's id.
        stored: all that is stored for the job.
    """
    prefix = names.output_prefix(job_id)
    begun: dict[str, float] = {}
    with_outputs = set()
    for found in stored:
        uid, _, name = found.key.removeprefix(prefix).partition("/")
        if not found.key.startswith(prefix) or not _UID.fullmatch(uid):
            continue
        if name == names.STARTED_KEY:
            begun[uid] = found.modified
        elif name not in _MARKERS:
            with_outputs.add(uid)
    if not begun:
        return prefix
    last = max(begun, key=lambda uid: (uid in with_outputs, begun[uid], uid))
    return names.attempt_prefix(job_id, last)
