"""Brings runs that nobody looks after to their end, in a process of its own.

A job that was deleted takes its Job and its files along; one that was stopped
keeps what it had computed, and says so. In a process of its own, because the
server's download of files forks, and the fork of a process that has used obstore
hangs.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler.models import Status
from jupyter_scheduler.utils import get_utc_timestamp
from sqlalchemy.exc import SQLAlchemyError

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.manifests import GRACE_SECONDS
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.stock.ledger import Ledger
from jupyter_scheduler_k8s.stock.run import StockRun, backend_for, record_of
from jupyter_scheduler_k8s.stock.stopping import STOPPED

_log = logging.getLogger(__name__)

_AT_ONCE = 8
# The kubelet and the Job controller need some seconds around the grace period.
_END_SECONDS = GRACE_SECONDS + 30


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be brought to its end.

    Attributes:
        job_id: the job's id.
        staging_paths: upstream's, where its files go; None where its record is gone.
    """

    job_id: str
    staging_paths: Mapping[str, str] | None


def sweep(tasks: Sequence[Task], *, db_url: str, settings: Mapping[str, Any]) -> None:
    """Do what can be done for each; the main function of a process, which exits with 1
    where something is left to do."""
    config, ledger = K8sConfig(**settings), Ledger(db_url)

    def attempt(task: Task) -> bool:
        try:
            bring_to_end(task, ledger=ledger, config=config)
        except BackendError as error:
            _log.warning("Job %s was not cleaned up yet: %s", task.job_id, error)
        except SQLAlchemyError as error:
            _log.warning(
                "Job %s was not cleaned up yet: jupyter-scheduler's database refused (%s).",
                task.job_id,
                type(error).__name__,
            )
        except Exception:  # noqa: BLE001 - one run must not hold up the others
            _log.exception("Job %s could not be cleaned up.", task.job_id)
        else:
            return True
        return False

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        if not all(list(pool.map(attempt, tasks))):
            sys.exit(1)


def bring_to_end(task: Task, *, ledger: Ledger, config: K8sConfig) -> None:
    """End the run of one task, and bring its record, if there is one, to its true state.

    Safe to repeat, and beside another server that does the same.

    Raises:
        BackendError: it can't be done now.
    """
    backend = backend_for(task.job_id, config=config, log=_log)
    job = ledger.job(task.job_id)
    if job is None:
        gone = JobRecord(
            job_id=task.job_id, owner=config.owner, object_name=names.job_name(task.job_id)
        )
        remove(StockRun(gone, staging_paths={}, backend=backend), ledger)
    elif task.staging_paths is not None:
        record = record_of(job, config.owner)
        run = StockRun(record, staging_paths=task.staging_paths, backend=backend)
        conclude(run, ledger, status=job.status.value)


def remove(run: StockRun, ledger: Ledger) -> None:
    """End a run whose record was deleted, and delete all that there is of it.

    Raises:
        BackendError: something is left; the next attempt goes on there.
    """
    job = run.stop()
    if job is not None and not objects.condition(job, "Complete", "Failed"):
        run.wait(_END_SECONDS)
    # The Job last: what fails in between can be repeated.
    run.delete_files()
    if job is not None:
        run.delete_job(job["metadata"]["uid"])
    ledger.forget(run.record.job_id)


def conclude(run: StockRun, ledger: Ledger, *, status: str) -> None:
    """Bring home what a run has stored whose record has ended without it.

    Raises:
        BackendError: not all is here; the next attempt goes on there.
    """
    job = run.stop()
    outcome = None if job is None else run.wait(_END_SECONDS)
    made = run.fetch()
    columns: dict[str, Any] = {}
    if status in STOPPED:
        # It may have completed before the stop reached it.
        columns = {
            "status": Status(outcome.status) if outcome else Status.STOPPED,
            "status_message": outcome.status_message if outcome else None,
            "end_time": (outcome and outcome.end_time) or get_utc_timestamp(),
        }
    ledger.end(run.record.job_id, settled=True, made=made, **columns)
