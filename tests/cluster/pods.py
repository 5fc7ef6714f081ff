"""Jobs as the server makes them, created without one, for tests of what happens in the pod."""

import io
import json
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.support import Bucket, Kubectl
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.manifests import Placement, credentials_secret, job_manifest
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import JobRecord

JsonObject = dict[str, Any]


@contextmanager
def _kubectl(kubectl: Kubectl, *arguments: str, seconds: float) -> Iterator[Iterator[str]]:
    """The lines that a command prints while it runs; it is ended after `seconds`."""
    process = subprocess.Popen(
        ("kubectl", "--namespace", kubectl.namespace, *arguments),
        env=dict(kubectl.environment),
        stdout=subprocess.PIPE,
        text=True,
    )
    ending = threading.Timer(seconds, process.kill)
    ending.start()
    assert process.stdout is not None
    try:
        yield iter(process.stdout)
    finally:
        ending.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def watching(kubectl: Kubectl, *what: str, seconds: float) -> Iterator[Iterator[JsonObject]]:
    """The states of an object, from now on, as they come; the stream ends after `seconds`."""
    arguments = ("get", *what, "--watch", "-o", "json")
    with _kubectl(kubectl, *arguments, seconds=seconds) as lines:
        yield _objects(lines)


def _objects(lines: Iterator[str]) -> Iterator[JsonObject]:
    text = ""
    for line in lines:
        text += line
        # kubectl indents: an object ends with a brace at the line's start.
        if line.rstrip() == "}":
            yield json.loads(text)
            text = ""


@dataclass(frozen=True, slots=True)
class PodJob:
    """One Job on the cluster, and what is seen of it."""

    kubectl: Kubectl
    bucket: Bucket
    job_id: str

    @property
    def name(self) -> str:
        """The Job's name."""
        return names.job_name(self.job_id)

    def watch(
        self, kind: str, until: Callable[[JsonObject], bool], *, seconds: float = 90
    ) -> JsonObject:
        """The Job's first state, or its pod's, of which `until` holds."""
        what = ("job", self.name) if kind == "job" else ("pods", "-l", f"job-name={self.name}")
        last: JsonObject = {}
        with watching(self.kubectl, *what, seconds=seconds) as states:
            for last in states:
                if until(last):
                    return last
        raise AssertionError(f"in {seconds} s, {self.name} did not get there: {last}")

    def ended(self, *, seconds: float = 90) -> JsonObject:
        """The pod, once both containers ended."""
        return self.watch("pod", lambda pod: len(exit_codes(pod)) == 2, seconds=seconds)

    def finished(self, *, seconds: float = 90) -> JsonObject:
        """The Job, once it has a verdict."""
        return self.watch("job", lambda job: verdict(job) != "", seconds=seconds)

    def pods(self) -> list[JsonObject]:
        """All pods of the Job."""
        found: list[JsonObject] = self.kubectl.get("pods", "-l", f"job-name={self.name}")
        return found

    def printed(self, container: str, text: str, *, seconds: float = 60) -> None:
        """Wait until a container has printed a line with `text`."""
        arguments = ("logs", "--follow", f"job/{self.name}", "-c", container)
        with _kubectl(self.kubectl, *arguments, seconds=seconds) as lines:
            if not any(text in line for line in lines):
                raise AssertionError(f"{container} of {self.name} did not print {text!r}")

    def pod(self) -> JsonObject:
        """The only pod."""
        (pod,) = self.kubectl.get("pods", "-l", f"job-name={self.name}")
        found: JsonObject = pod
        return found

    def log(self, container: str) -> str:
        """What a container printed."""
        return self.kubectl.run("logs", f"job/{self.name}", "-c", container)

    def stored(self) -> list[str]:
        """The stored outputs, without their prefix."""
        prefix = names.output_prefix(self.job_id)
        return [key.removeprefix(prefix) for key in self.bucket.keys(prefix)]

    def output(self, name: str) -> bytes:
        """One stored output."""
        return self.bucket.read(names.output_prefix(self.job_id) + name)

    def result(self) -> JsonObject:
        """result.json."""
        found: JsonObject = json.loads(self.output("result.json"))
        return found

    def has_stored(self, name: str) -> bool:
        """Whether an output is in the bucket."""
        return name in self.stored()


def exit_codes(pod: Mapping[str, Any]) -> dict[str, int]:
    """The exit codes of the pod's ended containers."""
    return {
        status["name"]: status["state"]["terminated"]["exitCode"]
        for status in pod.get("status", {}).get("containerStatuses", ())
        if "terminated" in status.get("state", {})
    }


def termination_message(pod: Mapping[str, Any], name: str) -> str:
    """What an ended container left as its message."""
    for status in pod["status"]["containerStatuses"]:
        if status["name"] == name:
            return str(status["state"]["terminated"].get("message", ""))
    return ""


def is_running(pod: Mapping[str, Any], container: str) -> bool:
    """Whether a container of the pod runs."""
    return any(
        status["name"] == container and "running" in status.get("state", {})
        for status in pod.get("status", {}).get("containerStatuses", ())
    )


def verdict(job: Mapping[str, Any]) -> str:
    """Complete, Failed, or "" while the Job has neither condition."""
    return next(
        (
            str(condition["type"])
            for condition in job.get("status", {}).get("conditions", ())
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
        ),
        "",
    )


@dataclass(slots=True)
class Pods:
    """Creates Jobs with the product's own manifests, for one owner."""

    kubectl: Kubectl
    bucket: Bucket
    environment: Mapping[str, str]
    owner: str

    def _config(self, settings: Mapping[str, Any]) -> K8sConfig:
        return K8sConfig(
            **{
                "namespace": self.kubectl.namespace,
                "image": self.environment["K8S_IMAGE"],
                "image_pull_policy": "Never",
                "s3_bucket": self.bucket.name,
                "s3_endpoint_url": self.environment["S3_ENDPOINT_URL"],
                "owner": self.owner,
                **settings,
            }
        )

    def start(
        self,
        inputs: Mapping[str, str | bytes],
        *,
        notebook: str = "n.ipynb",
        options: JobOptions | None = None,
        keys: Mapping[str, bytes] | None = None,
        settings: Mapping[str, Any] | None = None,
        change: Callable[[JsonObject], None] = lambda manifest: None,
        **asked: Any,
    ) -> PodJob:
        """Upload `inputs`, {path: content}, and create the Job.

        Args:
            inputs: the input tree.
            notebook: which of them runs.
            options: what a user may ask for beside the notebook.
            keys: inputs under keys that no server writes, {end of the key: content}.
            settings: of the server, where they differ.
            change: changes the manifest before it is created.
            asked: further columns of the record.
        """
        job = PodJob(self.kubectl, self.bucket, str(uuid.uuid4()))
        tails = {names.escape_path(path): content for path, content in inputs.items()}
        for tail, content in (tails | dict(keys or {})).items():
            data = content.encode() if isinstance(content, str) else content
            self.bucket.client.put_object(
                self.bucket.name, names.input_prefix(job.job_id) + tail, io.BytesIO(data), len(data)
            )
        config = self._config(settings or {})
        given = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        secret = credentials_secret(config, {key: self.environment[key] for key in given})
        self.kubectl.apply(secret)
        columns: JsonObject = {"output_formats": ["ipynb"], "package_input_folder": False}
        manifest = job_manifest(
            JobRecord(
                job_id=job.job_id,
                object_name=job.name,
                owner=self.owner,
                name=notebook,
                input_filename=notebook,
                runtime_environment_name="default",
                **columns | asked,
            ),
            config,
            options=options or JobOptions(),
            placement=Placement(region="us-east-1"),
            credentials=given,
        )
        change(manifest)
        self.kubectl.run("create", "-f", "-", stdin=json.dumps(manifest))
        return job


def container(manifest: JsonObject, name: str) -> JsonObject:
    """A container of a Job's manifest."""
    containers = manifest["spec"]["template"]["spec"]["containers"]
    found: JsonObject = next(entry for entry in containers if entry["name"] == name)
    return found
