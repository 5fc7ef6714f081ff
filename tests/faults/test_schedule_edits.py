"""An edit of a definition is made whole, or not at all, and takes no file from a run: over HTTP."""

from typing import Any

import pytest

from faults.fake_api import Answer, Fault, Lost, Silent
from faults.scheduled import ENDED, Case
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    RecordError,
    Rejected,
    StorageError,
)

STATUS_FIRST = ["patch cronjobs/status", "patch cronjobs"]
AWAY = [Answer(503, "gone")] * 60


@pytest.fixture
def definition_id(scheduled: Case) -> str:
    made = scheduled.create()
    scheduled.api.asked.clear()
    return made


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"schedule": "0 10 * * *"}, STATUS_FIRST),
        ({"timezone": "Europe/Berlin"}, STATUS_FIRST),
        ({"runtime_environment_parameters": {"k8s_concurrency_policy": "Allow"}}, STATUS_FIRST),
        ({"runtime_environment_parameters": {"k8s_starting_deadline_seconds": 60}}, STATUS_FIRST),
        ({"active": False}, ["patch cronjobs"]),
        ({"active": True}, ["patch cronjobs"]),
        ({"name": "other", "parameters": {"a": "1"}}, ["patch cronjobs"]),
        ({"runtime_environment_parameters": {"k8s_max_retries": 2}}, ["patch cronjobs"]),
    ],
    ids=repr,
)
def test_what_may_begin_a_run_too_many_is_preceded_by_that_nothing_is_due(
    scheduled: Case, definition_id: str, changes: dict[str, Any], written: list[str]
) -> None:
    scheduled.edit(definition_id, **changes)

    assert scheduled.written() == written
    assert ("lastScheduleTime" in scheduled.live(definition_id).get("status", {})) == (
        written == STATUS_FIRST
    )


def test_a_pause_and_a_resume(scheduled: Case, definition_id: str) -> None:
    scheduled.edit(definition_id, active=False)
    assert scheduled.live(definition_id)["spec"]["suspend"] is True
    assert scheduled.record(definition_id).active is False

    # What changes while it is paused begins nothing.
    scheduled.edit(definition_id, schedule="0 11 * * *")
    assert scheduled.written() == ["patch cronjobs", "patch cronjobs"]

    scheduled.edit(definition_id, active=True)
    assert scheduled.written()[2:] == STATUS_FIRST
    assert scheduled.live(definition_id)["spec"]["suspend"] is False


@pytest.mark.parametrize("number", [0, 1], ids=["status", "spec"])
@pytest.mark.parametrize(
    "fault", [Lost(done=True), Silent(done=True), Lost(), Answer(500, "etcd")], ids=repr
)
def test_an_edit_whose_answer_was_lost_is_made(
    scheduled: Case, definition_id: str, fault: Fault, number: int
) -> None:
    scheduled.api.fail("patch", *[None] * number, fault)

    scheduled.edit(definition_id, schedule="0 10 * * *", name="new")

    spec = scheduled.live(definition_id)["spec"]
    assert (spec["schedule"], scheduled.record(definition_id).name) == ("0 10 * * *", "new")


@pytest.mark.parametrize("fault", [Lost(done=True), Lost()], ids=repr)
def test_an_edit_that_could_not_be_finished_can_be_repeated(
    scheduled: Case, definition_id: str, fault: Fault
) -> None:
    before = scheduled.live(definition_id)["spec"]
    scheduled.api.fail("patch", None, fault, *AWAY)
    with pytest.raises(ClusterUnavailable, match="can't answer now"):
        scheduled.edit(definition_id, schedule="0 10 * * *", parameters={"a": "1"})
    scheduled.api.heal()
    done = fault == Lost(done=True)
    assert (scheduled.live(definition_id)["spec"] == before) is not done

    scheduled.edit(definition_id, schedule="0 10 * * *", parameters={"a": "1"})

    assert scheduled.live(definition_id)["spec"]["schedule"] == "0 10 * * *"
    assert scheduled.record(definition_id).parameters == {"a": "1"}
    # Made already, it isn't made twice: a run that is due now begins.
    assert scheduled.written()[-2:] == (["patch cronjobs"] * 2 if done else STATUS_FIRST)


@pytest.mark.parametrize("number", [0, 1], ids=["status", "spec"])
def test_what_another_server_writes_in_between_is_kept(
    scheduled: Case, definition_id: str, number: int
) -> None:
    other = scheduled.another()
    pending = [lambda: None] * number
    scheduled.client.before_patch.extend(
        [*pending, lambda: other.edit(definition_id, tags=["theirs"], active=False)]
    )

    scheduled.edit(definition_id, schedule="0 10 * * *")

    record = scheduled.record(definition_id)
    assert (record.schedule, record.tags, record.active) == ("0 10 * * *", ["theirs"], False)
    spec = scheduled.live(definition_id)["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("0 10 * * *", True)


def test_one_that_never_stands_still_is_said(scheduled: Case, definition_id: str) -> None:
    other = scheduled.another()
    scheduled.client.before_patch.extend([lambda: other.edit(definition_id, name="theirs")] * 50)

    with pytest.raises(Conflict, match="'n' is being changed by others all the time"):
        scheduled.edit(definition_id, parameters={"a": "1"})


def test_one_that_was_deleted_meanwhile_is_said(scheduled: Case, definition_id: str) -> None:
    scheduled.api.remove("cronjobs", names.definition_name(definition_id))

    for change in ({"name": "new"}, {"input_uri": "n.ipynb"}):
        with pytest.raises(NotFound, match="There is no job definition"):
            scheduled.edit(definition_id, **change)

    # Nor did the new notebook stay.
    assert len(scheduled.versions(definition_id)) == 1


def test_what_cannot_be_read_is_not_written_over(scheduled: Case, definition_id: str) -> None:
    scheduled.damage(definition_id)
    before, versions = scheduled.live(definition_id), scheduled.versions(definition_id)

    for change in ({"name": "new"}, {"active": False}, {"input_uri": "n.ipynb"}):
        with pytest.raises(RecordError, match=r"can't be read .* was changed"):
            scheduled.edit(definition_id, **change)

    assert (scheduled.live(definition_id), scheduled.versions(definition_id)) == (before, versions)


def test_a_copy_is_not_made_the_original(scheduled: Case, definition_id: str) -> None:
    copy = scheduled.copy(definition_id)
    before = scheduled.api.things("cronjobs")

    for change in ({"name": "new"}, {"active": False}, {"input_uri": "n.ipynb"}):
        with pytest.raises(RecordError, match="It is a copy of"):
            scheduled.edit(copy, **change)

    assert scheduled.api.things("cronjobs") == before
    assert scheduled.keys("definitions/") == scheduled.keys(names.definition_prefix(definition_id))


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (
            Answer(403, 'User "me" cannot patch resource "cronjobs"', "Forbidden"),
            Forbidden,
            "patch",
        ),
        (Answer(422, "too long", "Invalid"), Rejected, "too long"),
    ],
)
def test_a_refused_notebook_leaves_the_one_before(
    scheduled: Case, definition_id: str, fault: Answer, error: type[BackendError], said: str
) -> None:
    keys = scheduled.keys()
    scheduled.write("print(2)")
    scheduled.api.fail("patch", fault)

    with pytest.raises(error, match=said):
        scheduled.edit_notebook(definition_id)

    assert (scheduled.keys(), scheduled.notebook(definition_id)) == (keys, "print(1)")


def test_a_notebook_that_is_not_there_is_said(scheduled: Case, definition_id: str) -> None:
    # Upstream's handler of edits shows the text of a SchedulerError only.
    with pytest.raises(BackendError, match=r"Input path 'nope\.ipynb' does not exist\."):
        scheduled.edit(definition_id, input_uri="nope.ipynb")

    assert scheduled.written() == []


def test_a_notebook_that_s3_does_not_take_changes_nothing(
    scheduled: Case, definition_id: str
) -> None:
    scheduled.bucket.refused["store"] = "n.ipynb"

    with pytest.raises(StorageError):
        scheduled.edit_notebook(definition_id, name="new")

    assert scheduled.written() == ["store files"]
    assert (scheduled.record(definition_id).name, len(scheduled.keys())) == ("n", 1)


@pytest.mark.parametrize(
    "then",
    [
        AWAY,
        [Answer(403, 'User "me" cannot patch resource "cronjobs"', "Forbidden")],
        [Answer(401, "expired", "Unauthorized")] * 2,
        [Answer(422, "no", "Invalid")],
    ],
    ids=["away", "forbidden", "logged out", "refused"],
)
def test_a_notebook_whose_edit_had_worked_is_never_removed(
    scheduled: Case, definition_id: str, then: list[Fault]
) -> None:
    scheduled.write("print(2)")
    scheduled.api.fail("patch", Lost(done=True), *then)

    with pytest.raises(BackendError):
        scheduled.edit_notebook(definition_id)

    scheduled.api.heal()
    assert scheduled.notebook(definition_id) == "print(2)"


class TestFormerVersions:
    """Files of former notebooks go when nothing can ask for them any more."""

    def test_the_one_before_stays_until_the_next_edit(
        self, scheduled: Case, definition_id: str
    ) -> None:
        made = [scheduled.version(definition_id)]
        for number in (2, 3):
            scheduled.write(f"print({number})")
            scheduled.edit_notebook(definition_id)
            made.append(scheduled.version(definition_id))
            assert scheduled.notebook(definition_id) == f"print({number})"
            assert scheduled.versions(definition_id) == set(made[-2:])

    @pytest.mark.parametrize("fault", [Lost(done=True), Silent(done=True)], ids=repr)
    def test_the_one_before_stays_where_the_answer_was_lost(
        self, scheduled: Case, definition_id: str, fault: Fault
    ) -> None:
        first = scheduled.version(definition_id)
        scheduled.api.fail("patch", fault)

        scheduled.edit_notebook(definition_id)

        assert scheduled.versions(definition_id) == {first, scheduled.version(definition_id)}

    def test_what_a_run_has_begun_with_stays_until_it_has_ended(
        self, scheduled: Case, definition_id: str
    ) -> None:
        first = scheduled.version(definition_id)
        run = scheduled.begin_run(definition_id)
        for _ in range(2):
            scheduled.edit_notebook(definition_id)
        assert first in scheduled.versions(definition_id)

        scheduled.end_run(run, ENDED)
        scheduled.edit_notebook(definition_id)

        assert first not in scheduled.versions(definition_id)
        assert len(scheduled.versions(definition_id)) == 2

    def test_what_another_server_is_about_to_use_stays(
        self, scheduled: Case, definition_id: str
    ) -> None:
        other = scheduled.another()
        other.write("print(2)")

        def edit() -> None:
            scheduled.edit_notebook(definition_id)

        # It has stored its notebook, and not written it onto the CronJob yet.
        other.client.before_patch.append(edit)
        other.edit_notebook(definition_id)

        assert other.notebook(definition_id) == "print(2)"

    @pytest.mark.parametrize("refused", ["versions/", "list"])
    def test_what_cannot_be_removed_fails_no_edit(
        self, scheduled: Case, definition_id: str, refused: str
    ) -> None:
        scheduled.edit_notebook(definition_id)
        if refused == "list":
            scheduled.api.fail("list", None, *AWAY)
        else:
            scheduled.bucket.refused["remove"] = refused
        scheduled.edit_notebook(definition_id)
        assert len(scheduled.versions(definition_id)) == 3
        scheduled.bucket.refused.clear()
        scheduled.api.heal()

        scheduled.edit_notebook(definition_id)

        assert len(scheduled.versions(definition_id)) == 2

    def test_without_a_new_notebook_no_version_changes(
        self, scheduled: Case, definition_id: str
    ) -> None:
        scheduled.edit_notebook(definition_id)
        versions, current = scheduled.versions(definition_id), scheduled.version(definition_id)

        scheduled.edit(definition_id, name="new", schedule="0 12 * * *")

        assert scheduled.versions(definition_id) == versions
        assert scheduled.version(definition_id) == current
