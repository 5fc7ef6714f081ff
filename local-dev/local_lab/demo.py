"""A notebook job from the REST API to its downloaded outputs, and a schedule, told as they go."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_lab.server import LabServer

_PATIENCE_SECONDS = 300
_ENDED = ("COMPLETED", "FAILED", "STOPPED")

_REPORT = {
    "input_uri": "bike-hire/weekly-report.ipynb",
    "runtime_environment_name": "python3",
    "output_formats": ["ipynb", "html"],
    "package_input_folder": True,
}


def run_demo(server: LabServer, environment: Mapping[str, str]) -> bool:
    """Run the example notebook and show what became of it.

    Args:
        server: a running server whose root folder holds `bike-hire`.
        environment: where the cluster is, for `kubectl`.

    Returns:
        Whether it completed and its outputs are there.
    """
    began = time.monotonic()
    job_id = server.request(
        "POST",
        "jobs",
        {
            **_REPORT,
            "name": "Bike hire, north",
            "parameters": {"region": '"north"', "weeks": "3"},
            "runtime_environment_parameters": {"k8s_cpu": "1", "k8s_memory": "512Mi"},
        },
    )["job_id"]
    created = time.monotonic()
    print(f"Created job {job_id}: its inputs are in S3, its Kubernetes Job exists.")

    job = _follow(server, job_id)
    ended = time.monotonic()
    if job["status"] != "COMPLETED":
        print(f"{job['status']}: {job.get('status_message')}", file=sys.stderr)
        return False

    server.request("GET", f"jobs/{job_id}/download_files")
    job = server.request("GET", f"jobs/{job_id}")
    downloaded = time.monotonic()

    print("\nDownloaded:")
    for file in job["job_files"]:
        if file["file_path"]:
            print(f"  {file['display_name']:<10} {server.root_dir / file['file_path']}")
    print("\nTime:")
    for phase, seconds in (
        ("create (POST)", created - began),
        ("run, until COMPLETED was seen", ended - created),
        ("download", downloaded - ended),
    ):
        print(f"  {seconds:6.2f} s  {phase}")
    print("\nThe record, as Kubernetes shows it:\n")
    print(_record(job_id, environment))
    return bool(job["downloaded"]) and _show_schedule(server, environment)


def _show_schedule(server: LabServer, environment: Mapping[str, str]) -> bool:
    """Put the report on a schedule, run it by hand, and pause it. Returns: whether that ran."""
    definition_id = server.request(
        "POST",
        "job_definitions",
        {
            **_REPORT,
            "name": "Bike hire, Mondays",
            "schedule": "0 6 * * MON",
            "timezone": "Europe/Berlin",
        },
    )["job_definition_id"]
    print(f"\nCreated the job definition {definition_id}: each Monday at 6, whoever is logged in.")
    run = server.request("POST", f"job_definitions/{definition_id}/jobs", {})["job_id"]
    print(f"Run by hand now, as the job {run}:")
    job = _follow(server, run)
    server.request("PATCH", f"job_definitions/{definition_id}", {"active": False})
    print("\nPaused, so that nothing runs when you have forgotten it. The schedule is a CronJob:\n")
    kubectl = ("kubectl", "--namespace", environment["K8S_NAMESPACE"])
    command = (*kubectl, "get", "cronjob", f"nb-jobdef-{definition_id}")
    print(f"$ {' '.join(command)}\n{_run(command, environment)}")
    return bool(job["status"] == "COMPLETED")


def _follow(server: LabServer, job_id: str) -> dict[str, Any]:
    began, shown = time.monotonic(), ""
    while True:
        job: dict[str, Any] = server.request("GET", f"jobs/{job_id}")
        line = " ".join(filter(None, (job["status"], job.get("status_message"))))
        if line != shown:
            print(f"  {time.monotonic() - began:5.1f} s  {line}", flush=True)
            shown = line
        if job["status"] in _ENDED:
            return job
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise RuntimeError(f"The job did not end within {_PATIENCE_SECONDS} seconds.")
        time.sleep(0.25)


def _record(job_id: str, environment: Mapping[str, str]) -> str:
    selector = f"jupyter-scheduler.io/job-id={job_id}"
    kubectl = ("kubectl", "--namespace", environment["K8S_NAMESPACE"], "get", "job", "-l", selector)
    table = _run(kubectl, environment)
    found = json.loads(_run((*kubectl, "-o", "json"), environment))["items"][0]
    asked = json.loads(found["metadata"]["annotations"]["jupyter-scheduler.io/job-data"])
    labels = "\n".join(f"  {key}: {value}" for key, value in found["metadata"]["labels"].items())
    return (
        f"$ {' '.join(kubectl)}\n{table}\nLabels:\n{labels}\n\n"
        f"Annotation jupyter-scheduler.io/job-data:\n{json.dumps(asked, indent=2)}"
    )


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    return subprocess.run(
        command, env=dict(environment), check=True, capture_output=True, text=True
    ).stdout


def example_folder() -> Path:
    """The folder with the example notebook and its data."""
    return Path(__file__).resolve().parents[2] / "examples" / "bike-hire"
