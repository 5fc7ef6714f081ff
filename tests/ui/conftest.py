"""Chromium, and servers whose cluster is away: the forms ask nothing of it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from local_lab.server import SCHEDULER_FLAG, LabServer, running
from ui.lab import NOTEBOOK, Form, Lab, chromium, opened

StartServer = Callable[..., LabServer]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as `make test-ui` found or installed it."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts servers for all tests, one for each set of flags."""
    started: dict[tuple[str, ...], LabServer] = {}
    with ExitStack() as servers:

        def start(*flags: str, mode: str = SCHEDULER_FLAG) -> LabServer:
            key = (mode, *flags)
            if key not in started:
                folder = tmp_path_factory.mktemp("server")
                started[key] = servers.enter_context(
                    running(
                        files(folder),
                        home=folder / "home",
                        environment=away(folder),
                        flags=flags,
                        mode=mode,
                    )
                )
            return started[key]

        yield start


def files(folder: Path) -> Path:
    """The folder of a file browser, with a notebook."""
    found = folder / "files"
    found.mkdir()
    (found / "notebook.ipynb").write_text(json.dumps(NOTEBOOK))
    return found


def away(folder: Path) -> dict[str, str]:
    """The environment of a server that has a bucket's name and no cluster."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    return found | {"S3_BUCKET": "files", "KUBECONFIG": str(folder / "no-kubeconfig")}


@pytest.fixture(scope="session")
def _tab(browser: Browser, start_server: StartServer) -> Iterator[Lab]:
    with opened(browser, start_server("--K8sConfig.allowed_secrets=api-*")) as found:
        yield found


@pytest.fixture
def lab(_tab: Lab) -> Iterator[Lab]:
    """JupyterLab with our scheduler, where jobs may name some Secrets: one tab for all tests."""
    yield _tab
    _tab.page.unroute_all()
    _tab.close_jobs()


@pytest.fixture
def form(lab: Lab) -> Form:
    """The form "Create job" of that, with its additional options shown."""
    return lab.open_form().expand()
