"""What the server extension does with the schedulers that it finds."""

import logging
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.executors import DefaultExecutionManager
from jupyter_scheduler.models import JobFeature
from traitlets.config import Config

from jupyter_scheduler_k8s import K8sExecutionManager, K8sScheduler, extension
from jupyter_scheduler_k8s.downloads import K8sJobFilesManager
from jupyter_scheduler_k8s.errors import ConfigurationError
from jupyter_scheduler_k8s.executors import FullModeExecutionManager
from support.stock import Database

KERNEL = '{"cells": [], "metadata": {"kernelspec": {"name": "python3"}}}'


class Server:
    """A server, as the extension sees it."""

    def __init__(self, scheduler: Any, settings: dict[str, Any] | None = None) -> None:
        self.config = Config(settings or {})
        self.log = logging.getLogger("server")
        self.web_app = self
        self.settings: dict[str, Any] = {
            "scheduler": scheduler,
            "job_files_manager": "upstream's",
            "environments_manager": "upstream's",
            "base_url": "/base/",
        }
        self.handlers: list[Any] = []
        self.io_loop = self

    def add_handlers(self, _host: str, handlers: list[Any]) -> None:
        """Note the handlers, as Tornado does."""
        self.handlers += handlers

    def call_later(self, *_: Any) -> None:
        """Nothing is loaded later."""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("settings", "trouble"):
        monkeypatch.setattr(K8sExecutionManager, name, getattr(K8sExecutionManager, name))
    monkeypatch.setenv("S3_BUCKET", "files")
    # No threads, and nothing at the end of this process.
    monkeypatch.setattr("jupyter_scheduler_k8s.stock.caretaker.Caretaker.start", lambda _: None)


@pytest.fixture
def stock(tmp_path: Path) -> Any:
    return Database(tmp_path).scheduler


def features(manager: Any) -> set[JobFeature]:
    return {name for name, is_there in manager.supported_features(manager).items() if is_there}


def test_the_jobs_of_the_stock_scheduler_get_the_servers_settings(
    stock: Any, tmp_path: Path
) -> None:
    settings = {"K8sConfig": {"namespace": "elsewhere", "run_as_user": None}}
    stock.config = Config(settings)
    extension.load(Server(stock, settings))
    database = Database(tmp_path)
    job_id = database.add()

    manager = stock.execution_manager_class(
        job_id=job_id, root_dir="/", db_url=database.url, staging_paths={}
    )

    assert manager.settings["namespace"] == "elsewhere"
    assert manager.settings["run_as_user"] is None
    assert manager.settings["s3_bucket"] == "files"


def test_a_wrong_setting_is_logged_and_refuses_jobs(
    stock: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("S3_BUCKET", "")
    server = Server(stock)
    extension.load(server)
    manager = stock.execution_manager_class

    assert "set the environment variable S3_BUCKET" in caplog.text
    with pytest.raises(ConfigurationError, match="S3_BUCKET"):
        manager.validate(manager, str(tmp_path / "n.ipynb"))


def test_a_notebook_that_can_run_is_valid(stock: Any, tmp_path: Path) -> None:
    extension.load(Server(stock))
    manager = stock.execution_manager_class
    (tmp_path / "n.ipynb").write_text(KERNEL)

    assert manager.validate(manager, str(tmp_path / "n.ipynb"))


def test_a_stock_server_keeps_its_download(stock: Any) -> None:
    server = Server(stock)
    extension.load(server)
    assert server.settings["job_files_manager"] == "upstream's"


def test_the_pages_of_a_server_of_ours_offer_the_options(stock: Any) -> None:
    settings = {"K8sConfig": {"max_timeout_seconds": 60}}
    stock.config = Config(settings)
    server = Server(stock, settings)
    server.settings["page_config_data"] = {"others": 1}
    extension.load(server)

    pages = server.settings["page_config_data"]
    assert pages["others"] == 1
    assert pages["jupyterSchedulerK8s"]["max_timeout_seconds"] == 60


def test_a_foreign_scheduler_is_left_alone(stock: Any, caplog: pytest.LogCaptureFixture) -> None:
    stock.execution_manager_class = DefaultExecutionManager
    server = Server(stock)

    extension.load(server)

    assert caplog.messages == []
    assert server.settings["job_files_manager"] == "upstream's"
    assert "page_config_data" not in server.settings


def test_a_foreign_scheduler_with_settings_for_ours_is_named(
    stock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stock.execution_manager_class = DefaultExecutionManager
    written = {"Scheduler": {"scheduler_class": "jupyter_scheduler_k8s.K8sScheduler"}}

    extension.load(Server(stock, written))

    (said,) = caplog.messages
    assert "write SchedulerApp.scheduler_class=jupyter_scheduler_k8s.K8sScheduler" in said


def test_a_server_without_a_scheduler_says_why(caplog: pytest.LogCaptureFixture) -> None:
    extension.load(Server(None, {"SchedulerApp": {"db_url": "k8s://x"}}))

    (said,) = caplog.messages
    assert "remove SchedulerApp.db_url" in said


async def test_a_misplaced_setting_is_said_by_our_pages(tmp_path: Path) -> None:
    written = {"SchedulerApp": {"execution_manager_class": "jupyter_scheduler_k8s.X"}}
    environments: Any = StaticEnvironmentManager()
    scheduler = K8sScheduler(
        root_dir=str(tmp_path), environments_manager=environments, config=Config(written)
    )

    with pytest.raises(ConfigurationError, match=r"write Scheduler\.execution_manager_class"):
        await scheduler.get_job("a-1")


def test_each_mode_says_what_it_can_do(stock: Any, tmp_path: Path) -> None:
    environments: Any = StaticEnvironmentManager()
    scheduler = K8sScheduler(
        root_dir=str(tmp_path),
        environments_manager=environments,
        config=Config({"Scheduler": {"execution_manager_class": K8sExecutionManager}}),
    )
    server = Server(scheduler)

    extension.load(server)

    assert scheduler.execution_manager_class is FullModeExecutionManager
    assert isinstance(server.settings["job_files_manager"], K8sJobFilesManager)
    said = features(scheduler.execution_manager_class)
    assert said == features(stock.execution_manager_class)
    assert {JobFeature.stop_job, JobFeature.delete_job, JobFeature.job_definition} < said


def test_the_form_of_both_modes_offers_what_the_administrator_lists(
    stock: Any, tmp_path: Path
) -> None:
    environments: Any = StaticEnvironmentManager()
    written = {
        "K8sConfig": {
            "environments": [{"name": "torch", "image": "team/torch:2"}],
            "profiles": {"large": {"cpu": 8}},
        }
    }
    stock.config = Config(written)
    full = K8sScheduler(
        root_dir=str(tmp_path), environments_manager=environments, config=Config(written)
    )
    for scheduler in (stock, full):
        server = Server(scheduler, written)

        extension.load(server)

        manager = server.settings["environments_manager"]
        assert scheduler.environments_manager is manager
        (found,) = manager.list_environments()
        assert (found.name, found.compute_types) == ("torch", ["large"])
        path, _, known = server.handlers[0]
        assert path == "/base/jupyter_scheduler_k8s/form"
        assert known["nodes"] is not None
        # A log is where our own scheduler can find it.
        assert len(server.handlers) == (2 if scheduler is full else 1)


def test_somebodys_own_environment_manager_stays(stock: Any) -> None:
    written = {"SchedulerApp": {"environment_manager_class": "their.Manager"}}
    own = stock.environments_manager
    server = Server(stock, written)

    extension.load(server)

    assert server.settings["environments_manager"] == "upstream's"
    assert stock.environments_manager is own


def test_a_wrong_list_is_logged_and_told_to_the_form(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environments: Any = StaticEnvironmentManager()
    scheduler = K8sScheduler(
        root_dir=str(tmp_path),
        environments_manager=environments,
        config=Config({"K8sConfig": {"environments": [{"name": "torch"}]}}),
    )
    server = Server(scheduler)

    extension.load(server)

    sentence = "K8sConfig.environments[0].image must be a text, and not be empty."
    assert sentence in caplog.text
    ((_, _, known),) = server.handlers
    assert known == {"nodes": None, "trouble": sentence}
