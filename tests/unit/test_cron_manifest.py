"""What a definition and the settings become on the cluster, and what an edit changes there."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.cron_manifest import (
    LATEST_START_SECONDS,
    cron_job_manifest,
    edit_operations,
    fires_otherwise,
)
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.manifests import Placement, secret_name
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import (
    DefinitionRecord,
    parse_definition_data,
    parse_job_data,
)
from jupyter_scheduler_k8s.views import definition_record, job_record

ID = "7d9f2c58-8a83-4a0e-8f4c-5a2f6a2f3b11"
NAME = f"nb-jobdef-{ID}"
RECORD = DefinitionRecord(
    job_definition_id=ID,
    object_name=NAME,
    owner="mira",
    name="Nightly",
    schedule="0 3 * * 1-5",
    timezone="Europe/Berlin",
    create_time=1_772_366_400_123,
    update_time=1_772_366_400_123,
    input_filename="night.ipynb",
    input_version="v1",
    runtime_environment_name="default",
    output_formats=["ipynb"],
    parameters={"day": "1"},
    tags=["report"],
)
NOW = "2026-03-01T12:00:00Z"


def config() -> K8sConfig:
    return K8sConfig(namespace="team", image="ours:1", s3_bucket="jobs", owner="mira")


def manifest(options: JobOptions | None = None, **changes: Any) -> dict[str, Any]:
    return cron_job_manifest(
        replace(RECORD, **changes),
        config(),
        options=options or JobOptions(),
        placement=Placement(context="kind-dev"),
        credentials={"AWS_ACCESS_KEY_ID"},
    )


def live(**changes: Any) -> dict[str, Any]:
    """The CronJob as the API has it, with defaults of its own."""
    found = manifest(**changes)
    found["metadata"] |= {"resourceVersion": "7", "creationTimestamp": NOW, "uid": "u"}
    template = found["spec"]["jobTemplate"]["spec"]
    template |= {"completionMode": "NonIndexed"}
    template["template"]["spec"] |= {"dnsPolicy": "ClusterFirst"}
    return found


def variables(cron_job: dict[str, Any]) -> dict[str, Any]:
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    files = next(found for found in pod["containers"] if found["name"] == "files")
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in files["env"]}


def run(minute: int = 29_539_440, **metadata: Any) -> dict[str, Any]:
    """A Job as the CronJob controller makes it of the template."""
    template = manifest()["spec"]["jobTemplate"]
    annotations = template["metadata"]["annotations"] | {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-03-02T03:00:00+01:00"
    }
    return {
        "metadata": {
            "name": f"{NAME}-{minute}",
            "creationTimestamp": "2026-03-02T02:00:07Z",
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            **metadata,
        },
        "spec": template["spec"],
        "status": {},
    }


def test_runs_read_the_credentials_as_they_are_when_they_begin() -> None:
    found = variables(manifest())["AWS_ACCESS_KEY_ID"]

    assert found == {"secretKeyRef": {"name": secret_name(config()), "key": "AWS_ACCESS_KEY_ID"}}


def test_a_definition_fires_as_it_says_and_loses_no_record() -> None:
    found = manifest()

    assert found["kind"] == "CronJob"
    assert found["metadata"]["name"] == NAME
    spec = {key: value for key, value in found["spec"].items() if key != "jobTemplate"}
    assert spec == {
        "schedule": "0 3 * * 1-5",
        "timeZone": "Europe/Berlin",
        "suspend": False,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": LATEST_START_SECONDS,
        "successfulJobsHistoryLimit": 2**31 - 1,
        "failedJobsHistoryLimit": 2**31 - 1,
    }


def test_the_record_of_a_definition_comes_back_as_it_was() -> None:
    found = live()

    assert parse_definition_data(found) == replace(RECORD, object_name="")
    assert definition_record(found) == replace(RECORD, url=f"/job_definitions/{ID}")


def test_a_run_takes_the_definitions_files_and_keeps_them_under_its_own_name() -> None:
    found = variables(manifest())

    assert found["JOB_NAME"] == {
        "fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}
    }
    assert found["S3_INPUT_PREFIX"] == f"definitions/{ID}/versions/v1/input/"
    assert found["S3_KEEP_INPUT_PREFIX"] == "jobs/$(JOB_NAME)/input/"
    assert found["S3_OUTPUT_PREFIX"] == "jobs/$(JOB_NAME)/outputs/"
    assert "S3_TURN_PREFIX" not in found


def test_each_attempt_of_a_run_has_a_place_of_its_own() -> None:
    found = variables(manifest(JobOptions(max_retries=1)))

    assert found["S3_OUTPUT_PREFIX"] == "jobs/$(JOB_NAME)/outputs/$(POD_UID)/"


def test_a_run_that_replaces_is_not_replaced_by_kubernetes_which_would_delete_its_record() -> None:
    found = manifest(JobOptions(concurrency_policy="Replace"))

    assert found["spec"]["concurrencyPolicy"] == "Allow"
    assert variables(found)["S3_TURN_PREFIX"] == f"definitions/{ID}/turns/"
    assert variables(found)["S3_TURN_NAME"] == "$(JOB_NAME)"


def test_limits_of_a_schedule_reach_kubernetes() -> None:
    found = manifest(
        JobOptions(concurrency_policy="Allow", starting_deadline_seconds=600, timeout_seconds=60)
    )["spec"]

    assert (found["concurrencyPolicy"], found["startingDeadlineSeconds"]) == ("Allow", 600)
    assert found["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 60


@pytest.mark.parametrize("schedule", [None, ""])
def test_a_definition_without_a_schedule_never_fires_and_is_active_all_the_same(
    schedule: str | None,
) -> None:
    found = live(schedule=schedule, timezone=None)

    assert found["spec"]["suspend"] is True
    assert definition_record(found).active
    assert not definition_record(found).schedule


def test_whether_a_definition_is_paused_is_what_kubernetes_does() -> None:
    found = live()
    found["spec"]["suspend"] = True

    assert not definition_record(found).active


def test_another_schedule_that_somebody_gave_the_cronjob_is_shown() -> None:
    found = live()
    found["spec"]["schedule"] = "30 4 * * *"

    assert fires_otherwise(RECORD, found["spec"])
    assert definition_record(found).schedule == "30 4 * * *"


def test_a_schedule_that_kubernetes_does_not_know_is_refused() -> None:
    with pytest.raises(BackendError, match="schedule"):
        manifest(schedule="0 0 3 * * *")


def test_a_run_of_a_schedule_is_a_job_like_any_other() -> None:
    found = job_record(run(), (), 0)

    assert found.job_id == f"{NAME}-29539440"
    assert found.job_definition_id == ID
    assert found.name == "Nightly"
    # The time that it was due at, not that at which the controller got to it.
    assert found.create_time == 1_772_416_800_000
    assert found.parameters == {"day": "1"}
    assert names.JOB_ID_LABEL not in run()["metadata"]["labels"]


def test_a_run_whose_name_was_changed_keeps_its_id_and_its_time() -> None:
    found = run()
    assert parse_job_data(found).job_id == f"{NAME}-29539440"


def test_an_unreadable_definition_is_listed_with_what_is_wrong() -> None:
    found = live()
    found["metadata"]["annotations"] = {names.DEFINITION_DATA_ANNOTATION: "{"}

    record = definition_record(found)

    assert record.job_definition_id == ID
    assert record.name.startswith(f"{NAME}: The record of the CronJob {NAME} can't be read")
    assert record.schedule == "0 3 * * 1-5"


def test_a_copy_of_a_definition_is_not_taken_for_it() -> None:
    copy = live()
    copy["metadata"]["name"] = "nb-jobdef-copied"

    record = definition_record(copy)

    assert record.job_definition_id == "nb-jobdef-copied"
    assert f"It is a copy of {NAME}" in record.name


@pytest.mark.parametrize(
    ("column", "value"),
    [("name", 3), ("create_time", "1"), ("tags", "x"), ("active", "no"), ("parameters", [])],
)
def test_a_column_of_another_kind_makes_a_definition_unreadable(column: str, value: Any) -> None:
    found = live()
    found["metadata"]["annotations"][names.DEFINITION_DATA_ANNOTATION] = json.dumps(
        {"schema": 1, "job_definition_id": ID, column: value}
    )

    assert "can't be read (TypeError)" in definition_record(found).name


class TestEdit:
    """`edit_operations`."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"schedule": "30 4 * * *"},
            {"timezone": "Asia/Tokyo"},
        ],
    )
    def test_a_new_time_counts_from_now_on_only(self, changes: dict[str, Any]) -> None:
        first, second = edit_operations(live(), manifest(**changes), NOW)

        assert (first.status, first.body) == (True, {"status": {"lastScheduleTime": NOW}})
        assert not second.status

    def test_a_resume_fires_no_slot_that_has_passed(self) -> None:
        first, second = edit_operations(live(active=False), manifest(), NOW)

        assert first.status
        assert second.body["spec"]["suspend"] is False

    def test_a_pause_needs_no_such_care(self) -> None:
        (only,) = edit_operations(live(), manifest(active=False), NOW)

        assert only.body["spec"]["suspend"] is True

    def test_another_notebook_leaves_the_slots_as_they_are(self) -> None:
        (only,) = edit_operations(live(), manifest(input_version="v2"), NOW)

        assert not only.status
        template = only.body["spec"]["jobTemplate"]
        assert template["metadata"]["annotations"][names.INPUT_VERSION_ANNOTATION] == "v2"

    def test_what_the_next_runs_no_longer_have_is_taken_out(self) -> None:
        before = live()
        before["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] = 60
        before["spec"]["jobTemplate"]["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "yes"}

        (only,) = edit_operations(before, manifest(), NOW)

        template = only.body["spec"]["jobTemplate"]["spec"]
        assert template["activeDeadlineSeconds"] is None
        assert template["template"]["spec"]["nodeSelector"] is None

    def test_applied_to_the_cronjob_it_gives_the_manifest(self) -> None:
        before, wanted = live(), manifest(JobOptions(concurrency_policy="Replace"), name="New")

        for operation in edit_operations(before, wanted, NOW):
            before = merged(before, operation.body)

        assert before["spec"] == wanted["spec"]
        assert before["metadata"]["annotations"] == wanted["metadata"]["annotations"]


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch, applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found
