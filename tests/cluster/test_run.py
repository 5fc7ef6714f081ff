"""A notebook from JupyterLab's REST API to its downloaded outputs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    notebook,
    text_outputs,
    until,
    write,
)
from local_lab.demo import example_folder
from local_lab.server import LabServer, RequestFailed

RunJob = Callable[..., dict[str, Any]]


def test_parameters_formats_and_the_record(
    server: LabServer, run_job: RunJob, kubectl: Kubectl, bucket: Bucket
) -> None:
    write(server, "sums/Übersicht #1.ipynb", "x = 1", "print(x * 2, greeting)")

    job = run_job(
        server,
        "sums/Übersicht #1.ipynb",
        name="Sums",
        output_formats=["ipynb", "html", "markdown", "script"],
        parameters={"x": "21", "greeting": '"grüß dich"'},
        tags=["weekly"],
        runtime_environment_parameters={"k8s_cpu": "250m", "k8s_memory": "300Mi"},
    )
    files = download(server, job["job_id"])

    assert job["status"] == "COMPLETED", job["status_message"]
    assert job["start_time"] >= job["create_time"]
    assert job["end_time"] >= job["start_time"]
    # Injected before the first cell, which then has the last word.
    assert text_outputs(files["ipynb"].read_text())[-1] == "2 grüß dich\n"
    assert set(files) == {"ipynb", "html", "markdown", "script", "input"}
    assert "grüß dich" in files["html"].read_text()
    assert files["ipynb"].name.startswith("Übersicht #1-")
    assert files["input"].name == "Übersicht #1.ipynb"

    stored = bucket.keys(f"jobs/{job['job_id']}/")
    outputs = f"jobs/{job['job_id']}/outputs/"
    assert {f"{outputs}output.{name}" for name in ("ipynb", "html", "markdown", "script")} < set(
        stored
    )
    assert bucket.read(outputs + "output.html") == files["html"].read_bytes()

    record = kubectl.job(job["job_id"])
    asked = json.loads(record["metadata"]["annotations"]["jupyter-scheduler.io/job-data"])
    assert record["metadata"]["name"] == f"nb-job-{job['job_id']}"
    assert (asked["name"], asked["tags"]) == ("Sums", ["weekly"])
    assert asked["parameters"] == {"x": "21", "greeting": '"grüß dich"'}
    (pod,) = kubectl.pods(job["job_id"])
    stated = {container["name"]: container["resources"] for container in pod["spec"]["containers"]}
    assert stated["notebook"] == {
        "requests": {"cpu": "250m", "memory": "300Mi"},
        "limits": {"cpu": "250m", "memory": "300Mi"},
    }


def test_a_packaged_folder_comes_back_with_what_the_notebook_made(
    server: LabServer, run_job: RunJob
) -> None:
    folder = server.root_dir / "pack"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "data" / "deep" / "it's 100% «fine».txt").write_text("read me")
    script = folder / "tool.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    write(
        server,
        "pack/work.ipynb",
        "from pathlib import Path\nimport subprocess\n"
        "text = next(Path('data/deep').iterdir()).read_text()\n"
        "print(text, subprocess.check_output('./tool.sh', text=True))",
        "Path('empty/made.txt').write_text('made')\n"
        "Path('out').mkdir()\nPath('out/a b.csv').write_text('1,2')\n"
        "Path('data/deep/it\\'s 100% «fine».txt').write_text('changed')",
    )

    job = run_job(server, "pack/work.ipynb", package_input_folder=True)
    files = download(server, job["job_id"])

    assert job["status"] == "COMPLETED", job["status_message"]
    target = files["files"]
    assert text_outputs(files["ipynb"].read_text())[0] == "read me ran\n\n"
    assert (target / "empty" / "made.txt").read_text() == "made"
    assert (target / "out" / "a b.csv").read_text() == "1,2"
    assert (target / "data" / "deep" / "it's 100% «fine».txt").read_text() == "changed"
    assert (target / "tool.sh").read_text() == script.read_text()


def test_a_thousand_files_go_there_and_back(server: LabServer, run_job: RunJob) -> None:
    folder = server.root_dir / "many"
    for number in range(1000):
        path = folder / f"part-{number % 10}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    write(
        server,
        "many/sum.ipynb",
        "from pathlib import Path\nprint(sum(int(p.read_text()) for p in Path().rglob('*.txt')))",
    )

    job = run_job(server, "many/sum.ipynb", package_input_folder=True)
    files = download(server, job["job_id"])

    assert text_outputs(files["ipynb"].read_text()) == [f"{sum(range(1000))}\n"]
    assert len(list(files["files"].rglob("*.txt"))) == 1000


def test_a_failing_cell_fails_the_job_and_keeps_what_came_before(
    server: LabServer, run_job: RunJob
) -> None:
    write(
        server,
        "fails.ipynb",
        "print('first')",
        "prices = {'apple': 3}\nprices['pear']",
        "print('never')",
    )

    job = run_job(server, "fails.ipynb", output_formats=["ipynb", "html"])
    files = download(server, job["job_id"])

    assert job["status"] == "FAILED"
    assert job["status_message"] == "Cell 2 raised KeyError: 'pear'"
    assert text_outputs(files["ipynb"].read_text()) == ["first\n", "", ""]
    assert "KeyError" in files["html"].read_text()


def test_memory_used_up_is_said_with_the_limit_and_keeps_what_came_before(
    server: LabServer, run_job: RunJob
) -> None:
    write(
        server,
        "hungry.ipynb",
        "print('first')",
        "print('second')",
        "hoard = []\nwhile True:\n    hoard.append(bytearray(8 * 1024 * 1024))",
    )

    job = run_job(
        server,
        "hungry.ipynb",
        runtime_environment_parameters={"k8s_memory": "300Mi"},
    )
    files = download(server, job["job_id"])

    assert job["status"] == "FAILED"
    assert "ran out of memory" in job["status_message"]
    assert "300Mi" in job["status_message"]
    assert text_outputs(files["ipynb"].read_text())[:2] == ["first\n", "second\n"]


def test_a_stopped_job_keeps_what_it_had(
    server: LabServer, kubectl: Kubectl, bucket: Bucket
) -> None:
    write(server, "long.ipynb", "print('first')", "import time\ntime.sleep(600)")
    job_id = create(server, "long.ipynb")
    until(lambda: _cells_finished(kubectl, job_id) == 1, seconds=60, what="the first cell's end")

    server.request("PATCH", f"jobs/{job_id}", {"status": "STOPPED"})
    assert server.request("GET", f"jobs/{job_id}")["status"] == "STOPPING"
    until(lambda: not _runs(kubectl, job_id), seconds=60, what="the pod's end")
    job = ended(server, job_id, seconds=2)

    assert job["status"] == "STOPPED"
    assert "stopped" in job["status_message"]
    files = download(server, job_id)
    assert text_outputs(files["ipynb"].read_text()) == ["first\n", ""]

    server.request("DELETE", f"jobs/{job_id}")
    assert bucket.keys(f"jobs/{job_id}/") == []
    with pytest.raises(RequestFailed, match=f"There is no job {job_id}"):
        server.request("GET", f"jobs/{job_id}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"input_uri": "../outside.ipynb"}, "outside"),
        ({"input_uri": "missing.ipynb"}, "missing.ipynb"),
        ({"input_uri": "good.ipynb", "input_filename": "../../x.ipynb"}, "would leave its folder"),
        ({"input_uri": "leads-out.ipynb"}, "leads-out.ipynb"),
        ({"input_uri": "broken.ipynb"}, "broken.ipynb is not a notebook"),
        ({"input_uri": "no-kernel.ipynb"}, "no-kernel.ipynb names no kernel"),
        ({"input_uri": "good.ipynb", "output_formats": ["docx"]}, "'docx' is not an output format"),
        ({"input_uri": "good.ipynb", "output_formats": ["pdf"]}, "ask for html"),
        (
            {"input_uri": "good.ipynb", "runtime_environment_parameters": {"k8s_gpu": "-1"}},
            "k8s_gpu must be a whole number",
        ),
        (
            {"input_uri": "good.ipynb", "runtime_environment_parameters": {"k8s_cpu": "abc"}},
            "The job asked for k8s_cpu 'abc'.",
        ),
        ({"input_uri": ""}, "does not exist"),
        ({"input_uri": "folder"}, "folder is a folder"),
        ({"input_uri": "good.ipynb", "parameters": {"x": "y" * 300_000}}, "too large"),
    ],
)
def test_what_is_refused_leaves_nothing(
    server: LabServer,
    bucket: Bucket,
    kubectl: Kubectl,
    owner: str,
    tmp_path: Path,
    asked: dict[str, Any],
    said: str,
) -> None:
    write(server, "good.ipynb", "1")
    (tmp_path / "outside.ipynb").write_text(notebook("1"))
    (server.root_dir / "leads-out.ipynb").symlink_to(tmp_path / "outside.ipynb")
    (server.root_dir / "broken.ipynb").write_text('{"cells": [')
    (server.root_dir / "no-kernel.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    (server.root_dir / "folder").mkdir()
    before = bucket.keys()

    with pytest.raises(RequestFailed) as refusal:
        create(server, str(asked["input_uri"]), **asked)

    assert said in refusal.value.message
    assert refusal.value.message.count("\n") == 0
    assert bucket.keys() == before
    assert kubectl.get("jobs", "-l", f"jupyter-scheduler.io/owner={owner}") == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"sort_by": "asc(nope)"}, "Jobs can't be sorted by 'nope'."),
        ({"next_token": "abc"}, "'abc' is no next_token of a list of jobs."),
    ],
)
def test_a_list_that_is_none_says_so(server: LabServer, query: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestFailed) as refusal:
        server.request("GET", "jobs", **query)
    assert refusal.value.message == said


def test_the_example_is_a_report(server: LabServer, run_job: RunJob) -> None:
    shutil.copytree(example_folder(), server.root_dir / "bike-hire")

    job = run_job(
        server,
        "bike-hire/weekly-report.ipynb",
        package_input_folder=True,
        parameters={"region": '"west"'},
    )
    files = download(server, job["job_id"])

    assert job["status"] == "COMPLETED", job["status_message"]
    report = (files["files"] / "report" / "west.csv").read_text()
    assert report.startswith("station,hires_per_week,change_percent\n")
    assert {line.split(",")[0] for line in report.splitlines()[1:]} == {
        "Botanical Garden",
        "Stadium",
    }


def _cells_finished(kubectl: Kubectl, job_id: str) -> int:
    """How many cells the pod of a job says that it has finished."""
    for pod in kubectl.pods(job_id):
        name = pod["metadata"]["name"]
        state = kubectl.run(
            "exec", name, "-c", "notebook", "--", "cat", "/job/control/state.json", check=False
        )
        if state:
            return int(json.loads(state)["cells"]["finished"])
    return 0


def _runs(kubectl: Kubectl, job_id: str) -> bool:
    """Whether a container of a job's pod is still running."""
    return any(
        "terminated" not in container["state"]
        for pod in kubectl.pods(job_id)
        for container in pod["status"]["containerStatuses"]
    )
