"""The judge of the chaos script: what it must find untrue, and what it must let pass."""

import json
from typing import Any

import pytest

from chaos.judge import Evidence, faults, strays
from chaos.plan import Run, plan
from cluster.support import notebook

ONE, OTHER = "a" * 32, "b" * 32


def run(*, fails: int | None = None) -> Run:
    return Run(number=1, cells=2, pause=0, fails=fails, kill_server=None, kill=None, kill_after=0)


def outputs(*printed: str) -> bytes:
    found = json.loads(notebook(*("mark()" for _ in printed)))
    for cell, text in zip(found["cells"], printed, strict=True):
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [text]}]
    return json.dumps(found).encode()


WHOLE = outputs(f"{ONE} 0\n", f"{ONE} 1\n")
HALF = outputs(f"{ONE} 0\n", "")


def evidence(status: str = "COMPLETED", message: str = "", **changes: Any) -> Evidence:
    found: dict[str, Any] = {
        "jobs": [{"job_id": "1", "status": status, "status_message": message}],
        "marks": {ONE: frozenset({0, 1})},
        "hit": None,
        "outputs": WHOLE,
    }
    return Evidence(**{**found, **changes})


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (run(), evidence()),
        (run(), evidence("FAILED", "The kernel died.", hit="kernel", outputs=HALF)),
        (run(), evidence("FAILED", "It never began.", hit="files", outputs=None, marks={})),
        (
            run(fails=0),
            evidence(
                "FAILED",
                "Cell 1 raised RuntimeError: cell 0 was meant to fail",
                marks={ONE: frozenset({0})},
                outputs=HALF,
            ),
        ),
    ],
)
def test_what_is_true_passes(asked: Run, found: Evidence) -> None:
    assert list(faults(asked, found)) == []


@pytest.mark.parametrize(
    ("asked", "found", "fault"),
    [
        (run(), evidence(jobs=[]), "0 records"),
        (run(), evidence(jobs=[{}, {}]), "2 records"),
        (run(), evidence("IN_PROGRESS"), "not ended"),
        (run(), evidence(marks={ONE: frozenset({0}), OTHER: frozenset({0})}), "executed 2 times"),
        (run(), evidence(marks={OTHER: frozenset({0, 1})}), "another execution"),
        (run(), evidence(marks={ONE: frozenset({0})}), "more cells than were executed"),
        (run(), evidence(marks={ONE: frozenset({0})}, outputs=HALF), "after cell 0 of 1"),
        (run(), evidence(outputs=HALF), "without the outputs of its last cell"),
        (run(fails=1), evidence(), "although a cell raised"),
        (run(), evidence("FAILED", hit="files"), "without a reason"),
        (run(), evidence("FAILED", "Something."), "nothing was done to it"),
        (
            run(fails=1),
            evidence("FAILED", "cell 1 was meant to fail", outputs=HALF),
            "without the outputs of the failing cell",
        ),
        (run(), evidence("STOPPED"), "nobody stopped it"),
    ],
)
def test_what_is_untrue_is_told(asked: Run, found: Evidence, fault: str) -> None:
    assert any(fault in told for told in faults(asked, found))


def test_a_key_of_no_record_is_a_stray() -> None:
    keys = ["jobs/1/input/n.ipynb", "jobs/2/outputs/started", "pending/x/1/nb-job-1"]

    assert list(strays(keys, {"1"})) == ["jobs/2/outputs/started", "pending/x/1/nb-job-1"]


def test_a_seed_means_the_same_misfortunes() -> None:
    assert plan(50, 7) == plan(50, 7)
    assert plan(50, 7) != plan(50, 8)
