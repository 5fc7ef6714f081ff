"""Deleting a definition asks for exactly its own things, and can be repeated: over HTTP."""

from itertools import groupby

import pytest

from faults.fake_api import Answer, Fault
from faults.scheduled import ENDED, Case
from jupyter_scheduler_k8s import backend, names
from jupyter_scheduler_k8s.errors import BackendError, NotFound

AWAY: list[Fault | None] = [Answer(503, "gone")] * 60
GONE = Answer(404, "not found", "NotFound")


@pytest.fixture
def definition_id(scheduled: Case) -> str:
    """A definition with a run that has ended and one that goes on."""
    made = scheduled.create()
    scheduled.begin_run(made, 1, **ENDED)
    scheduled.begin_run(made, 2)
    scheduled.look()
    scheduled.api.asked.clear()
    return made


def left(scheduled: Case) -> list[list[str]]:
    """Everything that is left anywhere."""
    return [scheduled.names("cronjobs"), scheduled.names("jobs"), scheduled.keys()]


def test_it_is_paused_first_and_gone_last(scheduled: Case) -> None:
    definition_id = scheduled.create()
    scheduled.begin_run(definition_id)
    scheduled.api.asked.clear()

    scheduled.delete(definition_id)

    assert [step for step, _ in groupby(scheduled.written())] == [
        "patch cronjobs",
        "patch jobs",
        "remove files",
        "delete jobs",
        "remove files",
        "delete cronjobs",
    ]
    assert left(scheduled) == [[], [], []]
    with pytest.raises(NotFound, match="There is no job definition"):
        scheduled.delete(definition_id)


FAILURES: dict[str, tuple[str, list[Fault | None]]] = {
    "suspend": ("patch", AWAY),
    "end of a run": ("patch", [None, *AWAY]),
    "list of runs": ("list", AWAY),
    "first record": ("delete", AWAY),
    "second record": ("delete", [None, *AWAY]),
    "cron job": ("delete", [None, None, *AWAY]),
}


@pytest.mark.parametrize(("kind", "faults"), FAILURES.values(), ids=FAILURES)
def test_with_the_api_away_it_is_still_there_and_can_be_deleted_later(
    scheduled: Case, definition_id: str, kind: str, faults: list[Fault | None]
) -> None:
    scheduled.api.fail(kind, *faults)
    with pytest.raises(BackendError, match="can't answer now"):
        scheduled.delete(definition_id)
    assert scheduled.names("cronjobs") == [names.definition_name(definition_id)]
    assert scheduled.record(definition_id).name == "n"
    scheduled.api.heal()

    scheduled.delete(definition_id)

    assert left(scheduled) == [[], [], []]


@pytest.mark.parametrize("refused", ["jobs/", "definitions/"])
def test_with_s3_refusing_it_is_still_there_and_can_be_deleted_later(
    scheduled: Case, definition_id: str, refused: str
) -> None:
    scheduled.bucket.refused["remove"] = refused
    with pytest.raises(BackendError, match="refused to delete"):
        scheduled.delete(definition_id)
    # What S3 still has files of has its record.
    assert scheduled.record(definition_id).active is False
    assert len(scheduled.names("jobs")) == (2 if refused == "jobs/" else 0)
    scheduled.bucket.refused.clear()

    scheduled.delete(definition_id)

    assert left(scheduled) == [[], [], []]


@pytest.mark.parametrize("done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize(
    "request_name", ["patch_cron_job", "list_jobs", "patch_job", "delete_job", "delete_cron_job"]
)
def test_another_server_goes_on_where_one_died(
    scheduled: Case, definition_id: str, request_name: str, done: bool
) -> None:
    other = scheduled.another()
    scheduled.die_at(request_name, done=done)
    with pytest.raises(KeyboardInterrupt):
        scheduled.delete(definition_id)

    # Where nothing but the deletion of the CronJob was left, it may not know of that yet.
    other.delete(definition_id)

    assert left(other) == [[], [], []]


def test_one_failure_leaves_no_other_run_behind(scheduled: Case, definition_id: str) -> None:
    for minute in range(3, 23):
        scheduled.begin_run(definition_id, minute, **ENDED)
    refused = f"{names.definition_name(definition_id)}-9/"
    scheduled.bucket.refused["remove"] = refused

    with pytest.raises(BackendError, match="refused to delete"):
        scheduled.delete(definition_id)

    assert scheduled.names("jobs") == [refused.rstrip("/")]


def test_a_run_that_the_controller_begins_meanwhile_is_deleted_too(
    scheduled: Case, definition_id: str
) -> None:
    late: list[str] = []
    scheduled.client.before_delete.append(lambda: late.append(scheduled.begin_run(definition_id)))

    scheduled.delete(definition_id)

    assert len(late) == 1
    assert left(scheduled) == [[], [], []]


def test_nothing_of_others_is_touched(scheduled: Case, definition_id: str) -> None:
    other = scheduled.create()
    kept = [scheduled.begin_run(other, 1), scheduled.begin_run(other, 2, **ENDED)]
    scheduled.keep("jobs/a-job/input/n.ipynb")
    # Somebody else's, whatever it says that it belongs to.
    theirs = {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_LABEL: "somebody",
        names.DEFINITION_ID_LABEL: definition_id,
    }
    scheduled.api.put("jobs", {"metadata": {"name": "theirs", "labels": theirs}})
    scheduled.keep("jobs/theirs/outputs/output.ipynb")
    jobs = [job for job in scheduled.api.things("jobs") if job["metadata"]["name"] in kept]
    keys = sorted(set(scheduled.keys()) - set(scheduled.keys_of(definition_id)))

    scheduled.delete(definition_id)

    assert scheduled.names("cronjobs") == [names.definition_name(other)]
    assert scheduled.names("jobs") == sorted([*kept, "theirs"])
    assert [job for job in scheduled.api.things("jobs") if job["metadata"]["name"] in kept] == jobs
    assert scheduled.keys() == keys


def test_a_copy_takes_nothing_of_its_original_with_it(scheduled: Case, definition_id: str) -> None:
    copy = scheduled.copy(definition_id)
    before = [scheduled.names("jobs"), scheduled.keys()]

    scheduled.delete(copy)

    assert left(scheduled) == [[names.definition_name(definition_id)], *before]
    assert scheduled.live(definition_id)["spec"]["suspend"] is False


def test_what_cannot_be_read_is_deleted_like_any_other(scheduled: Case, definition_id: str) -> None:
    scheduled.damage(definition_id, of_template=True)
    run = scheduled.begin_run(definition_id, 3)
    assert run in scheduled.names("jobs")

    scheduled.delete(definition_id)

    assert left(scheduled) == [[], [], []]


@pytest.mark.parametrize("kind", ["patch", "delete"])
def test_runs_that_somebody_else_deletes_meanwhile_are_fine(
    scheduled: Case, definition_id: str, kind: str
) -> None:
    scheduled.api.fail(kind, *([None, GONE] if kind == "patch" else [GONE, GONE, GONE]))

    scheduled.delete(definition_id)

    assert scheduled.keys() == []


def test_one_that_somebody_has_deleted_from_the_cluster_leaves_no_files(
    scheduled: Case, definition_id: str
) -> None:
    scheduled.api.remove("cronjobs", names.definition_name(definition_id))

    scheduled.delete(definition_id)

    assert left(scheduled) == [[], [], []]


def test_runs_that_go_on_get_their_grace_period_all_at_once(
    scheduled: Case, definition_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_END_SECONDS", 5)
    for minute in range(3, 42):
        scheduled.begin_run(definition_id, minute)
    # None of the forty ends before all of them are told to.
    scheduled.client.end_together = 40

    scheduled.delete(definition_id)

    assert left(scheduled) == [[], [], []]


@pytest.mark.parametrize("attempts", [{}, {"backoffLimit": 2}], ids=["one", "many"])
def test_a_log_that_a_server_kept_can_be_dropped(scheduled: Case, attempts: dict[str, int]) -> None:
    definition_id = scheduled.create()
    backend, before = scheduled.backend, scheduled.keys()
    job = {"metadata": {"name": f"{names.definition_name(definition_id)}-1"}, "spec": attempts}
    pod = {"metadata": {"name": "p", "uid": "u"}}

    backend._keep_log(job, pod, "its last words")
    assert len(scheduled.keys()) == len(before) + 1
    backend._drop_log(job, pod)
    backend._drop_log(job, pod)

    assert scheduled.keys() == before
