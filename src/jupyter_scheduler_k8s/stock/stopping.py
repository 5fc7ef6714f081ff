"""Ending a run's Job for good, whatever the API server does meanwhile."""

import logging
import random
import time
from collections.abc import Callable

from jupyter_scheduler.models import Status
from sqlalchemy.exc import SQLAlchemyError

from jupyter_scheduler_k8s import manifests, names, objects
from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.cluster.backoff import Backoff
from jupyter_scheduler_k8s.diagnosis import end_reason
from jupyter_scheduler_k8s.errors import BackendError, ClusterUnavailable, NotFound
from jupyter_scheduler_k8s.stock.ledger import Ledger

_log = logging.getLogger(__name__)

# Upstream's stop writes the first, kills the process, writes the second.
STOPPED = frozenset({Status.STOPPING.value, Status.STOPPED.value})

# The process may have been killed while the API server was creating its Job.
APPEARS_SECONDS = 10.0
# For how long the API is waited for; after that, it is the next server's turn.
_PATIENCE_SECONDS = 3600.0


def stop_if_asked(*, db_url: str, job_id: str, namespace: str) -> None:
    """End the Job of a run whose process has vanished, if its record says so or is gone.

    Otherwise nobody has asked for its end: the process fell victim to something
    else, and the next server that looks finds the run, or its outcome.
    """
    try:
        job = Ledger(db_url).job(job_id)
    except SQLAlchemyError as error:
        _log.warning("Whether job %s was stopped is not known: %s", job_id, type(error).__name__)
        return
    if job is not None and job.status.value not in STOPPED:
        return
    try:
        end_job(ClusterClient(namespace), names.job_name(job_id))
    except BackendError as error:
        _log.warning("Job %s was stopped, but its pod runs on: %s", job_id, error)


def end_job(
    client: ClusterClient,
    name: str,
    *,
    patience: float = _PATIENCE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End a Job as a person's stop does, unless it has ended or is being ended.

    Args:
        client: of the Job's namespace.
        name: the Job's name.
        patience: seconds for which an API that is away is waited for.
        clock: seconds, of any origin.
        sleep: waits for seconds.

    Raises:
        ClusterError: the API was away for that long, or says no.
    """
    started = clock()
    backoff = Backoff(first=0.5, cap=15, random=random.random)
    while True:
        try:
            job = client.get_job(name)
            ended = objects.condition(job, "Complete", "Failed", "FailureTarget")
            if not ended and end_reason(job) is None:
                client.patch_job(name, manifests.end_patch("stopped"))
        except NotFound:
            if clock() - started > APPEARS_SECONDS:
                return
        except ClusterUnavailable:
            if clock() - started >= patience:
                raise
        else:
            return
        sleep(backoff.next())
