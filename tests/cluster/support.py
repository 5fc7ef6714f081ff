"""What the cluster tests look at the cluster with: kubectl, and an S3 client that isn't ours."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import minio

from local_lab.server import LabServer

T = TypeVar("T")

ENDED = ("COMPLETED", "FAILED", "STOPPED")


def until(look: Callable[[], T], *, seconds: float, what: str) -> T:
    """The first truthy answer of `look`.

    Raises:
        AssertionError: there is none within `seconds`; the text says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}; the last look: {found!r}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl` in one namespace, with the identity that `environment` gives it."""

    environment: Mapping[str, str]
    namespace: str

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """The output of one command.

        Raises:
            AssertionError: it failed; the text is what it said.
        """
        done = subprocess.run(
            ("kubectl", "--namespace", self.namespace, *arguments),
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """An object, or the objects of a list, as Kubernetes' JSON."""
        found = json.loads(self.run("get", *arguments, "-o", "json"))
        return found["items"] if found["kind"].endswith("List") else found

    def apply(self, thing: Mapping[str, Any]) -> None:
        """Create or change an object."""
        self.run("apply", "-f", "-", stdin=json.dumps(thing))

    def job(self, job_id: str) -> Any:
        """The Job that is the record `job_id`."""
        (found,) = self.get("jobs", "-l", f"jupyter-scheduler.io/job-id={job_id}")
        return found

    def pods(self, job_id: str) -> Any:
        """The pods of the record `job_id`."""
        return self.get("pods", "-l", f"jupyter-scheduler.io/job-id={job_id}")


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket, through MinIO's client: another one than the product's."""

    client: minio.Minio
    name: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Bucket":
        """The bucket of the local cluster."""
        endpoint = urlsplit(environment["S3_ENDPOINT_URL"])
        client = minio.Minio(
            endpoint.netloc,
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            secure=endpoint.scheme == "https",
            region=environment.get("AWS_REGION", "us-east-1"),
        )
        return cls(client, environment["S3_BUCKET"])

    def keys(self, prefix: str = "") -> list[str]:
        """All keys below a prefix, sorted."""
        found = self.client.list_objects(self.name, prefix=prefix, recursive=True)
        return sorted(str(thing.object_name) for thing in found)

    def read(self, key: str) -> bytes:
        """The content of one object."""
        answer = self.client.get_object(self.name, key)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()


def write(server: LabServer, path: str, *sources: str, **options: Any) -> str:
    """Put a notebook into the server's files; its path."""
    target = server.root_dir / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(notebook(*sources, **options))
    return path


def download(server: LabServer, job_id: str) -> dict[str, Path]:
    """Download a job's files through REST; where each is, by format."""
    server.request("GET", f"jobs/{job_id}/download_files")
    files = server.request("GET", f"jobs/{job_id}")["job_files"]
    return {
        file["file_format"]: server.root_dir / file["file_path"]
        for file in files
        if file["file_path"]
    }


def create(server: LabServer, path: str, **asked: Any) -> str:
    """Create a job through REST; its id."""
    body = {
        "name": path,
        "input_uri": path,
        "runtime_environment_name": "python3",
        "output_formats": ["ipynb"],
        **asked,
    }
    return str(server.request("POST", "jobs", body)["job_id"])


def ended(server: LabServer, job_id: str, *, seconds: float = 120) -> dict[str, Any]:
    """The job, once it has ended."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = server.request("GET", f"jobs/{job_id}")
        return job if job["status"] in ENDED else None

    found = until(look, seconds=seconds, what=f"the end of job {job_id}")
    assert found is not None
    return found


def first_output(bucket: Bucket, job_id: str, *, seconds: float = 90) -> str:
    """What the first cell of a run printed, once that is stored."""
    prefix = f"jobs/{job_id}/outputs/"

    def look() -> str:
        if f"{prefix}output.ipynb" not in bucket.keys(prefix):
            return ""
        return text_outputs(bucket.read(f"{prefix}output.ipynb"))[0]

    return until(look, seconds=seconds, what=f"the first output of job {job_id}")


def notebook(*sources: str, kernel: str = "python3", language: str = "python") -> str:
    """A notebook with these code cells, as JSON text."""
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{number}",
                    "metadata": {},
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
                for number, source in enumerate(sources)
            ],
            "metadata": {
                "kernelspec": {"name": kernel, "display_name": kernel, "language": language}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def text_outputs(executed: str | bytes) -> list[str]:
    """What each code cell of an executed notebook printed and returned, errors left out."""
    cells = json.loads(executed)["cells"]
    return ["".join(_texts(cell)) for cell in cells if cell["cell_type"] == "code"]


def _texts(cell: Mapping[str, Any]) -> list[str]:
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            found.append("".join(output["text"]))
        elif "text/plain" in output.get("data", {}):
            found.append("".join(output["data"]["text/plain"]))
    return found
