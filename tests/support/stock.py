"""A database of jupyter-scheduler with jobs in it, as its own scheduler leaves them."""

from pathlib import Path
from typing import Any

from jupyter_scheduler import orm
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.models import DescribeJob, Status
from jupyter_scheduler.orm import Job
from jupyter_scheduler.scheduler import Scheduler

from jupyter_scheduler_k8s.executors import K8sExecutionManager
from jupyter_scheduler_k8s.stock.ledger import Ledger

# Upstream's functions have no annotations.
_create_session: Any = orm.create_session
_create_tables: Any = orm.create_tables


class Database:
    """A new SQLite database in a folder, and the stock scheduler on it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scheduler.sqlite"
        self.url = f"sqlite:///{self.path}"
        _create_tables(self.url)
        self.ledger = Ledger(self.url)
        self.ledger.create_table()
        # Upstream's annotations name classes where it takes instances.
        environments: Any = StaticEnvironmentManager()
        self.scheduler = Scheduler(
            root_dir=str(folder), environments_manager=environments, db_url=self.url
        )
        self.scheduler.staging_path = str(folder / "staging")
        self.scheduler.execution_manager_class = K8sExecutionManager

    def add(self, **columns: Any) -> str:
        """Write down a job, as upstream does; its id."""
        given = {
            "name": "a job",
            "input_filename": "n.ipynb",
            "runtime_environment_name": "python3",
            "runtime_environment_parameters": {},
            "output_formats": ["ipynb"],
            **columns,
        }
        with _create_session(self.url)() as session:
            job = Job(**given)
            session.add(job)
            session.commit()
            return str(job.job_id)

    def begun(self, **columns: Any) -> str:
        """Write down a job that is on its way to a cluster; its id."""
        job_id = self.add(**columns)
        self.ledger.begin(job_id)
        self.ledger.place(job_id, "space", "files")
        return job_id

    def change(self, job_id: str, **columns: Any) -> None:
        """Change a record as upstream's pages do."""
        with _create_session(self.url)() as session:
            session.query(Job).filter(Job.job_id == job_id).update(columns)
            session.commit()

    def status(self, job_id: str, status: Status) -> None:
        """Change what a record says, as upstream's stop does."""
        self.change(job_id, status=status)

    def remove(self, job_id: str) -> None:
        """Delete a record as upstream's pages do."""
        with _create_session(self.url)() as session:
            session.query(Job).filter(Job.job_id == job_id).delete()
            session.commit()

    def drop(self) -> None:
        """Drop all records, as `--SchedulerApp.drop_tables` does."""
        _create_tables(self.url, drop_tables=True)

    def job(self, job_id: str) -> DescribeJob:
        """A record as upstream's pages show it."""
        return self.scheduler.get_job(job_id, False)

    def staging_paths(self, job_id: str) -> dict[str, str]:
        """Where upstream keeps a job's files; the folder is there."""
        paths = dict(self.scheduler.get_staging_paths(self.job(job_id)))
        Path(paths["input"]).parent.mkdir(parents=True, exist_ok=True)
        return paths
