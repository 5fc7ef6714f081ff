"""A scheduler with definitions on the fake API and a bucket in a folder, without threads.

What the Job controller does, ending the pods of a run that has no time left, is done
before the patch that asks for it is answered. What the CronJob controller does, a test does.
"""

import asyncio
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.models import (
    CreateJobDefinition,
    CreateJobFromDefinition,
    UpdateJobDefinition,
)
from obstore.store import LocalStore

from faults.fake_api import Asked, FakeApi
from jupyter_scheduler_k8s import K8sScheduler, names
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.pending import PendingInputs
from jupyter_scheduler_k8s.records import DefinitionRecord
from jupyter_scheduler_k8s.storage import Storage
from support.cached import Clock, fill

ENVIRONMENT = {
    "K8S_NAMESPACE": "space",
    "JUPYTERHUB_USER": "me",
    "S3_BUCKET": "files",
    "S3_ENDPOINT_URL": "",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "planted",
    "AWS_CA_BUNDLE": "",
    "AWS_REGION": "eu-central-1",
}
ENDED = {
    "conditions": [
        {"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T12:05:00Z"}
    ]
}
_NO_TIME_LEFT = {
    "conditions": [
        {
            "type": "Failed",
            "status": "True",
            "reason": "DeadlineExceeded",
            "lastTransitionTime": "2026-03-01T12:05:00Z",
        }
    ]
}


class Bucket(LocalStore):
    """A bucket that is a folder. What it is asked for is listed among the API's requests."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        # A part of the keys that are refused, by what is done with them: store or remove.
        self.refused: dict[str, str] = {}

    async def put_async(self, path: str, *arguments: Any, **options: Any) -> Any:
        self._ask("store", path)
        return await super().put_async(path, *arguments, **options)

    async def delete_async(self, paths: Any) -> None:
        self._ask("remove", str(paths))
        await super().delete_async(paths)

    def _ask(self, kind: str, path: str) -> None:
        self.asked.append(Asked(kind, "files", path, {}, {}, None))
        if kind in self.refused and self.refused[kind] in path:
            raise PermissionError(
                "Client error with status 403 Forbidden: <Code>AccessDenied</Code>"
            )


class Cluster(ClusterClient):
    """A client of a cluster where somebody or something acts between its requests."""

    def __init__(self, api: FakeApi, folder: Path, clock: Clock) -> None:
        super().__init__(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            read_seconds=0.3,
            clock=clock,
            sleep=clock.advance,
            random=lambda: 0.5,
        )
        self._fake = api
        self._lock = threading.Lock()
        self._ending: list[dict[str, Any]] = []
        # So many runs end at once, and whoever watches is shown each patch and each end.
        self.end_together = 1
        self.watch: Callable[[dict[str, Any]], object] = lambda _: None
        # What happens just before each of the next patches and deletions of a CronJob.
        self.before_patch: deque[Callable[[], object]] = deque()
        self.before_delete: deque[Callable[[], object]] = deque()

    def patch_job(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        patched = super().patch_job(name, body)
        spec = patched["spec"]
        if spec.get("activeDeadlineSeconds") != 1 or spec.get("suspend"):
            return patched
        with self._lock:
            self._ending.append(patched)
            if len(self._ending) < self.end_together:
                return patched
            ended, self._ending = self._ending, []
        for job in ended:
            self.watch(job)
            self.watch(self._fake.put("jobs", {**job, "status": _NO_TIME_LEFT}))
        return patched

    def patch_cron_job(
        self, name: str, body: Mapping[str, Any], *, status: bool = False
    ) -> dict[str, Any]:
        if self.before_patch:
            self.before_patch.popleft()()
        return super().patch_cron_job(name, body, status=status)

    def delete_cron_job(
        self, name: str, *, uid: str | None = None, propagation: str = "Orphan"
    ) -> None:
        if self.before_delete:
            self.before_delete.popleft()()
        super().delete_cron_job(name, uid=uid, propagation=propagation)


class Case:
    """A server's scheduler, the API and the bucket; more servers of the same may be made."""

    def __init__(self, api: FakeApi, folder: Path, bucket: Bucket | None = None) -> None:
        self.api = api
        self._folder = folder
        self._root = folder / "root"
        self._root.mkdir(exist_ok=True)
        self.write("print(1)")
        self.bucket = bucket or Bucket(folder / "bucket", mkdir=True)
        self.bucket.asked = api.asked
        self.scheduler = K8sScheduler(
            root_dir=str(self._root), environments_manager=StaticEnvironmentManager()
        )
        self.backend = backend = self.scheduler.backend
        self.clock = Clock()
        self.client = Cluster(api, folder, self.clock)
        self.client.watch = lambda job: backend.cache.records.apply("MODIFIED", job)
        backend.client = self.client
        backend.__dict__["storage"] = Storage(bucket="files", store=self.bucket)
        self._note_anew()
        # No threads, and nothing in the background of a request.
        backend.__dict__.update(start=lambda: None, share_again=lambda: None)
        self.look()

    def another(self) -> "Case":
        """A second server of the same owner."""
        return Case(self.api, self._folder, self.bucket)

    def settle(self) -> None:
        """Do what is left to the thread of notes, but for looking for abandoned ones."""
        pending = self.backend.pending
        pending.start()
        pending.stop()
        for thread in threading.enumerate():
            if thread.name == "pending-inputs":
                thread.join()
        self._note_anew()

    def _note_anew(self) -> None:
        backend = self.backend
        backend.pending = PendingInputs(
            client=self.client,
            storage=lambda: backend.storage,
            owner="me",
            log=backend.log,
            clock=self.clock,
        )

    def look(self) -> None:
        """Hear of everything that the API has."""
        fill(self.backend.cache, self.api.things("jobs"))
        fill(self.backend.definitions, self.api.things("cronjobs"))

    # -- requests -------------------------------------------------------------

    def create(self, **asked: Any) -> str:
        """Create a definition of the notebook; its id."""
        columns = {"schedule": "0 9 * * *", "timezone": "UTC", **asked}
        model = CreateJobDefinition(
            name="n", input_uri="n.ipynb", runtime_environment_name="python3", **columns
        )
        try:
            return asyncio.run(self.scheduler.create_job_definition(model))
        finally:
            self.settle()

    def edit(self, definition_id: str, **changes: Any) -> None:
        model = UpdateJobDefinition(**changes)
        try:
            asyncio.run(self.scheduler.update_job_definition(definition_id, model))
        finally:
            self.settle()

    def edit_notebook(self, definition_id: str, **changes: Any) -> None:
        """Send the notebook again."""
        self.edit(definition_id, input_uri="n.ipynb", **changes)

    def delete(self, definition_id: str) -> None:
        asyncio.run(self.scheduler.delete_job_definition(definition_id))

    def run_now(self, definition_id: str, **asked: Any) -> str:
        model = CreateJobFromDefinition(**asked)
        return asyncio.run(self.scheduler.create_job_from_definition(definition_id, model))

    # -- what others do -------------------------------------------------------

    def write(self, source: str) -> None:
        """Change the notebook in the user's folder."""
        cell: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "id": "one",
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        notebook = {
            "cells": [cell],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self._root / "n.ipynb").write_text(json.dumps(notebook))

    def write_beside(self, name: str) -> None:
        """Put another file into the notebook's folder."""
        (self._root / name).write_text("1")

    def damage(self, definition_id: str, *, of_template: bool = False) -> None:
        """Make the record in a CronJob one that can't be read, and with it that of its runs."""
        found = deepcopy(self.live(definition_id))
        found["metadata"]["annotations"] = {names.DEFINITION_DATA_ANNOTATION: "no JSON"}
        if of_template:
            found["spec"]["jobTemplate"]["metadata"]["annotations"] = {}
        self.api.put("cronjobs", found)
        self.look()

    def die_at(self, request: str, *, done: bool = False) -> None:
        """Let the server be killed at its next request of this kind; with `done`, after it."""
        send = getattr(self.client, request)

        def die(*arguments: Any, **options: Any) -> None:
            delattr(self.client, request)
            if done:
                send(*arguments, **options)
            raise KeyboardInterrupt

        setattr(self.client, request, die)

    def begin_run(self, definition_id: str, minute: int = 29300882, **status: Any) -> str:
        """What the CronJob controller does in a due minute, and what the run stores; its id."""
        cron_job = self.live(definition_id)
        template = cron_job["spec"]["jobTemplate"]
        metadata = template["metadata"]
        name = f"{cron_job['metadata']['name']}-{minute}"
        due = {names.SCHEDULED_ANNOTATION: "2026-03-01T12:00:00Z"}
        owner = {"uid": cron_job["metadata"]["uid"], "controller": True}
        self.api.put(
            "jobs",
            {
                "metadata": {
                    "name": name,
                    "labels": metadata["labels"],
                    "annotations": {**metadata["annotations"], **due},
                    "ownerReferences": [owner],
                },
                "spec": template["spec"],
                "status": status,
            },
        )
        self.keep(f"jobs/{name}/input/n.ipynb", f"jobs/{name}/outputs/output.ipynb")
        return name

    def end_run(self, name: str, status: Mapping[str, Any]) -> None:
        """What the Job controller does when a run has ended."""
        (job,) = (found for found in self.api.things("jobs") if found["metadata"]["name"] == name)
        self.api.put("jobs", {**job, "status": status})

    def copy(self, definition_id: str) -> str:
        """Copy a definition's CronJob, as somebody with kubectl would; the name of the copy."""
        found = deepcopy(self.live(definition_id))
        found["metadata"].update(name="nb-copy", uid="")
        self.api.put("cronjobs", found)
        self.look()
        return "nb-copy"

    def keep(self, *keys: str) -> None:
        """Store objects, as a run or somebody else would."""
        for key in keys:
            self.bucket.put(key, b"{}")

    def age_notes(self, seconds: float) -> None:
        """Let this time pass, by S3's clock, since all notes were written."""
        when = time.time() - seconds
        for path in (self._folder / "bucket" / "pending").rglob("*"):
            if path.is_file():
                os.utime(path, (when, when))

    # -- what there is --------------------------------------------------------

    def record(self, definition_id: str) -> DefinitionRecord:
        """A definition as this server knows it."""
        found = self.backend.definitions.get(definition_id)
        assert found is not None
        return found

    def known_ids(self) -> list[str]:
        """The ids of all definitions that the API has."""
        return [name.removeprefix(names.definition_name("")) for name in self.names("cronjobs")]

    def live(self, definition_id: str) -> dict[str, Any]:
        """A definition's CronJob."""
        name = names.definition_name(definition_id)
        (found,) = (
            thing for thing in self.api.things("cronjobs") if thing["metadata"]["name"] == name
        )
        return found

    def version(self, definition_id: str) -> str:
        """The version of the input files that a definition's next run fetches."""
        found: str = self.live(definition_id)["spec"]["jobTemplate"]["metadata"]["annotations"][
            names.INPUT_VERSION_ANNOTATION
        ]
        return found

    def versions(self, definition_id: str) -> set[str]:
        """The versions of a definition's input files that are in S3."""
        prefix = names.versions_prefix(definition_id)
        return {key.removeprefix(prefix).split("/")[0] for key in self.keys(prefix)}

    def notebook(self, definition_id: str) -> str:
        """What the notebook says that a definition's next run fetches."""
        prefix = names.definition_input_prefix(definition_id, self.version(definition_id))
        data = json.loads(bytes(self.bucket.get(f"{prefix}n.ipynb").bytes()))
        return str(data["cells"][0]["source"])

    def keys(self, prefix: str = "") -> list[str]:
        """The keys in S3, without those of notes."""
        found = [meta["path"] for page in self.bucket.list(prefix) for meta in page]
        return sorted(key for key in found if not key.startswith("pending/"))

    def keys_of(self, definition_id: str) -> list[str]:
        """Those of a definition and of the runs of its schedule."""
        return [key for key in self.keys() if definition_id in key]

    def notes(self) -> list[str]:
        """The keys of notes."""
        return [meta["path"] for page in self.bucket.list("pending/") for meta in page]

    def names(self, resource: str) -> list[str]:
        """The names of a resource's objects."""
        return sorted(thing["metadata"]["name"] for thing in self.api.things(resource))

    def written(self) -> list[str]:
        """What has been changed so far, in its order: of which resource, and how."""
        return [
            f"{asked.kind} {asked.resource}{asked.subresource and '/'}{asked.subresource}"
            for asked in self.api.asked
            if asked.kind in ("create", "patch", "delete", "store", "remove")
            and asked.resource != "secrets"
            and not asked.name.startswith("pending/")
        ]
