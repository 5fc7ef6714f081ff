"""What a server with the stock scheduler does for its jobs on Kubernetes, in one thread.

Upstream's stop and delete know nothing of a cluster, and upstream forgets a job
whose process died. So the database is looked at now and then, and where somebody
is needed, a process is started: the server itself asks nothing of the cluster.
"""

import atexit
import multiprocessing

# Its own handler of the server's end, which waits for all children, is registered
# with its import: one that comes later runs earlier.
import multiprocessing.util
import threading
import time
from collections.abc import Callable
from logging import Logger
from multiprocessing.process import BaseProcess
from typing import Any

from jupyter_scheduler.models import Status
from jupyter_scheduler.scheduler import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import ConfigurationError
from jupyter_scheduler_k8s.stock.claim import Claim, staging_area
from jupyter_scheduler_k8s.stock.ledger import Ledger, OpenRun
from jupyter_scheduler_k8s.stock.stopping import STOPPED
from jupyter_scheduler_k8s.stock.sweep import Task, sweep

# A deleted job's Job must be gone within a minute. A look is one query.
_LOOK_SECONDS = 15.0
# Where the last sweep left something, the next ones come more rarely.
_LONGEST_SECONDS = 240.0

# A process that has just been started has claimed nothing yet.
_BIRTH_SECONDS = 60.0

_spawn = multiprocessing.get_context("spawn")


class Caretaker:
    """Looks after the runs of one server's database that nobody else looks after."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        config: K8sConfig,
        log: Logger,
        make_process: Callable[..., BaseProcess] = _spawn.Process,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            scheduler: the server's, whose `execution_manager_class` is ours.
            config: the server's settings.
            log: where what can't be done is said.
            make_process: `multiprocessing.Process`, which must not fork.
            clock: seconds since the epoch.
        """
        self._make_process = make_process
        self._clock = clock
        self._scheduler = scheduler
        self._config = config
        self._log = log
        self._ledger = Ledger(scheduler.db_url)
        self._stopping = threading.Event()
        self._sweeping: BaseProcess | None = None
        self._pause = _LOOK_SECONDS
        self._elsewhere: set[str] = set()
        self._thread = threading.Thread(target=self._main, name="caretaker", daemon=True)

    def start(self) -> None:
        """Start the thread. At the server's end, its jobs' processes are ended, too."""
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread, and the jobs' processes: the server would wait for the ends of all runs.

        The runs go on, and the next server looks after them.
        """
        self._stopping.set()
        children = {child.pid: child for child in multiprocessing.active_children() if child.pid}
        try:
            ours = self._ledger.pids(children)
        except SQLAlchemyError:
            return
        for pid in ours:
            children[pid].kill()

    def _main(self) -> None:
        while not self._stopping.wait(self._pause):
            try:
                self.look()
            except SQLAlchemyError as error:
                self._log.warning(
                    "jupyter-scheduler's database can't be read (%s): deleted jobs may run on.",
                    type(error).__name__,
                )
            # The next look may go better, and nobody else would look.
            except Exception:  # noqa: BLE001
                self._log.exception("The jobs on Kubernetes could not be looked after.")

    def look(self) -> None:
        """Start what the database's runs need."""
        if self._sweeping is not None and not self._sweeping.is_alive():
            failed = self._sweeping.exitcode != 0
            self._pause = min(self._pause * 2, _LONGEST_SECONDS) if failed else _LOOK_SECONDS
            self._sweeping = None
        tasks = []
        for run in self._ledger.open_runs():
            if not run.is_at(self._config.namespace, self._config.s3_bucket):
                self._leave(run)
            elif run.status is None or run.status in STOPPED:
                tasks.append(self._task(run))
            elif self._is_alone(run):
                if run.status == Status.IN_PROGRESS.value:
                    self._take_over(run)
                else:
                    tasks.append(self._task(run))
        if tasks and self._sweeping is None:
            self._sweeping = self._make_process(
                target=sweep,
                args=(tasks,),
                kwargs={"db_url": self._scheduler.db_url, "settings": self._config.effective()},
                name="sweep",
                daemon=True,
            )
            self._sweeping.start()

    def _task(self, run: OpenRun) -> Task:
        return Task(run.job_id, None if run.status is None else self._staging_paths(run))

    def _staging_paths(self, run: OpenRun) -> dict[str, str]:
        job = self._ledger.job(run.job_id)
        return {} if job is None else dict(self._scheduler.get_staging_paths(job))

    def _is_alone(self, run: OpenRun) -> bool:
        """Whether the process of a run is dead, wherever it ran."""
        age = self._clock() - (run.create_time or 0) / 1000
        if run.start_time is None and age < _BIRTH_SECONDS:
            return False
        paths = self._staging_paths(run)
        try:
            return (
                "input" in paths
                and Claim(staging_area(run.job_id, paths["input"]), run.job_id).is_free()
            )
        except ConfigurationError:
            return False

    def _take_over(self, run: OpenRun) -> None:
        make: Any = self._scheduler.execution_manager_class
        manager = make(
            job_id=run.job_id,
            staging_paths=self._staging_paths(run),
            root_dir=self._scheduler.root_dir,
            db_url=self._scheduler.db_url,
        )
        manager.takes_over = True
        self._log.info("The process of job %s has ended; another one takes over.", run.job_id)
        self._make_process(target=manager.process).start()

    def _leave(self, run: OpenRun) -> None:
        if run.job_id not in self._elsewhere:
            self._elsewhere.add(run.job_id)
            self._log.warning(
                "Job %s ran in the namespace %s with the bucket %s; a server with these settings"
                " has to bring it to its end.",
                run.job_id,
                run.namespace,
                run.bucket,
            )
