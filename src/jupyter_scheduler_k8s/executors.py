"""Execution managers: what jupyter-scheduler's own scheduler runs, and what either asks of one.

`K8sExecutionManager` runs the jobs of the stock scheduler; upstream makes one in
the server for each job, and runs its `process` in a process of its own.
`FullModeExecutionManager` only answers for `K8sScheduler`, which runs jobs itself.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from jupyter_scheduler.executors import ExecutionManager
from jupyter_scheduler.models import JobFeature, Status
from jupyter_scheduler.utils import get_utc_timestamp
from traitlets import TraitError

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.notebooks import check_notebook
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.stock.claim import Claim, staging_area
from jupyter_scheduler_k8s.stock.guarding import Guard
from jupyter_scheduler_k8s.stock.ledger import Ledger
from jupyter_scheduler_k8s.stock.run import StockRun, backend_for, record_of

_log = logging.getLogger(__name__)

# A feature is true only where upstream's own field or action changes what happens.
_SUPPORTED = frozenset(
    {
        JobFeature.job_name,
        JobFeature.parameters,
        JobFeature.output_formats,
        JobFeature.job_definition,
        JobFeature.idempotency_token,
        JobFeature.tags,
        JobFeature.stop_job,
        JobFeature.delete_job,
    }
)


class RunEnded(BackendError):
    """A run has ended, but not well; the text is why."""


class _KubernetesExecutionManager(ExecutionManager):
    """What the two modes have in common."""

    # Upstream calls these two on the class, with the class as an argument.
    def supported_features(cls) -> dict[JobFeature, bool]:  # noqa: N805
        """Which of jupyter-scheduler's features change what happens here."""
        return {feature: feature in _SUPPORTED for feature in JobFeature}

    def validate(cls, input_path: str) -> bool:  # noqa: N805
        """Whether the notebook could run. Blocking: it reads the file."""
        try:
            path = Path(input_path)
            check_notebook(path.name, path.read_bytes())
        except (BackendError, OSError):
            return False
        return True


class FullModeExecutionManager(_KubernetesExecutionManager):
    """Says what jobs of `K8sScheduler` can do, which runs them without its help."""

    def execute(self) -> None:
        """Refused: a scheduler that starts a process for each job needs another class.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "FullModeExecutionManager runs nothing: set Scheduler.execution_manager_class to"
            " jupyter_scheduler_k8s.K8sExecutionManager."
        )


class K8sExecutionManager(_KubernetesExecutionManager):
    """Runs the jobs of jupyter-scheduler's own scheduler as Kubernetes Jobs."""

    # What the server extension knows and a process of a job doesn't: the values of
    # the settings, and why they are of no use.
    settings: Mapping[str, Any] = {}
    trouble: str = ""

    # Whether an earlier process of this job has died.
    takes_over = False

    @classmethod
    def configure(cls, settings: Mapping[str, Any], *, trouble: str = "") -> None:
        """Take the settings of a server, for all jobs that it creates from now on.

        Without it, as where the server extension is off, environment variables
        and defaults apply.
        """
        cls.settings, cls.trouble = dict(settings), trouble

    def __init__(
        self, job_id: str, root_dir: str, db_url: str, staging_paths: dict[str, str]
    ) -> None:
        """Made in the server, for a job that upstream has just written down.

        Upstream's record says STOPPED until the job's process has loaded all that it
        needs; so it is told here what the job is, and can be stopped at once.
        """
        super().__init__(job_id, root_dir, db_url, staging_paths)
        Ledger(db_url).begin(job_id)
        # An attribute of the instance travels to the job's process with it.
        self.settings = type(self).settings
        self._outcome: JobRecord | None = None
        self._made: list[str] = []
        self._run: StockRun | None = None
        self._guard: Guard | None = None
        self._claim: Claim | None = None

    def validate(cls, input_path: str) -> bool:  # noqa: N805
        """True, or an exception whose text upstream's handler shows. Blocking.

        Raises:
            ConfigurationError: a setting of the server is wrong.
            BackendError: the notebook can't run.
        """
        if cls.trouble:
            raise ConfigurationError(cls.trouble)
        path = Path(input_path)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise BackendError(f"{path.name} can't be read: {error.strerror}.") from None
        check_notebook(path.name, text)
        return True

    # Everything below happens in the job's process.

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.db_url)

    def before_start(self) -> None:
        """Claim the run."""
        # Of a terminal's Ctrl-C, the server decides what becomes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            claim = Claim(staging_area(self.job_id, self.staging_paths["input"]), self.job_id)
            if not claim.take(wait=not self.takes_over):
                # Another server was faster.
                sys.exit(0)
            self._claim = claim
        except (OSError, ConfigurationError) as error:
            _log.warning("Nobody will take over job %s, should this end: %s", self.job_id, error)
        if not self.takes_over:
            record = self._ledger.job(self.job_id)
            if record is None or record.status is not Status.IN_PROGRESS:
                # It was stopped, deleted or given up before this process was ready.
                sys.exit(0)
        now = None if self.takes_over else get_utc_timestamp()
        self._ledger.stand_for(self.job_id, os.getpid(), start_time=now)

    def execute(self) -> None:
        """Run the job's notebook in Kubernetes, and bring its outputs to the staging paths.

        Raises:
            RunEnded: the run has ended, but not well.
            BackendError: it could not run.
        """
        config = _settings(self.settings)
        staging_area(self.job_id, self.staging_paths["input"])
        self._run = StockRun(
            record_of(self.model, config.owner),
            staging_paths=self.staging_paths,
            backend=backend_for(self.job_id, config=config, log=_log),
            told=self._say,
        )
        self._guard = Guard(db_url=self.db_url, job_id=self.job_id, namespace=config.namespace)
        if self.takes_over:
            self._run.attach()
        else:
            self._ledger.place(self.job_id, config.namespace, config.s3_bucket)
            self._run.start()
        self._outcome = self._run.wait()
        self._made = self._run.fetch()
        if self._outcome.status != Status.COMPLETED.value:
            raise RunEnded(self._outcome.status_message or "The run failed.")

    def on_complete(self) -> None:
        """Write that the run has completed, and what it has to say."""
        assert self._outcome is not None
        self._end(Status.COMPLETED, self._outcome.status_message, settled=True)

    def on_failure(self, e: Exception) -> None:
        """Write what became of the run, and why."""
        if not isinstance(e, BackendError):
            traceback.print_exc()
            message = f"The job's process failed ({type(e).__name__}); see the server's log."
        else:
            message = str(e)
        status = Status(self._outcome.status) if self._outcome else Status.FAILED
        if self._outcome and not isinstance(e, RunEnded):
            # It ended, and its outputs are in S3: whoever looks after it next brings them.
            message = (
                f"{self._outcome.status_message or ''} The outputs are not here yet: {message}"
            )
        settled = isinstance(e, RunEnded) or not (
            self._outcome or (self._run and self._run.is_uncertain)
        )
        self._end(status, message.strip(), settled=settled)

    def _end(self, status: Status, message: str | None, *, settled: bool) -> None:
        ended = self._outcome.end_time if self._outcome else None
        self._ledger.end(
            self.job_id,
            settled=settled,
            made=self._made,
            status=status,
            status_message=message,
            end_time=ended or get_utc_timestamp(),
            **({"start_time": self._outcome.start_time} if self._outcome else {}),
        )
        if self._guard:
            self._guard.dismiss()
        if self._claim:
            self._claim.release()

    def _say(self, message: str | None) -> None:
        self._ledger.say(self.job_id, message)


def _settings(values: Mapping[str, Any]) -> K8sConfig:
    try:
        return K8sConfig(**values)
    except TraitError as error:
        raise ConfigurationError(f"A setting is wrong: {error}") from error
