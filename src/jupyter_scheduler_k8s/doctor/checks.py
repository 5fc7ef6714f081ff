"""Each thing that is looked at from here: settings, versions, cluster, rights, bucket."""

import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from jupyter_scheduler_k8s import combinations
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.cluster.permissions import NEEDED
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.doctor.report import Finding, ok, problem, warning
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.storage import Storage

_PACKAGE = "jupyter-scheduler-k8s"
# Job's FailureTarget condition and pod failure policies are stable since.
_OLDEST = (1, 31)
# S3 servers refuse requests whose time is 15 minutes off; schedules suffer earlier.
SKEW_SECONDS = 60
_THIS_MACHINE = re.compile(r"localhost|127(\.\d+){3}|::1|0\.0\.0\.0|.*\.localhost")


def versions(
    version: Callable[[str], str] = metadata.version,
    requires: Callable[[str], list[str] | None] = metadata.requires,
) -> Finding:
    """The releases of what this package stands on, against what it needs."""
    shown = [f"{_PACKAGE} {version(_PACKAGE)}"]
    for text in requires(_PACKAGE) or ():
        needed = Requirement(text)
        found = version(needed.name)
        if not needed.specifier.contains(found, prereleases=True):
            return problem(
                "versions",
                f"{needed.name} {found} is installed, and {needed.specifier} is needed: run"
                f" pip install '{needed}'.",
            )
        if needed.name in ("jupyter-scheduler", "jupyterlab", "kubernetes"):
            shown.append(f"{needed.name} {found}")
    return ok("versions", ", ".join(shown) + ".")


def classes(config: Mapping[str, Any]) -> Finding:
    """Whether the settings that choose classes are where they have an effect.

    Args:
        config: the server's configuration files and flags, by class and setting.
    """
    section = config.get("SchedulerApp", {})
    chosen = str(section.get("scheduler_class", ""))
    if combinations.names_no_database(config):
        return problem("classes", combinations.NO_DATABASE)
    full_mode = not chosen or chosen.rpartition(".")[2] == "K8sScheduler"
    if sentence := combinations.misplaced(config, full_mode=full_mode):
        return problem("classes", sentence)
    if not chosen:
        return ok("classes", "none is set in a configuration file; flags of jupyter lab may do so.")
    return ok("classes", f"SchedulerApp.scheduler_class is {chosen}.")


def settings(config: K8sConfig) -> Finding:
    """Whether the settings can be what they are.

    Raises:
        ConfigurationError: they can't.
    """
    bucket = config.require_bucket()
    host = urlsplit(config.s3_endpoint_url).hostname or ""
    if _THIS_MACHINE.fullmatch(host):
        return problem(
            "settings",
            f"S3_ENDPOINT_URL names {host}, which is this machine here and the pod itself in a pod:"
            " set it to an address that both reach.",
        )
    where = config.s3_endpoint_url or "AWS"
    return ok(
        "settings",
        f"namespace {config.namespace}, owner {config.owner}, bucket {bucket} at {where}.",
    )


def cluster(client: ClusterClient) -> Finding:
    """Whether the API answers, and is new enough.

    Raises:
        BackendError: it doesn't answer.
    """
    version = client.server_version()
    context = client.active_context()
    where = f"{client.connection.address}, " + (f"context {context}" if context else "this pod's")
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        return problem(
            "cluster",
            f"{where} is Kubernetes {version}, and {_OLDEST[0]}.{_OLDEST[1]} is the oldest that"
            " works: use another cluster, or upgrade it.",
        )
    return ok("cluster", f"Kubernetes {version} at {where}.")


def namespace(client: ClusterClient) -> Finding:
    """Whether the namespace exists, as far as this login may know.

    Raises:
        BackendError: the API doesn't answer.
    """
    match client.has_namespace():
        case True:
            return ok("namespace", f"{client.namespace} exists.")
        case False:
            return problem(
                "namespace",
                f"There is no namespace {client.namespace}: create it with kubectl apply -k deploy,"
                " or set K8S_NAMESPACE.",
            )
    return ok("namespace", f"{client.namespace}; this login may not see whether it exists.")


def permissions(client: ClusterClient) -> Finding:
    """Whether this login has each right that the package needs.

    Raises:
        BackendError: the API doesn't answer.
    """
    missing = [
        f"{verb} {resource}"
        for (group, resource), verbs in NEEDED.items()
        for verb in verbs
        if not client.may(verb, group, resource)
    ]
    if missing:
        return problem(
            "permissions",
            f"In the namespace {client.namespace} this login may not {', '.join(missing)}: bind the"
            " Role of this project's deploy folder to it.",
        )
    count = sum(len(verbs) for verbs in NEEDED.values())
    return ok("permissions", f"all {count} that are needed in {client.namespace}.")


def pod_template(backend: Backend) -> Finding:
    """Whether Kubernetes would take a job with the pod template, and one of each profile.

    Raises:
        BackendError: it wouldn't, and why.
    """
    backend.check_template()
    return ok("pod template", "Kubernetes takes jobs with it, and those of each profile.")


async def bucket(storage: Storage, key: str, now: Callable[[], float]) -> Finding:
    """Whether an object can be stored, read and deleted from here, and S3's clock agrees.

    Args:
        storage: the bucket.
        key: a key that nobody else uses, in a folder of its own.
        now: seconds since the epoch, by this machine's clock.

    Raises:
        BackendError: it can't.
    """
    folder = key.rpartition("/")[0] + "/"
    await storage.check_bucket()
    await storage.put_bytes(key, b"check")
    try:
        stored = await storage.get_bytes(key, limit=100)
        (listed,) = await storage.list(folder)
    finally:
        await storage.delete_prefix(folder)
    if stored != b"check":
        return problem("bucket", "Another object was read than the one that was stored.")
    if found := skew("S3's", listed.modified - now()):
        return problem("bucket", found)
    return ok("bucket", "an object was stored, read and deleted from here.")


async def credentials(storage: Storage) -> Finding:
    """Whether the pods can open S3 also when no server is there.

    Raises:
        BackendError: there are no credentials.
    """
    found = await storage.pod_credentials()
    if found is None:
        return ok("credentials", "pods use an identity of their own; nothing of it expires here.")
    if "AWS_SESSION_TOKEN" not in found.data:
        return ok("credentials", f"pods get lasting keys, from {found.kind}.")
    renewed = "while a server of this owner lives, it renews them for the pods"
    if found.expires_at is None:
        renewed = "they don't say when, so pods get new ones only with the next job that is created"
    return warning(
        "credentials",
        f"the keys from {found.kind} have a session token, so they expire: {renewed}. Where"
        " schedules must run without that, give server and pods (K8S_SERVICE_ACCOUNT) a role in"
        " place of keys, or use keys without a session token.",
    )


def skew(whose: str, seconds: float) -> str:
    """What to do about a clock that differs from this machine's by so much; empty for nothing."""
    if abs(seconds) <= SKEW_SECONDS:
        return ""
    how = "ahead of" if seconds > 0 else "behind"
    return (
        f"{whose} clock is {abs(seconds):.0f} seconds {how} this machine's: set both by NTP, since"
        " S3 refuses requests of another time."
    )


def told(subject: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds; what it raises is what was found."""
    try:
        return look()
    except BackendError as error:
        return problem(subject, str(error))
