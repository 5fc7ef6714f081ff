"""What is refused before anything is stored, and what a job or a definition gets."""

from typing import Any

import pytest

from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError, RecordError
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

SCHEDULE = {"k8s_concurrency_policy": "Replace", "k8s_starting_deadline_seconds": "10"}


def job(parameters: dict[str, Any] | None = None, **asked: Any) -> JobRecord:
    return JobRecord(
        **{"job_id": "a-1", "input_filename": "n.ipynb"} | asked,
        runtime_environment_parameters=parameters,
    )


def definition(parameters: dict[str, Any] | None = None, **asked: Any) -> DefinitionRecord:
    return DefinitionRecord(
        **{"job_definition_id": "d-1", "input_filename": "n.ipynb"} | asked,
        runtime_environment_parameters=parameters,
    )


@pytest.mark.parametrize("record", [job, definition])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"parameters": {"k8s_gpu": -1}}, "k8s_gpu must be a whole number"),
        ({"output_formats": ["html", "docx"]}, "'docx' is not an output format"),
        ({"input_filename": "../../n.ipynb"}, "n.ipynb"),
    ],
)
def test_what_no_run_can_mean_is_refused(record: Any, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BackendError, match=said):
        admit(record(**asked), K8sConfig())


@pytest.mark.parametrize("record", [job, definition])
def test_what_is_too_large_to_be_kept_is_refused(record: Any) -> None:
    with pytest.raises(RecordError, match="too large to be kept"):
        admit(record(tags=["x" * 300_000]), K8sConfig())


def test_a_definition_says_how_its_runs_follow_each_other() -> None:
    found = admit(definition(SCHEDULE), K8sConfig())

    assert (found.concurrency_policy, found.starting_deadline_seconds) == ("Replace", 10)
    assert admit(definition(), K8sConfig(scheduled_timeout_seconds=None)) == JobOptions(
        concurrency_policy="Forbid", starting_deadline_seconds=None
    )


@pytest.mark.parametrize("definition_id", ["x" * 64, "a/b", "", "ü", "-a"])
def test_a_job_of_what_can_be_no_definition_is_refused(definition_id: str) -> None:
    with pytest.raises(BackendError, match="the id of no definition"):
        admit(job(job_definition_id=definition_id), K8sConfig())


@pytest.mark.parametrize("name", SCHEDULE)
def test_a_job_of_no_schedule_can_not_say_that(name: str) -> None:
    with pytest.raises(BackendError, match=f"{name} says how the runs of a schedule"):
        admit(job({name: SCHEDULE[name]}), K8sConfig())
    assert admit(job({name: ""}), K8sConfig()) == JobOptions()


def test_a_run_of_a_definition_carries_its_parameters_and_no_limit_of_its_schedule() -> None:
    options = admit(job(SCHEDULE, job_definition_id="d-1"), K8sConfig())

    assert options.timeout_seconds is None
    assert options.concurrency_policy == SCHEDULE["k8s_concurrency_policy"]


@pytest.mark.parametrize("value", ["forbid", "Never", "1"])
def test_a_policy_that_kubernetes_has_not_is_refused(value: str) -> None:
    said = "k8s_concurrency_policy must be one of Allow, Forbid, Replace; it is"
    with pytest.raises(BackendError, match=said):
        admit(definition({"k8s_concurrency_policy": value}), K8sConfig())


@pytest.mark.parametrize("value", ["9", "0", "-1", "soon", 2**31])
def test_a_deadline_that_kubernetes_would_miss_is_refused(value: object) -> None:
    said = "k8s_starting_deadline_seconds must be a whole number of seconds from 10 to"
    with pytest.raises(BackendError, match=said):
        admit(definition({"k8s_starting_deadline_seconds": value}), K8sConfig())


@pytest.mark.parametrize(
    ("given", "scheduled", "most", "expected"),
    [
        (None, 86400, None, 86400),
        (None, 86400, 600, 600),
        (None, 600, 86400, 600),
        (None, None, None, None),
        (None, None, 600, 600),
        ("90", 86400, None, 90),
        ("90000", 86400, None, 90000),
    ],
)
def test_the_runs_of_a_schedule_end(
    given: str | None, scheduled: int | None, most: int | None, expected: int | None
) -> None:
    config = K8sConfig(scheduled_timeout_seconds=scheduled, max_timeout_seconds=most)

    assert admit(definition({"k8s_timeout_seconds": given}), config).timeout_seconds == expected


def test_a_job_of_no_schedule_has_the_limit_that_jobs_have() -> None:
    assert admit(job(), K8sConfig()).timeout_seconds is None
    assert admit(job(), K8sConfig(max_timeout_seconds=90)).timeout_seconds == 90
