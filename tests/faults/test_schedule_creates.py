"""A definition is created once, with its input files, or not at all: over HTTP."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from jupyter_scheduler.models import ListJobDefinitionsQuery

from faults.fake_api import Answer, Fault, Lost, Silent
from faults.scheduled import Case
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterError,
    ClusterUnavailable,
    Forbidden,
    Rejected,
    StorageError,
    UnsupportedQuery,
)
from jupyter_scheduler_k8s.pending import ABANDONED_SECONDS

QUOTA = Answer(403, "cronjobs.batch is forbidden: exceeded quota: all", "Forbidden")


def test_the_inputs_are_stored_before_the_cron_job_exists(scheduled: Case) -> None:
    definition_id = scheduled.create()

    assert scheduled.written() == ["store files", "create cronjobs"]
    version = scheduled.version(definition_id)
    prefix = names.definition_input_prefix(definition_id, version)
    assert scheduled.keys() == [f"{prefix}n.ipynb"]


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True), Lost()], ids=repr)
def test_a_create_whose_answer_was_lost_is_one_definition(scheduled: Case, lost: Fault) -> None:
    scheduled.api.fail("create", lost)

    definition_id = scheduled.create()

    assert scheduled.names("cronjobs") == [names.definition_name(definition_id)]
    assert scheduled.versions(definition_id) == {scheduled.version(definition_id)}
    assert scheduled.record(definition_id).name == "n"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            Answer(403, 'User "me" cannot create resource "cronjobs"', "Forbidden"),
            Forbidden,
            "may not create cronjobs",
        ),
        (QUOTA, Rejected, "exceeded quota"),
        (Answer(422, "spec.timeZone: unknown time zone", "Invalid"), Rejected, "unknown time zone"),
    ],
)
def test_a_refused_definition_leaves_nothing(
    scheduled: Case, answer: Answer, error: type[BackendError], said: str
) -> None:
    scheduled.api.fail("create", answer)

    with pytest.raises(error, match=said):
        scheduled.create()

    assert (scheduled.keys(), scheduled.notes(), scheduled.names("cronjobs")) == ([], [], [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"schedule": "0 0 9 * * *"}, "6 fields; write five"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"runtime_environment_parameters": {"k8s_max_retries": "many"}}, "k8s_max_retries"),
    ],
)
def test_what_kubernetes_cannot_do_is_refused_before_anything_is_stored(
    scheduled: Case, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(BackendError, match=said):
        scheduled.create(**asked)

    assert scheduled.written() == []


def test_a_cluster_that_is_away_is_said_and_leaves_nothing(scheduled: Case) -> None:
    scheduled.api.stop()

    with pytest.raises(ClusterUnavailable, match="does not answer"):
        scheduled.create()

    assert (scheduled.keys(), scheduled.notes()) == ([], [])


def test_no_answer_at_all_keeps_the_inputs_and_says_so(scheduled: Case) -> None:
    scheduled.api.fail("create", Lost(done=True), *[Answer(503, "gone")] * 60)

    with pytest.raises(ClusterUnavailable, match="'n' may have been created: look for it"):
        scheduled.create()

    (definition_id,) = scheduled.known_ids()
    assert scheduled.notebook(definition_id) == "print(1)"


def test_a_refusal_of_the_second_attempt_takes_nothing_from_what_the_first_has_made(
    scheduled: Case,
) -> None:
    # The quota counts the CronJob whose answer was lost.
    scheduled.api.fail("create", Lost(done=True), QUOTA)

    with pytest.raises(Rejected, match="exceeded quota"):
        scheduled.create()

    (definition_id,) = scheduled.known_ids()
    assert scheduled.notebook(definition_id) == "print(1)"


def test_a_refusal_that_nobody_can_look_into_leaves_the_inputs_to_the_sweep(
    scheduled: Case,
) -> None:
    scheduled.api.fail("create", QUOTA)
    scheduled.api.fail("get", *[Answer(503, "gone")] * 60)

    with pytest.raises(Rejected, match="exceeded quota"):
        scheduled.create()

    scheduled.api.heal()
    assert len(scheduled.keys()) == 1
    scheduled.age_notes(ABANDONED_SECONDS + 1)
    assert scheduled.backend.pending.sweep() is None
    assert (scheduled.keys(), scheduled.notes()) == ([], [])


def test_without_s3_there_is_no_definition(scheduled: Case) -> None:
    scheduled.bucket.refused["store"] = "n.ipynb"

    with pytest.raises(StorageError):
        scheduled.create()

    assert (scheduled.keys(), scheduled.names("cronjobs")) == ([], [])


def test_what_s3_does_not_take_back_is_removed_later(scheduled: Case) -> None:
    # The folder's second file is refused, and the removal of the first one.
    scheduled.write_beside("zz.csv")
    scheduled.bucket.refused.update(store="zz.csv", remove="n.ipynb")

    with pytest.raises(StorageError):
        scheduled.create(package_input_folder=True)

    assert scheduled.keys() != []
    scheduled.bucket.refused.clear()
    scheduled.age_notes(ABANDONED_SECONDS + 1)
    scheduled.backend.pending.sweep()
    assert (scheduled.keys(), scheduled.notes()) == ([], [])


def test_credentials_that_end_after_the_upload_leave_no_inputs_for_good(
    scheduled: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def expired() -> frozenset[str]:
        raise StorageError("The AWS login has expired.")

    monkeypatch.setattr(scheduled.backend, "share_credentials", expired)

    with pytest.raises(StorageError, match="expired"):
        scheduled.create()

    scheduled.age_notes(ABANDONED_SECONDS + 1)
    scheduled.backend.pending.sweep()
    assert (scheduled.keys(), scheduled.notes(), scheduled.names("cronjobs")) == ([], [], [])


class TestAServerThatDiesBetweenUploadAndCreate:
    """What it leaves is removed by the next server, but for what is used."""

    def test_its_inputs_are_removed_and_no_others(self, scheduled: Case) -> None:
        other = scheduled.create()
        before = scheduled.keys()
        scheduled.die_at("create_cron_job")
        with pytest.raises(KeyboardInterrupt):
            scheduled.create()
        assert len(scheduled.keys()) == 2

        scheduled.age_notes(ABANDONED_SECONDS + 1)
        assert scheduled.another().backend.pending.sweep() is None

        assert (scheduled.keys(), scheduled.notes()) == (before, [])
        assert scheduled.notebook(other) == "print(1)"

    def test_an_edit_leaves_the_version_in_use(self, scheduled: Case) -> None:
        definition_id = scheduled.create()
        current = scheduled.version(definition_id)
        scheduled.die_at("patch_cron_job")
        with pytest.raises(KeyboardInterrupt):
            scheduled.edit_notebook(definition_id)
        assert len(scheduled.versions(definition_id)) == 2

        scheduled.age_notes(ABANDONED_SECONDS + 1)
        scheduled.another().backend.pending.sweep()

        assert scheduled.versions(definition_id) == {current}
        assert scheduled.version(definition_id) == current

    def test_an_edit_that_was_made_is_kept(self, scheduled: Case) -> None:
        definition_id = scheduled.create()
        scheduled.write("print(2)")
        scheduled.api.fail("patch", Lost(done=True), *[Answer(503, "gone")] * 60)
        with pytest.raises(ClusterUnavailable):
            scheduled.edit_notebook(definition_id)
        scheduled.api.heal()

        scheduled.age_notes(ABANDONED_SECONDS + 1)
        scheduled.another().backend.pending.sweep()

        assert scheduled.notebook(definition_id) == "print(2)"
        assert scheduled.notes() == []

    def test_a_run_of_a_definition_that_is_gone_keeps_its_input(self, scheduled: Case) -> None:
        scheduled.die_at("create_cron_job", done=True)
        with pytest.raises(KeyboardInterrupt):
            scheduled.create()
        (definition_id,) = scheduled.known_ids()
        version = scheduled.version(definition_id)
        run = scheduled.begin_run(definition_id)
        scheduled.api.remove("cronjobs", names.definition_name(definition_id))

        scheduled.age_notes(ABANDONED_SECONDS + 1)
        scheduled.another().backend.pending.sweep()

        assert scheduled.versions(definition_id) == {version}
        assert scheduled.names("jobs") == [run]

    def test_a_definition_that_cannot_be_read_holds_up_no_other(self, scheduled: Case) -> None:
        damaged = scheduled.create()
        scheduled.die_at("patch_cron_job")
        with pytest.raises(KeyboardInterrupt):
            scheduled.edit_notebook(damaged)
        scheduled.damage(damaged, of_template=True)
        scheduled.die_at("create_cron_job")
        with pytest.raises(KeyboardInterrupt):
            scheduled.create()
        versions = scheduled.versions(damaged)

        scheduled.age_notes(ABANDONED_SECONDS + 1)
        wait = scheduled.another().backend.pending.sweep()

        # Which of them is the current one nobody can say: they stay, and are looked at again.
        assert (len(versions), scheduled.versions(damaged)) == (2, versions)
        assert (len(scheduled.keys()), len(scheduled.notes())) == (2, 1)
        assert wait == ABANDONED_SECONDS

    def test_a_sweep_without_the_cluster_removes_nothing(self, scheduled: Case) -> None:
        scheduled.die_at("create_cron_job")
        with pytest.raises(KeyboardInterrupt):
            scheduled.create()
        scheduled.age_notes(ABANDONED_SECONDS + 1)
        server = scheduled.another()
        scheduled.api.stop()

        with pytest.raises(ClusterError):
            server.backend.pending.sweep()

        assert (len(scheduled.keys()), len(scheduled.notes())) == (1, 1)


def test_a_definition_that_cannot_be_read_in_part_is_asked_for_the_rest(scheduled: Case) -> None:
    definition_id = scheduled.create()
    current = scheduled.version(definition_id)
    scheduled.damage(definition_id)
    noted = scheduled.backend.pending.noted
    record = replace(scheduled.record(definition_id), input_version=current)

    async def refused() -> None:
        async with noted(record) as note:
            await note.before_create()
            raise Rejected("no")

    with pytest.raises(Rejected):
        asyncio.run(refused())

    assert scheduled.versions(definition_id) == {current}


@pytest.mark.parametrize("token", ["x", "-1", "9" * 19, "9" * 5000], ids=lambda token: token[:20])
def test_a_page_that_no_list_has_is_refused_in_a_sentence(scheduled: Case, token: str) -> None:
    query = ListJobDefinitionsQuery(next_token=token)

    with pytest.raises(UnsupportedQuery, match="is no next_token of a list of job definitions"):
        asyncio.run(scheduled.scheduler.list_job_definitions(query))
