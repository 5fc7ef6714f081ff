"""Which runs a database needs somebody for, and whose they are."""

import shutil
from pathlib import Path

import pytest
from jupyter_scheduler.models import Status

from jupyter_scheduler_k8s.stock.ledger import Ledger
from support.stock import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def open_runs(ledger: Ledger) -> dict[str, str | None]:
    return {run.job_id: run.status for run in ledger.open_runs()}


def test_a_job_is_in_progress_as_soon_as_it_is_ours(database: Database) -> None:
    job_id = database.add()
    # Upstream's own default.
    assert database.job(job_id).status is Status.STOPPED

    database.ledger.begin(job_id)

    assert database.job(job_id).status is Status.IN_PROGRESS
    assert open_runs(database.ledger) == {job_id: "IN_PROGRESS"}


def test_a_process_that_takes_over_does_not_start_a_stopped_job_again(database: Database) -> None:
    job_id = database.begun()
    database.status(job_id, Status.STOPPED)

    database.ledger.begin(job_id)

    assert database.job(job_id).status is Status.STOPPED


def test_jobs_that_ran_on_this_machine_are_nobodys_business(database: Database) -> None:
    job_id = database.add(status=Status.FAILED)
    database.remove(job_id)
    database.add(status=Status.IN_PROGRESS)

    assert open_runs(database.ledger) == {}


def test_a_run_is_open_until_it_is_settled_and_again_when_its_record_is_gone(
    database: Database,
) -> None:
    job_id = database.begun()
    database.ledger.end(job_id, settled=False, status=Status.COMPLETED)
    assert open_runs(database.ledger) == {job_id: "COMPLETED"}

    database.ledger.end(job_id, settled=True)
    assert open_runs(database.ledger) == {}

    database.remove(job_id)
    assert open_runs(database.ledger) == {job_id: None}

    database.ledger.forget(job_id)
    assert open_runs(database.ledger) == {}


def test_a_copied_database_claims_nothing_that_ran_later(
    database: Database, tmp_path: Path
) -> None:
    before = database.begun()
    shutil.copy(database.path, tmp_path / "copy.sqlite")
    copy = Ledger(f"sqlite:///{tmp_path / 'copy.sqlite'}")

    later = database.begun()
    database.remove(before)

    assert open_runs(copy) == {before: "IN_PROGRESS"}
    assert open_runs(database.ledger) == {before: None, later: "IN_PROGRESS"}


def test_dropping_the_records_drops_their_runs(database: Database) -> None:
    job_id = database.begun()
    database.drop()

    assert open_runs(database.ledger) == {job_id: None}


def test_what_a_run_made_joins_what_was_packaged(database: Database) -> None:
    job_id = database.begun(packaged_files=["data.csv"])

    database.ledger.end(
        job_id, settled=True, made=["out.csv"], status=Status.FAILED, status_message="x" * 2000
    )

    job = database.job(job_id)
    assert job.packaged_files == ["data.csv", "out.csv"]
    # The width of upstream's column.
    assert job.status_message == "x" * 1024


def test_where_a_run_is_is_kept_with_it(database: Database) -> None:
    placed, unplaced = database.begun(), database.add()
    database.ledger.begin(unplaced)
    runs = {run.job_id: run for run in database.ledger.open_runs()}

    assert runs[placed].is_at("space", "files")
    assert not runs[placed].is_at("space", "others")
    assert not runs[placed].is_at("elsewhere", "files")
    assert runs[unplaced].is_at("anywhere", "at-all")


def test_the_processes_of_jobs_are_told_from_others(database: Database) -> None:
    database.add(pid=11)
    database.add(pid=12)

    assert database.ledger.pids([11, 13]) == {11}
