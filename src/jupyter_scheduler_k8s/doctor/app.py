"""The command: reads the configuration as a server would, looks, prints, and ends with 0 or 1."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn
from uuid import uuid4

from jupyter_core.application import JupyterApp
from traitlets import TraitError
from traitlets.config.loader import ConfigFileNotFound

from jupyter_scheduler_k8s import manifests, names
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.doctor import checks, probe
from jupyter_scheduler_k8s.doctor.report import (
    Finding,
    Verdict,
    healthy,
    not_checked,
    problem,
)
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import JobRecord

# What a server started with `jupyter lab` reads.
_SERVER_FILES = ("jupyter_server_config", "jupyter_lab_config")


class DoctorApp(JupyterApp):
    """Check everything that a notebook job needs."""

    name = "jupyter-scheduler-k8s-doctor"
    description = """Check settings, cluster, permissions, image and bucket of notebook jobs.

    A pod like that of a job is run and deleted. Flags and configuration files are
    those of the Jupyter server."""
    classes = [K8sConfig]  # noqa: RUF012 - traitlets' own way

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
        """Read the server's configuration files, and this command's own."""
        super().load_config_file(suppress_errors)
        for name in _SERVER_FILES:
            try:
                super(JupyterApp, self).load_config_file(name, path=self.config_file_paths)
            except ConfigFileNotFound:
                continue

    def start(self) -> None:
        """Print each finding as it is made."""
        super().start()
        # What the watch says of a cluster that is away, a line of the report says too.
        logging.getLogger("jupyter_scheduler_k8s").setLevel(logging.ERROR)
        found = []
        for finding in look(self.config, self.log):
            print(finding, flush=True)  # noqa: T201
            found.append(finding)
        self.exit(0 if healthy(found) else 1)


class SchedulerK8sApp(JupyterApp):
    """The command of which `doctor` is a part."""

    name = "jupyter-scheduler-k8s"
    description = "Commands of jupyter-scheduler-k8s, the Kubernetes backend of notebook jobs."
    subcommands = {  # noqa: RUF012 - traitlets' own way
        "doctor": (DoctorApp, "Check everything that a notebook job needs.")
    }

    def start(self) -> None:
        """Hand over to the subcommand."""
        super().start()
        self.print_help()
        self.exit(1)


def look(config: Any, log: Any) -> Iterator[Finding]:
    """All findings, in the order in which one depends on another.

    Args:
        config: traitlets' Config of a server.
        log: where what isn't a finding is said.
    """
    yield checks.versions()
    yield checks.classes(config)
    try:
        settings = K8sConfig(config=config)
        yield checks.settings(settings)
        backend = Backend(config=settings, log=log)
        storage = backend.storage
    except (ConfigurationError, TraitError) as error:
        yield problem("settings", str(error))
        for subject in ("cluster", "namespace", "permissions", "bucket", probe.SUBJECT):
            yield not_checked(subject, "the settings must be right first.")
        return
    found = list(_cluster(backend))
    yield from found
    if healthy(found) and (settings.pod_template or settings.profiles):
        found.append(checks.told("pod template", lambda: checks.pod_template(backend)))
        yield found[-1]
    here = checks.told("bucket", lambda: asyncio.run(_bucket(storage)))
    yield here
    if here.verdict is Verdict.OK:
        yield checks.told("credentials", lambda: asyncio.run(checks.credentials(storage)))
    if not healthy([*found, here]):
        yield not_checked(probe.SUBJECT, "cluster and bucket must work from here first.")
        return
    yield checks.told(probe.SUBJECT, lambda: asyncio.run(_pod(backend)))


def _cluster(backend: Backend) -> Iterator[Finding]:
    reached = checks.told("cluster", lambda: checks.cluster(backend.client))
    yield reached
    for subject, look in (("namespace", checks.namespace), ("permissions", checks.permissions)):
        if reached.verdict is Verdict.OK:
            yield checks.told(subject, lambda look=look: look(backend.client))  # type: ignore[misc]
        else:
            yield not_checked(subject, "the cluster must answer first.")


async def _bucket(storage: Any) -> Finding:
    return await checks.bucket(storage, f"{names.job_prefix(str(uuid4()))}check", time.time)


async def _pod(backend: Backend) -> Finding:
    check_id = str(uuid4())
    record = JobRecord(
        job_id=check_id,
        owner=backend.config.owner,
        input_filename="check.ipynb",
        object_name=names.check_job_name(check_id),
    )
    manifest = manifests.job_manifest(
        record,
        backend.config,
        options=JobOptions(),
        placement=await backend.placement(),
        credentials=await backend.share_credentials(),
    )
    try:
        return await asyncio.to_thread(
            probe.run, backend.client, probe.check_job(manifest, check_id)
        )
    finally:
        # A pod that was stopped half-way has left its object.
        try:
            await backend.storage.delete_prefix(names.job_prefix(check_id))
        except BackendError as error:
            logging.getLogger(__name__).warning("%s", error)


def main() -> NoReturn:
    """The console script."""
    code: object = 0
    try:
        SchedulerK8sApp.launch_instance(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of obstore may come back into an interpreter that is being taken down, which
    # would end this program with SIGABRT in place of its answer.
    os._exit(code if isinstance(code, int) else int(code is not None))
