"""Runs that can't begin are ended; why a run failed is kept when its pods go."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from faults.fake_api import Answer, FakeApi, Thing
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection, RecordCache
from jupyter_scheduler_k8s.errors import NotFound, StorageUnavailable
from jupyter_scheduler_k8s.objects import seconds
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.supervisor import Supervisor
from jupyter_scheduler_k8s.views import job_record

NAME = "nb-job-1"
CREATED = "2026-03-01T12:00:00Z"


class Watched:
    """One Job and its pod, as the API has them and as the mirror shows them."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.now = seconds(CREATED)
        self.tick = 0.0
        self.begun = False
        self.logs: list[str] = []
        self.bucket_away = False
        self.result: Mapping[str, Any] | None = None
        self.cache = RecordCache(job_record, log=logging.getLogger("test"), wall_clock=self._clock)
        self.supervisor = Supervisor(
            client=ClusterClient("space", connection=Connection(kubeconfig=api.kubeconfig(folder))),
            cache=self.cache,
            scheduling_timeout=300,
            log=logging.getLogger("test"),
            has_begun=lambda _job, _pod: self.begun,
            read_result=self._read,
            keep_log=lambda job, pod, text: self.logs.append(text),
            drop_log=lambda job, pod: self.logs.clear(),
            wall_clock=self._clock,
        )

    def _read(self, _: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self.bucket_away:
            raise StorageUnavailable("S3 doesn't answer.")
        return self.result

    def _clock(self) -> float:
        self.now += self.tick
        return self.now

    def job(
        self,
        *conditions: str,
        reason: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        own = {names.JOB_DATA_ANNOTATION: '{"schema":1,"job_id":"1"}'}
        job = self.api.put(
            "jobs",
            {
                "metadata": {
                    "name": NAME,
                    "creationTimestamp": CREATED,
                    "labels": {names.JOB_ID_LABEL: "1"},
                    "annotations": own | dict(annotations or {}),
                },
                "spec": {},
                "status": {
                    "conditions": [
                        {
                            "type": each,
                            "status": "True",
                            "lastTransitionTime": CREATED,
                            "reason": reason,
                        }
                        for each in conditions
                    ]
                },
            },
        )
        self.cache.put(job)

    def fail(self) -> None:
        """Let the Job fail, as its controller does when its time is up and its pods are gone."""
        (job,) = self.api.things("jobs")
        assert (job["spec"].get("activeDeadlineSeconds"), self.api.things("pods")) == (1, [])
        failed = {"type": "Failed", "status": "True", "lastTransitionTime": CREATED}
        self.cache.pods.apply("DELETED", self.pod_object())
        self.cache.records.apply("MODIFIED", job)
        job = self.api.put("jobs", {**job, "status": {"conditions": [failed]}})
        self.cache.records.apply("MODIFIED", job)

    def pod_object(self, *, given_up: str | None = None, **status: Any) -> Thing:
        metadata = {
            "name": f"{NAME}-x",
            "creationTimestamp": CREATED,
            "labels": {names.POD_JOB_NAME_LABEL: NAME},
        }
        if given_up is not None:
            metadata["deletionTimestamp"] = given_up
        return {
            "metadata": metadata,
            "spec": {"containers": [{"name": "notebook", "image": "image:1"}]},
            "status": status,
        }

    def pod(self, *, live: bool = True, given_up: str | None = None, **status: Any) -> None:
        pod = self.pod_object(given_up=given_up, **status)
        if live:
            pod = self.api.put("pods", pod)
        self.cache.pods.apply("MODIFIED", pod)

    def record(self) -> JobRecord:
        """What the page shows of it."""
        found = self.cache.get("1")
        assert found is not None
        return found

    def look(self, *, after: float = 0) -> Thing:
        """What the Job is after the supervisor looked at it, so many seconds after its creation."""
        self.now = seconds(CREATED) + after
        self.supervisor.look(NAME)
        (job,) = self.api.things("jobs")
        return job


@pytest.fixture
def watched(api: FakeApi, tmp_path: Path) -> Watched:
    return Watched(api, tmp_path)


def containers(**states: Any) -> list[dict[str, Any]]:
    return [{"name": name, "state": state} for name, state in states.items()]


def running() -> list[dict[str, Any]]:
    return containers(notebook={"running": {}}, files={"running": {}})


def terminated(code: int, **summary: Any) -> dict[str, Any]:
    found = {"exitCode": code, "finishedAt": CREATED}
    return {"terminated": found | ({"message": json.dumps(summary)} if summary else {})}


def kept(job: Thing, annotation: str) -> Any:
    return json.loads(job["metadata"]["annotations"].get(annotation, "null"))


UNSCHEDULABLE: dict[str, Any] = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "1 Insufficient memory."}
    ],
}


def test_a_run_without_a_node_is_ended_when_its_time_is_up(watched: Watched) -> None:
    watched.job()
    watched.pod(**UNSCHEDULABLE)

    assert kept(watched.look(after=299), names.END_ANNOTATION) is None
    ended = watched.look(after=300)

    assert ended["spec"]["activeDeadlineSeconds"] == 1
    assert kept(ended, names.END_ANNOTATION) == {
        "reason": "failed",
        "category": "UNSCHEDULABLE",
        "message": "Cannot schedule: Insufficient memory available",
    }


def test_an_image_name_that_is_none_is_not_waited_for(watched: Watched) -> None:
    watched.job()
    waits = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}}
    watched.pod(phase="Pending", containerStatuses=containers(notebook=waits))

    ended = watched.look(after=2)

    assert kept(ended, names.END_ANNOTATION)["category"] == "IMAGE"


def test_a_run_that_found_a_node_in_time_goes_on(watched: Watched) -> None:
    watched.job()
    watched.pod(**UNSCHEDULABLE)
    watched.look(after=100)
    watched.pod(phase="Running", containerStatuses=containers(notebook={"running": {}}))

    assert "activeDeadlineSeconds" not in watched.look(after=1000)["spec"]


QUOTA = 'Error creating: pods "nb-job-1-x" is forbidden: exceeded quota: all, used: pods=1.'


def refused(watched: Watched, message: str) -> None:
    """The event that the Job controller leaves when the API server refuses its pod."""
    (job,) = watched.api.things("jobs")
    watched.api.put(
        "events",
        {
            "metadata": {"name": "e1"},
            "involvedObject": {"uid": job["metadata"]["uid"]},
            "reason": "FailedCreate",
            "message": message,
            "lastTimestamp": CREATED,
        },
    )


def test_a_job_whose_pod_is_refused_says_why_while_it_waits(watched: Watched) -> None:
    watched.job()
    refused(watched, QUOTA)
    watched.look(after=29)
    assert watched.record().status_message is None

    watched.look(after=30)

    record = watched.record()
    assert record.status == "QUEUED"
    assert str(record.status_message).startswith(
        "The namespace's quota is used up: exceeded quota: all"
    )


def test_a_job_whose_pod_is_refused_for_too_long_fails_with_that_reason(watched: Watched) -> None:
    watched.job()
    refused(watched, QUOTA)
    watched.look(after=30)

    ended = kept(watched.look(after=300), names.END_ANNOTATION)

    assert ended["category"] == "REFUSED"
    assert ended["message"].startswith("The namespace's quota is used up")


def test_a_job_that_got_its_pod_after_all_goes_on(watched: Watched) -> None:
    watched.job()
    refused(watched, QUOTA)
    watched.look(after=30)
    watched.pod(phase="Running", containerStatuses=containers(notebook={"running": {}}))

    assert kept(watched.look(after=300), names.END_ANNOTATION) is None
    assert watched.record().status == "IN_PROGRESS"


def test_a_pod_that_cannot_be_set_up_says_why_and_is_ended(watched: Watched) -> None:
    watched.job()
    watched.pod(phase="Pending", containerStatuses=containers(notebook={"waiting": {}}))
    (pod,) = watched.api.things("pods")
    watched.api.put(
        "events",
        {
            "metadata": {"name": "e2"},
            "involvedObject": {"uid": pod["metadata"]["uid"]},
            "reason": "FailedMount",
            "message": 'secret "gone" not found',
            "lastTimestamp": CREATED,
        },
    )

    watched.look(after=30)
    assert 'secret "gone" not found' in str(watched.record().status_message)
    ended = kept(watched.look(after=300), names.END_ANNOTATION)

    assert ended["category"] == "CONTAINER"


def test_a_large_image_may_take_longer_than_the_timeout(watched: Watched) -> None:
    watched.job()
    watched.pod(phase="Pending", containerStatuses=containers(notebook={"waiting": {}}))

    assert kept(watched.look(after=301), names.END_ANNOTATION) is None


def test_a_job_without_a_pod_and_without_a_word_is_waited_for(watched: Watched) -> None:
    watched.job()

    assert kept(watched.look(after=300), names.END_ANNOTATION) is None


def test_a_notebook_container_that_never_began_ends_the_run(watched: Watched) -> None:
    watched.job()
    watched.pod(
        phase="Running",
        containerStatuses=containers(notebook=terminated(127), files={"running": {}}),
    )

    assert "activeDeadlineSeconds" not in watched.look(after=29)["spec"]
    ended = watched.look(after=30)

    assert (
        "ended with exit code 127 before it began" in kept(ended, names.END_ANNOTATION)["message"]
    )


def test_outputs_that_take_long_to_store_are_waited_for(watched: Watched) -> None:
    watched.begun = True
    watched.job()
    watched.pod(
        phase="Running",
        containerStatuses=containers(notebook=terminated(0), files={"running": {}}),
    )

    assert "activeDeadlineSeconds" not in watched.look(after=3600)["spec"]


def test_a_notebook_that_nobody_stores_is_ended(watched: Watched) -> None:
    watched.begun = True
    watched.job()
    watched.pod(
        phase="Running",
        containerStatuses=containers(
            files=terminated(31, message="S3 refuses."), notebook={"running": {}}
        ),
    )

    assert kept(watched.look(after=30), names.END_ANNOTATION)["message"] == "S3 refuses."


def test_the_reason_is_read_off_the_pod_as_it_is_now(watched: Watched) -> None:
    watched.job("Failed")
    error = {"name": "KeyError", "value": "'x'", "cell": 2}
    watched.pod(
        phase="Failed",
        containerStatuses=containers(notebook=terminated(20), files=terminated(0, error=error)),
    )
    # The mirror is behind.
    watched.pod(live=False, phase="Running", containerStatuses=containers(notebook={"running": {}}))

    found = kept(watched.look(), names.DIAGNOSIS_ANNOTATION)

    assert found == {"category": "CELL_ERROR", "summary": "Cell 2 raised KeyError: 'x'", "hint": ""}


def test_the_reason_comes_from_the_result_where_the_pod_is_gone(watched: Watched) -> None:
    watched.job("Failed")
    watched.result = {
        "outcome": "out-of-memory",
        "cells": {"total": 3, "finished": 1},
        "memory_limit_bytes": 512 * 1024**2,
    }

    found = kept(watched.look(), names.DIAGNOSIS_ANNOTATION)

    assert found["summary"] == (
        "The notebook ran out of memory after 1 of 3 cells: it used more than its limit of 512Mi."
    )


def test_a_reason_is_written_once(watched: Watched) -> None:
    watched.job("Failed")
    watched.look()
    written = watched.api.kinds().count("patch")
    watched.look()

    assert (written, watched.api.kinds().count("patch")) == (1, 1)


def test_a_completed_run_is_left_alone(watched: Watched) -> None:
    watched.job("Complete")
    watched.look(after=5000)

    assert watched.api.kinds() == []


def test_the_log_of_a_run_that_could_not_store_it_is_kept(watched: Watched) -> None:
    watched.job("Failed")
    watched.pod(phase="Failed", containerStatuses=containers(notebook=terminated(137)))
    watched.api.fail("get", Answer(200, body=b"its last words\n"))

    watched.look()

    assert watched.logs == ["its last words\n"]


def test_a_log_that_cannot_be_read_hides_no_reason(watched: Watched) -> None:
    watched.job("Failed")
    watched.pod(phase="Failed", containerStatuses=containers(notebook=terminated(22)))
    watched.api.fail("get", Answer(404, "the container is gone", "NotFound"))

    found = kept(watched.look(), names.DIAGNOSIS_ANNOTATION)

    assert (found["category"], watched.logs) == ("KERNEL_DIED", [])


def test_the_log_of_a_run_that_was_deleted_meanwhile_is_not_left_behind(watched: Watched) -> None:
    watched.job("Failed")
    watched.pod(phase="Failed", containerStatuses=containers(notebook=terminated(137)))
    watched.api.fail("get", Answer(200, body=b"its last words\n"))
    watched.api.fail("patch", Answer(404, "not found", "NotFound"))

    with pytest.raises(NotFound):
        watched.look()

    assert watched.logs == []


def test_the_log_that_a_run_stored_itself_is_enough(watched: Watched) -> None:
    watched.job("Failed")
    watched.result = {"outcome": "cell-error", "log_tail": "x"}
    watched.pod(phase="Failed", containerStatuses=containers(notebook=terminated(20)))

    watched.look()

    assert (watched.logs, "get" in watched.api.kinds()) == ([], False)


def test_a_bucket_that_is_away_hides_no_reason(watched: Watched) -> None:
    watched.bucket_away = True
    watched.job("Failed")
    watched.pod(phase="Failed", containerStatuses=containers(notebook=terminated(22)))

    found = kept(watched.look(), names.DIAGNOSIS_ANNOTATION)

    assert found["category"] == "KERNEL_DIED"


NODE_LOST = "The node of the run was lost"


def test_a_run_whose_node_is_lost_fails_five_minutes_after_its_pod_was_to_end(
    watched: Watched,
) -> None:
    watched.job()
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())

    assert "activeDeadlineSeconds" not in watched.look(after=299)["spec"]
    assert (len(watched.api.things("pods")), watched.record().status) == (1, "IN_PROGRESS")
    watched.look(after=300)
    watched.fail()

    assert watched.record().status == "FAILED"
    assert str(watched.record().status_message).startswith(NODE_LOST)


def test_a_pod_is_deleted_by_force_only_where_it_is_that_very_pod(watched: Watched) -> None:
    watched.job()
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())
    (pod,) = watched.api.things("pods")

    watched.look(after=300)

    (asked,) = (asked for asked in watched.api.asked if asked.kind == "delete")
    assert (asked.resource, asked.name) == ("pods", pod["metadata"]["name"])
    assert asked.body["gracePeriodSeconds"] == 0
    assert asked.body["preconditions"] == {"uid": pod["metadata"]["uid"]}


def test_a_stop_that_its_node_does_not_confirm_is_a_stop_all_the_same(watched: Watched) -> None:
    watched.job("FailureTarget", annotations={names.END_ANNOTATION: '{"reason":"stopped"}'})
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())
    assert watched.record().status == "STOPPING"

    job = watched.look(after=300)

    assert watched.api.things("pods") == []
    assert "activeDeadlineSeconds" not in job["spec"]
    assert kept(job, names.END_ANNOTATION) == {"reason": "stopped"}
    assert kept(job, names.DIAGNOSIS_ANNOTATION) is None


def test_a_time_limit_that_only_a_lost_node_let_come_is_told_as_that(watched: Watched) -> None:
    watched.job("FailureTarget", reason="DeadlineExceeded")
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())

    job = watched.look(after=300)

    assert kept(job, names.DIAGNOSIS_ANNOTATION)["summary"].startswith(NODE_LOST)
    assert watched.api.things("pods") == []


def test_a_pod_that_ended_while_the_mirror_was_behind_is_left_to_its_job(watched: Watched) -> None:
    watched.job()
    watched.pod(given_up=CREATED, phase="Failed", containerStatuses=running())
    watched.pod(live=False, given_up=CREATED, phase="Running", containerStatuses=running())

    job = watched.look(after=300)

    assert len(watched.api.things("pods")) == 1
    assert kept(job, names.END_ANNOTATION) is None


def test_a_pod_that_nobody_gave_up_is_never_deleted(watched: Watched) -> None:
    watched.job("FailureTarget")
    watched.pod(phase="Running", containerStatuses=running())

    watched.look(after=86400)

    assert watched.api.kinds() == []


def test_a_lost_pod_that_went_away_by_itself_is_no_trouble(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.job()
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())
    watched.api.fail("delete", Answer(404, "the pod is gone", "NotFound"))

    assert kept(watched.look(after=300), names.END_ANNOTATION)["category"] == "DISRUPTED"
    assert "was not looked after" not in caplog.text


def test_a_lost_pod_is_due_without_another_event(watched: Watched) -> None:
    watched.job()
    watched.pod(given_up=CREATED, phase="Running", containerStatuses=running())
    # What the thread waits for is hundredths of a second away.
    watched.now, watched.tick = seconds(CREATED) + 299.95, 0.01
    watched.cache.records.replace(watched.api.things("jobs"), 0)
    watched.cache.pods.replace(watched.api.things("pods"), 0)
    watched.supervisor.start()
    try:
        watched.api.wait(lambda: "delete" in watched.api.kinds())
    finally:
        watched.supervisor.stop()
