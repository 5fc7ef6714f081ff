"""Definitions on the real controller: changed, paused, run by hand, stopped, deleted."""

import json

import pytest

from cluster.schedules import (
    EVERY_MINUTE,
    NEVER_SOON,
    cron_job,
    define,
    definition,
    definitions,
    edit,
    ended_runs,
    jobs_of,
    runs,
    slot,
    some_runs,
)
from cluster.support import (
    Bucket,
    Kubectl,
    download,
    ended,
    first_output,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer, RequestFailed


def test_a_definition_is_shown_as_it_was_asked_for(server: LabServer, kubectl: Kubectl) -> None:
    write(server, "n.ipynb", "print(x)")

    definition_id = define(
        server,
        "n.ipynb",
        name="Nightly ü",
        schedule="30 2 * * MON-SUN",
        timezone="Europe/Berlin",
        parameters={"x": "1"},
        tags=["a", "b"],
        output_formats=["ipynb", "html"],
        runtime_environment_parameters={
            "k8s_cpu": "250m",
            "k8s_concurrency_policy": "Allow",
            "k8s_timeout_seconds": "90",
        },
    )

    found = definition(server, definition_id)
    # The list leaves out what isn't set.
    assert definitions(server) == [{k: v for k, v in found.items() if v is not None}]
    assert (found["name"], found["schedule"], found["timezone"], found["active"]) == (
        "Nightly ü",
        "30 2 * * MON-SUN",
        "Europe/Berlin",
        True,
    )
    assert (found["parameters"], found["tags"]) == ({"x": "1"}, ["a", "b"])
    made = cron_job(kubectl, definition_id)
    assert made["metadata"]["name"] == f"nb-jobdef-{definition_id}"
    assert (made["spec"]["schedule"], made["spec"]["timeZone"]) == ("30 2 * * *", "Europe/Berlin")
    assert made["spec"]["concurrencyPolicy"] == "Allow"
    assert made["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 90
    asked = json.loads(made["metadata"]["annotations"]["jupyter-scheduler.io/job-definition-data"])
    assert asked["schedule"] == "30 2 * * MON-SUN"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"schedule": "0 0 3 * * *"}, "five"),
        ({"schedule": "0 3 * *"}, "five"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"input_uri": "missing.ipynb"}, "missing.ipynb"),
        ({"runtime_environment_parameters": {"k8s_concurrency_policy": "Never"}}, "Forbid"),
        ({"runtime_environment_parameters": {"k8s_memory": "lots"}}, "lots"),
        ({"output_formats": ["pdf"]}, "pdf"),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_nothing(
    server: LabServer,
    kubectl: Kubectl,
    bucket: Bucket,
    owner: str,
    asked: dict[str, object],
    sentence: str,
) -> None:
    write(server, "n.ipynb", "print(1)")
    before = bucket.keys("definitions/")

    with pytest.raises(RequestFailed, match=sentence):
        define(server, "n.ipynb", **asked)

    assert kubectl.get("cronjobs", "-l", f"jupyter-scheduler.io/owner={owner}") == []
    assert bucket.keys("definitions/") == before


def test_a_run_by_hand_has_its_own_parameters_and_keeps_its_input(
    server: LabServer, bucket: Bucket
) -> None:
    write(server, "n.ipynb", "print(x)")
    definition_id = define(server, "n.ipynb", schedule=None, parameters={"x": "2"})
    run = f"job_definitions/{definition_id}/jobs"

    first = str(server.request("POST", run, {})["job_id"])
    second = str(server.request("POST", run, {"parameters": {"x": "3"}})["job_id"])

    assert ended(server, first)["status"] == "COMPLETED"
    assert ended(server, second)["status"] == "COMPLETED"
    assert text_outputs(download(server, first)["ipynb"].read_text())[-1] == "2\n"
    files = download(server, second)
    assert text_outputs(files["ipynb"].read_text())[-1] == "3\n"
    assert files["input"].read_bytes() == (server.root_dir / "n.ipynb").read_bytes()
    assert {job["job_id"] for job in runs(server, definition_id)} == {first, second}
    assert bucket.keys(f"jobs/{second}/input/") == [f"jobs/{second}/input/n.ipynb"]


def test_a_stop_and_an_edit_concern_one_run_and_the_next_ones(
    server: LabServer, bucket: Bucket, kubectl: Kubectl
) -> None:
    write(server, "n.ipynb", "print('old')", "import time\ntime.sleep(300)")
    definition_id = define(server, "n.ipynb", schedule=EVERY_MINUTE)
    (running,) = some_runs(server, definition_id, 1)
    assert first_output(bucket, running["job_id"]) == "old\n"

    write(server, "n.ipynb", "print('new')")
    edit(server, definition_id, input_uri="n.ipynb", name="Changed")
    assert definition(server, definition_id)["name"] == "Changed"
    server.request("PATCH", f"jobs/{running['job_id']}", {"status": "STOPPED"})

    stopped = ended(server, running["job_id"])
    assert stopped["status"] == "STOPPED"
    assert stopped["name"] == "n.ipynb"
    files = download(server, running["job_id"])
    assert text_outputs(files["ipynb"].read_text())[0] == "old\n"
    assert "old" in files["input"].read_text()
    following = ended_runs(server, definition_id, 2)[1]
    assert (following["status"], following["name"]) == ("COMPLETED", "Changed")
    assert text_outputs(download(server, following["job_id"])["ipynb"].read_text()) == ["new\n"]
    for job in jobs_of(kubectl, definition_id):
        shown = next(
            run for run in runs(server, definition_id) if run["job_id"] == job["metadata"]["name"]
        )
        assert shown["create_time"] == slot(job)


def test_a_pause_holds_and_a_resume_fires_no_slot_that_has_passed(
    server: LabServer, kubectl: Kubectl
) -> None:
    write(server, "n.ipynb", "print(1)")
    definition_id = define(server, "n.ipynb", schedule=EVERY_MINUTE)
    some_runs(server, definition_id, 1)

    edit(server, definition_id, active=False)
    assert definition(server, definition_id)["active"] is False
    paused_at = slot(jobs_of(kubectl, definition_id)[-1])
    waiting = define(server, "n.ipynb", schedule=EVERY_MINUTE, name="the clock")
    # Another definition tells when two slots have passed.
    resumed_at = slot_of(some_runs(server, waiting, 2)[-1])
    assert slot(jobs_of(kubectl, definition_id)[-1]) == paused_at
    edit(server, definition_id, active=True)
    some_runs(server, waiting, 3)

    later = [slot(job) for job in jobs_of(kubectl, definition_id) if slot(job) > paused_at]
    assert later
    assert min(later) > resumed_at


def slot_of(run: dict[str, object]) -> int:
    """The time that a run was due at: its create time."""
    return int(str(run["create_time"]))


def test_a_deleted_definition_takes_its_runs_and_files_with_it_and_nothing_else(
    server: LabServer, kubectl: Kubectl, bucket: Bucket, owner: str
) -> None:
    write(server, "n.ipynb", "import time\ntime.sleep(300)")
    write(server, "m.ipynb", "print(1)")
    other = define(server, "m.ipynb", name="other")
    other_run = str(server.request("POST", f"job_definitions/{other}/jobs", {})["job_id"])
    definition_id = define(server, "n.ipynb", schedule=EVERY_MINUTE)
    (running,) = some_runs(server, definition_id, 1)
    until(
        lambda: server.request("GET", f"jobs/{running['job_id']}")["status"] == "IN_PROGRESS",
        seconds=60,
        what="the run to begin",
    )

    server.request("DELETE", f"job_definitions/{definition_id}")

    assert [found["job_definition_id"] for found in definitions(server)] == [other]
    assert runs(server, definition_id) == []
    selector = f"jupyter-scheduler.io/job-definition-id={definition_id}"
    assert kubectl.get("cronjobs,jobs", "-l", selector) == []
    assert bucket.keys(f"definitions/{definition_id}/") == []
    assert bucket.keys(f"jobs/nb-jobdef-{definition_id}") == []
    assert ended(server, other_run)["status"] == "COMPLETED"
    assert bucket.keys(f"definitions/{other}/")
    with pytest.raises(RequestFailed, match="There is no job definition"):
        server.request("DELETE", f"job_definitions/{definition_id}")


def test_every_edit_leaves_two_versions_of_the_input_at_most(
    server: LabServer, bucket: Bucket
) -> None:
    definition_id = define(server, write(server, "n.ipynb", "print(0)"), schedule=NEVER_SOON)

    for number in range(1, 4):
        write(server, "n.ipynb", f"print({number})")
        edit(server, definition_id, input_uri="n.ipynb")

    stored = bucket.keys(f"definitions/{definition_id}/")
    assert len(stored) == 2
    job_id = str(server.request("POST", f"job_definitions/{definition_id}/jobs", {})["job_id"])
    assert ended(server, job_id)["status"] == "COMPLETED"
    assert text_outputs(download(server, job_id)["ipynb"].read_text()) == ["3\n"]
