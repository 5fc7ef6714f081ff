"""The administrator's manifests, applied, and a login for the Jupyter server's account."""

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .errors import CommandFailed, LocalClusterError
from .layout import CONTEXT, NAMESPACE, SERVER_ACCOUNT, Layout

TOKEN_DAYS = 365


class Cluster(Protocol):
    """What the steps of ``up`` need of a cluster, whoever runs it."""

    @property
    def s3_address(self) -> str:
        """An address of this machine that pods reach."""

    @property
    def description(self) -> str:
        """What runs and where, for people."""

    def kubectl(
        self, arguments: Sequence[str | Path], *, input_text: str | None = None, check: bool = True
    ) -> str: ...


def apply_manifests(cluster: Cluster, layout: Layout) -> None:
    """Applies ``deploy/`` and waits for what Kubernetes adds to a new namespace."""
    cluster.kubectl(["apply", "-k", layout.checkout / "deploy"])
    deadline = time.monotonic() + 30
    # Pods are refused until the controller has made this account.
    while not cluster.kubectl(
        ["-n", NAMESPACE, "get", "serviceaccount", "default", "--ignore-not-found", "-o", "name"]
    ).strip():
        if time.monotonic() > deadline:
            raise LocalClusterError("Kubernetes made no default service account within 30 s.")
        time.sleep(0.1)


def write_server_login(cluster: Cluster, layout: Layout) -> None:
    """Writes a kubeconfig for the server's service account, unless the one there still works."""
    target = layout.server_kubeconfig
    if target.exists() and _works(cluster, target):
        return
    token = cluster.kubectl(
        ["-n", NAMESPACE, "create", "token", SERVER_ACCOUNT, f"--duration={TOKEN_DAYS * 24}h"]
    ).strip()
    view: list[str | Path] = ["--kubeconfig", layout.kubeconfig, "config", "view"]
    admin = json.loads(cluster.kubectl([*view, "--raw", "--minify", "-o", "json"]))
    server = admin["clusters"][0]["cluster"]
    if "certificate-authority" in server:
        authority = Path(server.pop("certificate-authority")).read_bytes()
        server["certificate-authority-data"] = base64.b64encode(authority).decode()
    context = {"cluster": CONTEXT, "user": SERVER_ACCOUNT, "namespace": NAMESPACE}
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": server}],
            "users": [{"name": SERVER_ACCOUNT, "user": {"token": token}}],
            "contexts": [{"name": CONTEXT, "context": context}],
            "current-context": CONTEXT,
        },
        indent=2,
    )
    target.touch(mode=0o600)
    target.chmod(0o600)
    target.write_text(text)


def _works(cluster: Cluster, kubeconfig: Path) -> bool:
    question: list[str | Path] = [
        "--kubeconfig",
        kubeconfig,
        "-n",
        NAMESPACE,
        "auth",
        "can-i",
        "list",
        "jobs",
    ]
    try:
        return cluster.kubectl(question).strip() == "yes"
    except CommandFailed:
        return False


def delete_records(cluster: Cluster) -> str:
    """Deletes the jobs, schedules and S3 logins in the namespace; returns kubectl's words."""
    selector = ["-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=jupyter-scheduler-k8s"]
    return cluster.kubectl(["delete", "cronjobs,jobs,secrets", *selector, "--ignore-not-found"])
