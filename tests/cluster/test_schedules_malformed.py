"""What somebody put under our labels by hand hides nothing, and can be deleted."""

from typing import Any

from cluster.schedules import NEVER_SOON, cron_job, define, definitions, runs
from cluster.support import Kubectl, until, write
from local_lab.server import LabServer

DATA = "jupyter-scheduler.io/job-definition-data"


def labelled(owner: str, name: str, **annotations: str) -> dict[str, Any]:
    return {
        "name": name,
        "labels": {
            "app.kubernetes.io/managed-by": "jupyter-scheduler-k8s",
            "jupyter-scheduler.io/owner": owner,
        },
        "annotations": annotations,
    }


def manifest(metadata: dict[str, Any]) -> dict[str, Any]:
    """A CronJob that never fires, of a pod that does nothing."""
    pod = {
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "none:1", "command": ["true"]}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": NEVER_SOON,
            "suspend": True,
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
        },
    }


def test_definitions_that_cannot_be_read_are_listed_and_can_be_deleted(
    server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    write(server, "n.ipynb", "print(1)")
    whole = define(server, "n.ipynb", name="whole")
    copy = cron_job(kubectl, whole)
    kubectl.apply(manifest(labelled(owner, f"nb-jobdef-empty-{owner}")))
    kubectl.apply(
        manifest(labelled(owner, f"nb-jobdef-types-{owner}", **{DATA: '{"schema":1,"name":[]}'}))
    )
    kubectl.apply(
        manifest(
            labelled(
                owner, f"nb-jobdef-copy-{owner}", **{DATA: copy["metadata"]["annotations"][DATA]}
            )
        )
    )

    listed = until(
        lambda: found if len(found := definitions(server)) == 4 else None,
        seconds=10,
        what="all four in the list",
    )

    names = {found["job_definition_id"]: found["name"] for found in listed or ()}
    assert names.pop(whole) == "whole"
    assert "can't be read" in names[f"nb-jobdef-empty-{owner}"]
    assert "can't be read" in names[f"nb-jobdef-types-{owner}"]
    assert "It is a copy of" in names[f"nb-jobdef-copy-{owner}"]
    for name in names:
        server.request("DELETE", f"job_definitions/{name}")
    assert [found["job_definition_id"] for found in definitions(server)] == [whole]
    assert [
        found["metadata"]["name"]
        for found in kubectl.get("cronjobs", "-l", f"jupyter-scheduler.io/owner={owner}")
    ] == [f"nb-jobdef-{whole}"]
    # What the copy had of the original's is still there.
    assert server.request("POST", f"job_definitions/{whole}/jobs", {})["job_id"]


def test_a_run_that_cannot_be_read_hides_no_other(
    server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    definition_id = define(server, write(server, "n.ipynb", "print(1)"))
    run = str(server.request("POST", f"job_definitions/{definition_id}/jobs", {})["job_id"])
    name = f"nb-jobdef-{definition_id}-29300882"
    template = manifest({})["spec"]["jobTemplate"]
    labels = labelled(owner, name)["labels"] | {
        "jupyter-scheduler.io/job-definition-id": definition_id
    }
    kubectl.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {**template["spec"], "suspend": True},
        }
    )

    until(lambda: len(runs(server, definition_id)) == 2, seconds=10, what="both runs in the list")

    shown = server.request("GET", f"jobs/{name}")
    assert "can't be read" in shown["status_message"]
    assert {found["job_id"] for found in runs(server, definition_id)} == {run, name}
    server.request("DELETE", f"job_definitions/{definition_id}")
    assert runs(server, definition_id) == []
