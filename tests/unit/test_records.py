"""What is kept of a job survives the way onto its Job and back."""

import json
from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import RecordError
from jupyter_scheduler_k8s.records import (
    JobRecord,
    job_data,
    labels,
    new_record,
    parse_job_data,
    selector,
)

RECORD = JobRecord(
    job_id="0c2f",
    job_definition_id="def-1",
    name="Monthly",
    create_time=1,
    update_time=2,
    idempotency_token="once",
    input_filename="a b.ipynb",
    runtime_environment_name="python3",
    runtime_environment_parameters={"k8s_cpu": "2"},
    compute_type="small",
    output_formats=["ipynb", "html"],
    output_filename_template="{{input_filename}}",
    parameters={"x": "ä"},
    tags=["t"],
    package_input_folder=True,
    owner="ada",
)


def kept(text: str, **metadata: Any) -> dict[str, Any]:
    annotations = {names.JOB_DATA_ANNOTATION: text}
    return {"metadata": {"name": "nb-job-0c2f", "annotations": annotations, **metadata}}


def test_what_was_asked_for_comes_back_as_it_was() -> None:
    assert parse_job_data(kept(job_data(RECORD))) == RECORD


def test_what_became_of_a_job_is_not_written_down() -> None:
    ended = json.loads(
        job_data(JobRecord(job_id="1", status="FAILED", status_message="why", end_time=3))
    )

    assert not {"status", "status_message", "end_time", "start_time", "url"} & set(ended)


def test_the_record_is_json_that_a_person_can_read() -> None:
    text = job_data(RECORD)

    assert text.startswith('{"schema":1,"job_id":"0c2f"')
    assert '"parameters":{"x":"ä"}' in text
    assert "null" not in job_data(JobRecord(job_id="1"))


def test_a_record_is_selected_by_its_labels() -> None:
    assert labels(RECORD) == {
        "app.kubernetes.io/managed-by": "jupyter-scheduler-k8s",
        "jupyter-scheduler.io/owner": "ada",
        "jupyter-scheduler.io/job-id": "0c2f",
        "jupyter-scheduler.io/job-definition-id": "def-1",
    }
    assert names.DEFINITION_ID_LABEL not in labels(JobRecord(job_id="1", owner="ada"))
    assert selector("ada") == (
        "app.kubernetes.io/managed-by=jupyter-scheduler-k8s,jupyter-scheduler.io/owner=ada"
    )


def test_a_record_that_is_too_large_is_refused_with_its_size() -> None:
    large = JobRecord(job_id="1", parameters={"x": "é" * 120_000})

    with pytest.raises(RecordError) as refused:
        job_data(large)

    assert str(refused.value) == (
        "The job is too large to be kept: its name, parameters and tags take 234 KiB, and 224 KiB"
        " is the most; put large values into a file beside the notebook."
    )
    job_data(JobRecord(job_id="1", parameters={"x": "é" * 114_000}))


@pytest.mark.parametrize("odd", [{"name": "\ud800"}, {"parameters": {"x": "'\udfff'"}}])
def test_text_that_is_none_is_refused_in_a_sentence(odd: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="half of a character"):
        job_data(JobRecord(job_id="1", **odd))


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"schema": 1}', '{"schema": "1", "job_id": "1"}', "null"],
)
def test_an_annotation_that_was_changed_is_told(text: str) -> None:
    with pytest.raises(RecordError, match="The record of the Job nb-job-0c2f can't be read"):
        parse_job_data(kept(text))


def test_a_job_without_the_annotation_is_told() -> None:
    with pytest.raises(
        RecordError, match=f"its annotation {names.JOB_DATA_ANNOTATION} was changed"
    ):
        parse_job_data(kept("", annotations={}))


def test_a_record_of_a_newer_release_asks_for_an_upgrade() -> None:
    with pytest.raises(RecordError) as refused:
        parse_job_data(kept('{"schema": 2, "job_id": "1"}'))

    assert str(refused.value) == (
        "The record nb-job-0c2f was written by a newer release; upgrade jupyter-scheduler-k8s."
    )


def test_what_a_later_release_adds_is_passed_over() -> None:
    found = parse_job_data(kept('{"schema": 1, "job_id": "1", "colour": "red"}'))

    assert found.job_id == "1"


def test_a_new_record_is_named_after_its_id() -> None:
    found = new_record(
        {"name": "n", "runtime_environment_parameters": {"k8s_cpu": 0.5, "k8s_gpu": 1}},
        job_id="0c2f",
        owner="ada",
        create_time=1,
        update_time=2,
    )

    assert found == JobRecord(
        job_id="0c2f",
        object_name="nb-job-0c2f",
        owner="ada",
        name="n",
        create_time=1,
        update_time=2,
        runtime_environment_parameters={"k8s_cpu": "0.5", "k8s_gpu": 1},
    )


def test_a_new_record_with_a_token_is_named_after_that_and_its_owner() -> None:
    def name(owner: str, job_id: str) -> str:
        return new_record(
            {"idempotency_token": "once"}, job_id=job_id, owner=owner, create_time=1, update_time=1
        ).object_name

    assert name("ada", "1") == name("ada", "2") == names.token_job_name("ada", "once")
    assert name("ada", "1") != name("bob", "1")
