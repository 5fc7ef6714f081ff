"""Runs of a definition that somebody asks for, ends or deletes: over HTTP."""

import asyncio
from typing import Any

import pytest

from faults.fake_api import Answer, Fault, Lost, Silent
from faults.scheduled import Case
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import (
    ClusterUnavailable,
    NotFound,
    RecordError,
    Rejected,
)


@pytest.fixture
def definition_id(scheduled: Case) -> str:
    return scheduled.create(parameters={"a": "1"})


def job(scheduled: Case) -> dict[str, Any]:
    """The only Job that there is."""
    (found,) = scheduled.api.things("jobs")
    return found


def variables(found: dict[str, Any]) -> dict[str, str]:
    """The variables of a Job's container that moves files."""
    (files,) = (
        container
        for container in found["spec"]["template"]["spec"]["containers"]
        if container["name"] == names.FILES_CONTAINER
    )
    return {one["name"]: one["value"] for one in files["env"] if "value" in one}


@pytest.mark.parametrize(
    ("asked", "parameters"),
    [
        ({}, {"a": "1"}),
        ({"parameters": {"b": "2"}}, {"b": "2"}),
        ({"parameters": {}}, {}),
    ],
    ids=["kept", "replaced", "none"],
)
def test_its_parameters_are_those_of_the_definition_unless_others_are_given(
    scheduled: Case, definition_id: str, asked: dict[str, Any], parameters: dict[str, str]
) -> None:
    job_id = scheduled.run_now(definition_id, **asked)

    record = scheduled.backend.cache.get(job_id)
    assert record is not None
    assert (record.parameters, record.job_definition_id) == (parameters, definition_id)
    # The next one of the schedule has the definition's all the same.
    assert scheduled.record(definition_id).parameters == {"a": "1"}


def test_it_fetches_the_definition_s_files_and_keeps_its_own_copy(
    scheduled: Case, definition_id: str
) -> None:
    keys = scheduled.keys()

    job_id = scheduled.run_now(definition_id)

    version, found = scheduled.version(definition_id), variables(job(scheduled))
    assert found["S3_INPUT_PREFIX"] == names.definition_input_prefix(definition_id, version)
    assert found["S3_KEEP_INPUT_PREFIX"] == names.input_prefix(job_id)
    assert job(scheduled)["metadata"]["annotations"][names.INPUT_VERSION_ANNOTATION] == version
    # The pod makes the copy.
    assert scheduled.keys() == keys


def test_it_runs_what_the_definition_is_now_whoever_has_changed_it(
    scheduled: Case, definition_id: str
) -> None:
    other = scheduled.another()
    for _ in range(2):
        # The first version is removed; this server has heard of no change yet.
        other.edit_notebook(definition_id, parameters={"a": "new"})

    job_id = scheduled.run_now(definition_id)

    found = variables(job(scheduled))
    current = names.definition_input_prefix(definition_id, scheduled.version(definition_id))
    assert found["S3_INPUT_PREFIX"] == current
    record = scheduled.backend.cache.get(job_id)
    assert record is not None
    assert record.parameters == {"a": "new"}


def test_its_files_stay_while_it_goes_on(scheduled: Case, definition_id: str) -> None:
    version = scheduled.version(definition_id)
    scheduled.run_now(definition_id)

    for _ in range(3):
        scheduled.edit_notebook(definition_id)

    assert version in scheduled.versions(definition_id)


def test_one_that_is_paused_can_be_run(scheduled: Case, definition_id: str) -> None:
    scheduled.edit(definition_id, active=False)

    scheduled.run_now(definition_id)

    assert "suspend" not in job(scheduled)["spec"]


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True), Lost()], ids=repr)
def test_one_whose_answer_was_lost_is_one_run(
    scheduled: Case, definition_id: str, lost: Fault
) -> None:
    scheduled.api.fail("create", lost)

    job_id = scheduled.run_now(definition_id)

    assert job(scheduled)["metadata"]["labels"][names.JOB_ID_LABEL] == job_id


def test_no_answer_at_all_is_said(scheduled: Case, definition_id: str) -> None:
    scheduled.api.fail("create", Lost(done=True), *[Answer(503, "gone")] * 60)

    with pytest.raises(ClusterUnavailable, match="The job may have been created: look for it"):
        scheduled.run_now(definition_id)


def test_a_refusal_is_said_and_leaves_nothing(scheduled: Case, definition_id: str) -> None:
    keys = scheduled.keys()
    scheduled.api.fail("create", Answer(403, "exceeded quota: all", "Forbidden"))

    with pytest.raises(Rejected, match="exceeded quota"):
        scheduled.run_now(definition_id)

    assert (scheduled.names("jobs"), scheduled.keys()) == ([], keys)


def test_one_that_was_deleted_meanwhile_is_said(scheduled: Case, definition_id: str) -> None:
    scheduled.api.remove("cronjobs", names.definition_name(definition_id))

    with pytest.raises(NotFound, match="There is no job definition"):
        scheduled.run_now(definition_id)


def test_what_cannot_be_read_is_not_run(scheduled: Case, definition_id: str) -> None:
    copy = scheduled.copy(definition_id)
    scheduled.damage(definition_id)

    with pytest.raises(RecordError, match="can't be read"):
        scheduled.run_now(definition_id)
    with pytest.raises(RecordError, match="It is a copy of"):
        scheduled.run_now(copy)

    assert scheduled.names("jobs") == []


class TestASuspendedJob:
    """Somebody with kubectl has suspended a run: no time passes for it, and it has no pods."""

    @pytest.fixture
    def run(self, scheduled: Case, definition_id: str) -> str:
        name = scheduled.begin_run(definition_id)
        scheduled.client.patch_job(name, {"spec": {"suspend": True}})
        scheduled.look()
        return name

    def test_a_stop_lets_time_pass_that_has_run_out(self, scheduled: Case, run: str) -> None:
        asyncio.run(scheduled.scheduler.stop_job(run))

        spec = job(scheduled)["spec"]
        assert (spec["suspend"], spec["activeDeadlineSeconds"]) == (False, 1)
        record = scheduled.backend.cache.get(run)
        assert record is not None
        assert record.status == "STOPPED"

    def test_a_deletion_ends_it_first(self, scheduled: Case, run: str) -> None:
        scheduled.api.asked.clear()

        asyncio.run(scheduled.scheduler.delete_job(run))

        assert scheduled.names("jobs") == []
        assert scheduled.keys(names.job_prefix(run)) == []
        assert scheduled.written() == ["patch jobs", *["remove files"] * 2, "delete jobs"]
