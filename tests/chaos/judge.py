"""What must be true of a run, given what its cells told: pure functions."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.marks import Marks
from chaos.plan import Run
from cluster.support import ENDED, text_outputs

_TOLD = re.compile(r"^([0-9a-f]{32}) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one run in the end.

    Attributes:
        jobs: the records with its token, as a server lists them.
        marks: what its cells told.
        hit: what of its pod was really killed, None for nothing.
        outputs: the executed notebook in S3, None where there is none.
    """

    jobs: Sequence[Mapping[str, Any]]
    marks: Marks
    hit: str | None
    outputs: bytes | None


def faults(run: Run, evidence: Evidence) -> Iterator[str]:
    """What is untrue of a run, in sentences; nothing where all is as it must be."""
    if len(evidence.jobs) != 1:
        yield f"there are {len(evidence.jobs)} records of it"
        return
    (job,) = evidence.jobs
    status, message = job["status"], job.get("status_message") or ""
    if status not in ENDED:
        yield f"it has not ended: {status}"
        return
    if len(evidence.marks) > 1:
        yield f"it was executed {len(evidence.marks)} times"
        return
    reached = max((max(cells) for cells in evidence.marks.values()), default=-1)
    stored = dict(_stored(evidence.outputs))
    if not set(stored) <= set(evidence.marks):
        yield "its outputs are of another execution than its cells told of"
    if stored and max(max(cells) for cells in stored.values()) > reached:
        yield "its outputs have more cells than were executed"
    last = run.cells - 1 if run.fails is None else run.fails
    if status == "COMPLETED":
        if run.fails is not None:
            yield "it is COMPLETED although a cell raised"
        if reached != last:
            yield f"it is COMPLETED after cell {reached} of {last}"
        if reached != max((max(cells) for cells in stored.values()), default=-1):
            yield "it is COMPLETED without the outputs of its last cell"
    elif status == "FAILED":
        if not message:
            yield "it is FAILED without a reason"
        meant = run.fails is not None and "was meant to fail" in message
        if not meant and evidence.hit is None:
            yield f"it is FAILED, and nothing was done to it: {message}"
        if meant and run.fails not in _cells(stored):
            yield "it FAILED as it was meant to, without the outputs of the failing cell"
    else:
        yield f"it is {status}, and nobody stopped it"


def strays(keys: Iterable[str], job_ids: Collection[str]) -> Iterator[str]:
    """Keys in the bucket of these jobs that belong to none of them."""
    for key in keys:
        top, _, rest = key.partition("/")
        if top != "jobs" or rest.partition("/")[0] not in job_ids:
            yield key


def _cells(stored: Mapping[str, set[int]]) -> set[int]:
    return {cell for cells in stored.values() for cell in cells}


def _stored(outputs: bytes | None) -> Iterator[tuple[str, set[int]]]:
    if outputs is None:
        return
    found: dict[str, set[int]] = {}
    for text in text_outputs(outputs):
        for execution, cell in _TOLD.findall(text):
            found.setdefault(execution, set()).add(int(cell))
    yield from found.items()
