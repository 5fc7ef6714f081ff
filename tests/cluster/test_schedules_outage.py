"""The controller that fires schedules is away for three slots, and comes back."""

import time
from collections.abc import Iterator

import pytest

from cluster import machine
from cluster.schedules import (
    EVERY_MINUTE,
    NEVER_SOON,
    define,
    edit,
    ended_runs,
    jobs_of,
    missing_minutes,
    slot,
    some_runs,
)
from cluster.support import Kubectl, download, text_outputs, until, write
from local_lab.server import LabServer

MINUTE = 60_000


def now() -> int:
    """Milliseconds since the epoch: all of the cluster is on this machine."""
    return int(time.time() * 1000)


@pytest.fixture
def outage(kubectl: Kubectl) -> Iterator[None]:
    """Whatever becomes of the test, the cluster is whole afterwards."""
    yield
    machine.restore(kubectl)


def test_one_run_catches_up_and_only_where_one_was_missed(
    server: LabServer, kubectl: Kubectl, outage: None
) -> None:
    write(server, "n.ipynb", "print('before')")
    names = ("steady", "edited", "paused", "resumed", "rescheduled")
    ids = {name: define(server, "n.ipynb", name=name, schedule=EVERY_MINUTE) for name in names}
    edit(server, ids["resumed"], active=False)
    for name in names:
        if name != "resumed":
            ended_runs(server, ids[name], 1)

    machine.kill("kube-controller-manager")
    before = {name: len(jobs_of(kubectl, ids[name])) for name in names}
    last = max(slot(job) for name in names for job in jobs_of(kubectl, ids[name]))
    until(
        lambda: now() > last + 3 * MINUTE + 5_000,
        seconds=240,
        what="three slots to pass without the controller",
    )
    write(server, "n.ipynb", "print('after')")
    edit(server, ids["edited"], input_uri="n.ipynb")
    edit(server, ids["paused"], active=False)
    edit(server, ids["resumed"], active=True)
    edit(server, ids["rescheduled"], schedule="*/2 * * * *")
    edit(server, ids["rescheduled"], schedule=NEVER_SOON)
    back = now()
    machine.restore(kubectl)

    some_runs(server, ids["steady"], before["steady"] + 3)
    for name in ("steady", "edited"):
        new = [slot(job) for job in jobs_of(kubectl, ids[name])[before[name] :]]
        # The last of the slots that were missed, and then each.
        assert new[0] >= last + 3 * MINUTE, (name, new, last)
        assert missing_minutes(new) == []
    assert len(jobs_of(kubectl, ids["paused"])) == before["paused"]
    assert len(jobs_of(kubectl, ids["rescheduled"])) == before["rescheduled"]
    resumed = [slot(job) for job in jobs_of(kubectl, ids["resumed"])]
    assert min(resumed) > back - 1_000
    caught_up = ended_runs(server, ids["edited"], before["edited"] + 1)[before["edited"]]
    files = download(server, caught_up["job_id"])
    assert text_outputs(files["ipynb"].read_text()) == ["after\n"]
