"""The API server is away for a minute while notebooks run."""

import time
from collections.abc import Iterator

import pytest

from cluster import machine
from cluster.support import Bucket, Kubectl, create, download, ended, text_outputs, until, write
from jupyter_scheduler_k8s.objects import condition
from local_lab.server import LabServer, RequestFailed

AWAY_SECONDS = 60
RETURN_SECONDS = 5


@pytest.fixture
def outage(kubectl: Kubectl) -> Iterator[None]:
    """Whatever becomes of the test, the cluster is whole afterwards."""
    yield
    machine.restore(kubectl)


def statuses(server: LabServer) -> dict[str, str]:
    """Of each job by its name, as the list shows it."""
    return {job["name"]: job["status"] for job in server.request("GET", "jobs", seconds=5)["jobs"]}


def test_nothing_is_lost_and_what_is_shown_says_how_old_it_is(
    server: LabServer, kubectl: Kubectl, bucket: Bucket, outage: None
) -> None:
    write(server, "done.ipynb", "print('before')")
    write(server, "during.ipynb", "import time\ntime.sleep(15)", "print('during')")
    write(server, "across.ipynb", "import time\ntime.sleep(80)", "print('across')")
    done = create(server, "done.ipynb", name="done")
    ended(server, done)
    during = create(server, "during.ipynb", name="during")
    across = create(server, "across.ipynb", name="across")
    known = {"done": "COMPLETED", "during": "IN_PROGRESS", "across": "IN_PROGRESS"}
    until(lambda: statuses(server) == known, seconds=60, what="both notebooks to run")
    keys = set(bucket.keys("jobs/"))

    machine.kill("kube-apiserver")
    begin = time.monotonic()

    # What was known is still shown, at once, and says how old it is where it may have changed.
    assert statuses(server) == known
    said = until(
        lambda: server.request("GET", f"jobs/{across}", seconds=5).get("status_message"),
        seconds=20,
        what="a word on how old this is",
    )
    assert "This is how it was" in said
    assert "does not answer" in said
    assert server.request("GET", f"jobs/{done}").get("status_message") is None
    # What can't be done now is refused in a sentence, and leaves nothing.
    for attempt in (
        lambda: create(server, "done.ipynb"),
        lambda: server.request("PATCH", f"jobs/{across}", {"status": "STOPPED"}),
    ):
        with pytest.raises(RequestFailed, match="does not answer"):
            attempt()
    made = {key.split("/")[1] for key in set(bucket.keys("jobs/")) - keys}
    assert made <= {during, across}
    # What ended meanwhile has stored its outputs, with no API to tell.
    until(
        lambda: bucket.keys(f"jobs/{during}/outputs/result.json"),
        seconds=60,
        what="the outputs of the run that ended meanwhile",
    )
    until(lambda: time.monotonic() - begin > AWAY_SECONDS, seconds=AWAY_SECONDS, what="the minute")
    assert statuses(server) == known

    machine.restore(kubectl)

    until(
        lambda: server.request("GET", f"jobs/{across}").get("status_message") is None,
        seconds=RETURN_SECONDS,
        what="a current record",
    )
    # How soon the cluster's own programs find each other again is theirs to say.
    until(
        lambda: condition(kubectl.job(during), "Complete"),
        seconds=240,
        what="Kubernetes' word on the run that ended meanwhile",
    )
    until(
        lambda: statuses(server)["during"] == "COMPLETED",
        seconds=RETURN_SECONDS,
        what="the end of the run that ended meanwhile",
    )
    assert ended(server, across)["status"] == "COMPLETED"
    for job_id, text in ((during, "during"), (across, "across")):
        assert text_outputs(download(server, job_id)["ipynb"].read_text())[-1] == f"{text}\n"


def test_an_api_that_accepts_and_never_answers_is_told_from_one_that_is_well(
    server: LabServer, outage: None
) -> None:
    write(server, "n.ipynb", "print(1)")
    job_id = create(server, "n.ipynb")
    ended(server, job_id)

    with machine.frozen("kube-apiserver"):
        assert statuses(server) == {"n.ipynb": "COMPLETED"}
        with pytest.raises(RequestFailed, match="does not answer"):
            create(server, "n.ipynb")

    again = create(server, "n.ipynb")
    assert ended(server, again)["status"] == "COMPLETED"
