"""`session.add` of a job: the Job that `create_job` makes of it, once, or a sentence."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from jupyter_scheduler.orm import Job, JobDefinition

from faults.fake_api import Answer, Fault, Lost, Silent
from faults.test_create import NOTEBOOK, Case, case
from jupyter_scheduler_k8s.errors import BackendError, ClusterUnavailable, Conflict, Rejected
from jupyter_scheduler_k8s.names import JOB_DATA_ANNOTATION, OWNER_LABEL, job_name

__all__ = ["case"]

ASKED: dict[str, Any] = {
    "name": "n",
    "runtime_environment_name": "python3",
    "output_formats": ["ipynb", "html"],
    "parameters": {"a": "é"},
    "tags": ["t"],
    "runtime_environment_parameters": {"k8s_cpu": "0.5", "k8s_max_retries": 2},
    "package_input_folder": True,
}

_OF_POST = ASKED.keys() - {"name", "runtime_environment_name"}


def new(case: Case, *, stored: bool = True, **columns: Any) -> Any:
    """A new job, whose input is in the bucket."""
    columns = {"job_id": str(uuid4()), "input_filename": "n.ipynb", **ASKED, **columns}
    if stored:
        store(case, columns["job_id"])
    return Job(**{name: value for name, value in columns.items() if value is not None})


def store(case: Case, job_id: str) -> None:
    case.store.put(f"jobs/{job_id}/input/n.ipynb", json.dumps(NOTEBOOK).encode())


def add(case: Case, job: Any) -> None:
    with case.scheduler.db_session() as session:
        session.add(job)
        session.commit()


def without_identity(job: dict[str, Any], job_id: str) -> Any:
    """What a Job is but for its id and its times."""
    kept = {"spec": job["spec"], "labels": job["metadata"]["labels"]}
    data = json.loads(job["metadata"]["annotations"][JOB_DATA_ANNOTATION])
    times = data.pop("create_time"), data.pop("update_time")
    assert times[0] == times[1]
    return json.loads(json.dumps([kept, data]).replace(job_id, "ID"))


def test_it_is_the_job_that_a_post_makes(case: Case) -> None:
    posted = case.create(**{name: value for name, value in ASKED.items() if name in _OF_POST})
    case.looked_after = False
    job = new(case)

    add(case, job)

    made = {one["metadata"]["name"]: one for one in case.api.things("jobs")}
    assert set(made) == {job_name(posted), job_name(job.job_id)}
    assert without_identity(made[job_name(job.job_id)], job.job_id) == without_identity(
        made[job_name(posted)], posted
    )
    assert case.looked_after
    data = json.loads(made[job_name(job.job_id)]["metadata"]["annotations"][JOB_DATA_ANNOTATION])
    assert (job.create_time, job.update_time) == (data["create_time"], data["update_time"])


def test_a_program_keeps_the_times_it_has_given(case: Case) -> None:
    job = new(case, create_time=5, update_time=7)

    add(case, job)

    (made,) = case.api.things("jobs")
    data = json.loads(made["metadata"]["annotations"][JOB_DATA_ANNOTATION])
    assert (data["create_time"], data["update_time"]) == (5, 7)


def test_the_credentials_are_there_though_somebody_deleted_them(case: Case) -> None:
    add(case, new(case))
    (secret,) = case.api.things("secrets")
    case.scheduler.backend.client.delete_secret(secret["metadata"]["name"])

    add(case, new(case))

    (again,) = case.api.things("secrets")
    assert again["stringData"] == secret["stringData"]


def test_inputs_come_first_and_an_instance_says_where_to(case: Case) -> None:
    job = new(case, stored=False, job_id=None)

    with pytest.raises(
        BackendError, match=r"must be stored before .* K8sScheduler\.create_job"
    ) as no:
        add(case, job)

    assert f"jobs/{job.job_id}/input/n.ipynb" in str(no.value)
    assert (case.job_ids(), case.api.things("secrets")) == ([], [])

    store(case, job.job_id)
    add(case, job)
    assert case.job_ids() == [job.job_id]


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True)], ids=["lost", "time-out"])
def test_an_add_whose_answer_was_lost_is_one_job(case: Case, lost: Fault) -> None:
    case.api.fail("create", lost)
    job = new(case)

    add(case, job)

    assert case.job_ids() == [job.job_id]


def test_an_add_with_no_answer_at_all_can_be_repeated(case: Case) -> None:
    case.api.fail("create", Lost(done=True), *[Answer(503, "gone")] * 60)
    job = new(case)
    with pytest.raises(ClusterUnavailable, match=f"{job.job_id} may have been created: add"):
        add(case, job)
    case.api.heal()

    add(case, job)

    assert case.job_ids() == [job.job_id]


def test_another_owners_job_is_not_taken_for_ours(case: Case) -> None:
    job = new(case)
    add(case, job)
    label = {"metadata": {"labels": {OWNER_LABEL: "another"}}}
    case.scheduler.backend.client.patch_job(job_name(job.job_id), label)

    with pytest.raises(Conflict, match=f"has the job_id {job.job_id} already"):
        add(case, job)


def test_a_token_makes_one_job(case: Case) -> None:
    first = new(case, idempotency_token="once")
    add(case, first)
    add(case, first)

    with pytest.raises(Conflict, match="has the idempotency_token once already"):
        add(case, new(case, idempotency_token="once"))

    assert case.job_ids() == [first.job_id]


def test_what_the_api_refuses_is_said_with_what_was_asked(case: Case) -> None:
    case.api.fail("create", Answer(422, "Job.batch is invalid: quantities must match", "Invalid"))

    with pytest.raises(Rejected, match=r"quantities must match.*k8s_cpu '0\.5'"):
        add(case, new(case))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a format": ({"output_formats": ["pdf"]}, "pdf is not made"),
    "an option": ({"runtime_environment_parameters": {"k8s_nope": 1}}, "k8s_nope"),
    "a quantity": ({"runtime_environment_parameters": {"k8s_cpu": "0"}}, "k8s_cpu"),
    "its size": ({"tags": ["x" * 300_000]}, "too large"),
    "a path": ({"input_filename": "a/n.ipynb"}, "without folders"),
    "no file": ({"input_filename": None}, "missing.*: input_filename"),
    "no name": ({"name": None, "runtime_environment_name": None}, ": name, runtime_env"),
    "a kind": ({"parameters": ["a"]}, ": parameters"),
    "an id": ({"job_id": "ID-1"}, "is no UUID"),
    "a time": ({"create_time": "now"}, "create_time must be"),
    "a status": ({"status": "COMPLETED"}, "can only be CREATED"),
    "an end": ({"end_time": 5}, "column end_time"),
}


@pytest.mark.parametrize(("columns", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_is_refused_and_nothing_is_made(
    case: Case, columns: dict[str, Any], said: str
) -> None:
    job = new(case, **columns)

    with pytest.raises(BackendError, match=said) as refusal:
        add(case, job)

    assert str(refusal.value).endswith(".")
    assert (case.job_ids(), case.api.things("secrets")) == ([], [])


def test_a_definition_is_added_as_it_would_be_created(case: Case) -> None:
    definition = JobDefinition(
        name="daily",
        input_filename="n.ipynb",
        runtime_environment_name="python3",
        schedule="0 7 * * SUN",
        timezone="Europe/Berlin",
        tags=["t"],
        active=False,
    )

    add(case, definition)
    # One whose answer was lost may be handed in again.
    add(case, definition)

    (made,) = case.api.things("cronjobs")
    assert made["metadata"]["name"] == f"nb-jobdef-{definition.job_definition_id}"
    assert (made["spec"]["schedule"], made["spec"]["suspend"]) == ("0 7 * * 0", True)
    found = case.scheduler.backend.database.create_session()().get(
        JobDefinition, definition.job_definition_id
    )
    assert (found.name, found.schedule, found.tags) == ("daily", "0 7 * * SUN", ["t"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"input_filename": None, "name": None}, "input_filename, name"),
        ({"job_definition_id": "mine"}, "no UUID"),
        ({"schedule": "0 0 7 * * *"}, "five"),
        ({"schedule": "@daily", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"tags": "t"}, "tags"),
    ],
)
def test_a_definition_that_cannot_be_is_not_added(
    case: Case, columns: dict[str, Any], said: str
) -> None:
    given = {"name": "n", "input_filename": "n.ipynb", "runtime_environment_name": "python3"}

    with pytest.raises(BackendError, match=said):
        add(case, JobDefinition(**given | columns))

    assert case.api.things("cronjobs") == []


@pytest.mark.parametrize(
    ("call", "made"),
    [(lambda case, job: add(case, job), 0), (None, 1)],
    ids=["on the loop", "in a thread"],
)
def test_a_loop_is_not_blocked(
    case: Case, call: Callable[[Case, Job], None] | None, made: int
) -> None:
    async def program(job: Job) -> None:
        if call is None:
            await asyncio.to_thread(add, case, job)
            return
        with pytest.raises(
            BackendError, match=r"await asyncio\.to_thread\(session\.add, instance\)"
        ):
            call(case, job)

    asyncio.run(program(new(case)))

    assert len(case.job_ids()) == made
