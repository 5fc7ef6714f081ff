"""The stock scheduler with SQLite: its jobs run on the cluster, whatever happens to a process."""

import os
import secrets
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.cut_api import CutApi, cut_api
from cluster.support import Bucket, Kubectl, create, text_outputs, until, write
from local_lab.environment import cluster_environment
from local_lab.server import EXECUTION_MANAGER_FLAG, LabServer, start, stop

ENDED = ("COMPLETED", "FAILED", "STOPPED")


@dataclass
class Stock:
    """A server with the stock scheduler, behind an API that can be cut."""

    server: LabServer
    home: Path
    environment: dict[str, str]
    api: CutApi
    kubectl: Kubectl

    def restart(self) -> None:
        """End the server as an operator would, and start it again."""
        stop(self.server)
        self.server = start(
            self.server.root_dir,
            home=self.home,
            environment=self.environment,
            mode=EXECUTION_MANAGER_FLAG,
        )

    def job(self, job_id: str) -> Any:
        return self.server.request("GET", f"jobs/{job_id}")

    def ended(self, job_id: str, *, seconds: float = 120) -> Any:
        """The job, once it has ended."""

        def look() -> Any:
            job = self.job(job_id)
            return job if job["status"] in ENDED else None

        return until(look, seconds=seconds, what=f"the end of job {job_id}")

    def running(self, *job_ids: str) -> None:
        """Wait until the notebooks of these jobs run."""
        for job_id in job_ids:
            until(
                lambda job_id=job_id: any(  # type: ignore[misc]
                    status["name"] == "notebook" and "running" in status["state"]
                    for pod in self.kubectl.pods(job_id)
                    for status in pod["status"].get("containerStatuses", ())
                ),
                seconds=90,
                what=f"the notebook of job {job_id}",
            )

    def pod_is_gone(self, job_id: str, *, seconds: float) -> None:
        until(lambda: not self.kubectl.pods(job_id), seconds=seconds, what="the pod's end")

    def download(self, job_id: str, *names: str) -> dict[str, Path]:
        """The files of these kinds, once upstream's download has brought them all."""
        self.server.request("GET", f"jobs/{job_id}/download_files")

        def look() -> Any:
            found = {
                file["file_format"]: self.server.root_dir / file["file_path"]
                for file in self.job(job_id)["job_files"]
                if file["file_path"]
            }
            return found if set(names) <= set(found) else None

        found: dict[str, Path] = until(look, seconds=20, what=f"the files of {job_id}")
        return found

    def process(self, job_id: str) -> int:
        """The id of the process that stands for a job."""
        path = self.home / ".local/share/jupyter/scheduler.sqlite"
        with sqlite3.connect(path) as database:
            (pid,) = database.execute("select pid from jobs where job_id = ?", (job_id,)).fetchone()
        return int(pid)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, kubectl: Kubectl) -> Iterator[Stock]:
    folder = tmp_path_factory.mktemp("stock")
    root, home = folder / "files", folder / "home"
    root.mkdir()
    owner = f"test-{secrets.token_hex(5)}"
    environment = cluster_environment() | {"JUPYTERHUB_USER": owner}
    with cut_api(environment["KUBECONFIG"], folder) as (api, kubeconfig):
        environment["KUBECONFIG"] = kubeconfig
        server = start(root, home=home, environment=environment, mode=EXECUTION_MANAGER_FLAG)
        made = Stock(server, home, environment, api, kubectl)
        try:
            yield made
        finally:
            stop(made.server)
    kubectl.run(
        "delete", "jobs,secrets", "-l", f"jupyter-scheduler.io/owner={owner}", "--wait=false"
    )


@pytest.fixture(autouse=True)
def _log(stock: Stock, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if getattr(request.node, "failed", False):
        text = stock.server.log.read_text(errors="replace")
        request.node.add_report_section("teardown", "server", text[-20_000:])


@pytest.fixture(scope="module")
def orphan(stock: Stock) -> str:
    """A job whose process was killed while its notebook ran."""
    write(stock.server, "orphan.ipynb", "import time\ntime.sleep(3)", "print('alone')")
    job_id = create(stock.server, "orphan.ipynb")
    stock.running(job_id)
    os.kill(stock.process(job_id), signal.SIGKILL)
    return job_id


def test_runs_end_with_their_outputs_in_the_stock_pages(stock: Stock, orphan: str) -> None:
    server = stock.server
    (server.root_dir / "made").mkdir()
    (server.root_dir / "made" / "data.txt").write_text("42")
    write(
        server,
        "made/good.ipynb",
        "from pathlib import Path\nprint(int(Path('data.txt').read_text()) + shift)",
        "_ = Path('out.txt').write_text('made')",
    )
    write(server, "bad.ipynb", "print('first')", "1 / 0", "print('never')")
    good = create(
        server,
        "made/good.ipynb",
        output_formats=["ipynb", "html"],
        parameters={"shift": "1"},
        package_input_folder=True,
    )
    bad = create(server, "bad.ipynb", output_formats=["ipynb", "html"])

    assert stock.job(good)["status"] == "IN_PROGRESS"
    assert stock.ended(good)["status"] == "COMPLETED"
    failed = stock.ended(bad)
    assert (failed["status"], failed["status_message"]) == (
        "FAILED",
        "Cell 2 raised ZeroDivisionError: division by zero",
    )
    files = stock.download(good, "ipynb", "html", "input", "files")
    # The parameters are a cell of their own, in front.
    assert text_outputs(files["ipynb"].read_text()) == ["", "43\n", ""]
    assert (files["files"] / "out.txt").read_text() == "made"
    files = stock.download(bad, "ipynb", "html", "input")
    assert text_outputs(files["ipynb"].read_text()) == ["first\n", "", ""]
    found = kinds_of(stock.kubectl.job(good))
    assert found == ["files", "notebook"]


def kinds_of(job: Any) -> list[str]:
    return sorted(each["name"] for each in job["spec"]["template"]["spec"]["containers"])


def test_stop_and_delete_reach_the_cluster(stock: Stock, bucket: Bucket) -> None:
    write(stock.server, "long.ipynb", "print('before')", "import time\ntime.sleep(600)")
    stopped, deleted = create(stock.server, "long.ipynb"), create(stock.server, "long.ipynb")
    stock.running(stopped, deleted)
    until(
        lambda: any(key.endswith("output.ipynb") for key in bucket.keys(f"jobs/{stopped}/")),
        seconds=30,
        what="the first checkpoint",
    )

    stock.server.request("PATCH", f"jobs/{stopped}", {"status": "STOPPED"})
    stock.server.request("DELETE", f"jobs/{deleted}")

    stock.pod_is_gone(stopped, seconds=20)
    assert stock.job(stopped)["status"] == "STOPPED"
    selector = f"jupyter-scheduler.io/job-id={deleted}"
    until(
        lambda: not stock.kubectl.get("jobs", "-l", selector),
        seconds=60,
        what="the end of the deleted job's Job",
    )
    assert bucket.keys(f"jobs/{deleted}/") == []
    until(lambda: stock.job(stopped)["status_message"], seconds=60, what="what became of the run")
    files = stock.download(stopped, "ipynb")
    assert text_outputs(files["ipynb"].read_text()) == ["before\n", ""]
    assert stock.kubectl.job(stopped)["metadata"]["name"] == f"nb-job-{stopped}"


def test_an_api_that_is_away_loses_no_end_and_no_stop(stock: Stock) -> None:
    write(stock.server, "short.ipynb", "import time\ntime.sleep(2)", "print('through')")
    write(stock.server, "long.ipynb", "import time\ntime.sleep(600)")
    short, long = create(stock.server, "short.ipynb"), create(stock.server, "long.ipynb")
    stock.running(long)

    stock.api.cut()
    stock.server.request("PATCH", f"jobs/{long}", {"status": "STOPPED"})
    until(
        lambda: stock.kubectl.job(short)["status"].get("succeeded"),
        seconds=60,
        what="the end of the run, unseen",
    )
    assert stock.job(short)["status"] == "IN_PROGRESS"
    stock.api.restore()

    assert stock.ended(short, seconds=30)["status"] == "COMPLETED"
    stock.pod_is_gone(long, seconds=60)
    assert text_outputs(stock.download(short, "ipynb")["ipynb"].read_text())[-1] == "through\n"


def test_a_run_outlives_its_server(stock: Stock, orphan: str) -> None:
    write(stock.server, "over.ipynb", "import time\ntime.sleep(5)", "print('over')")
    job_id = create(stock.server, "over.ipynb")
    stock.running(job_id)

    stock.restart()

    for each, said in ((orphan, "alone\n"), (job_id, "over\n")):
        job = stock.ended(each, seconds=120)
        assert (job["status"], job["status_message"]) == ("COMPLETED", None)
        assert text_outputs(stock.download(each, "ipynb")["ipynb"].read_text())[-1] == said
