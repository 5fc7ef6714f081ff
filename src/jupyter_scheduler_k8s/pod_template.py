"""The administrator's pod template: what it may hold, and how it goes into a pod.

A template is a part of a pod's manifest. It adds what a cluster needs to the pod
that manifests.py makes, and can't change what the two containers agree on, nor
what keeps the pod within the restricted Pod Security Standard: whatever isn't
listed here is refused by name. Whether a value makes sense is Kubernetes' to say.
"""

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import ConfigurationError

# Where the two containers meet; what is mounted there would come between them.
VOLUME_PATH = "/job"
# The volumes that manifests.py makes.
VOLUMES = ("job", "tmp", "s3-ca")

_TEXT, _LIST, _MAP = "text", "a list", "a mapping"
_POD = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _MAP, "spec": _MAP}
_METADATA = {"labels": _MAP, "annotations": _MAP}
_SPEC = {
    "affinity": _MAP,
    "containers": _LIST,
    "dnsConfig": _MAP,
    "dnsPolicy": _TEXT,
    "hostAliases": _LIST,
    "imagePullSecrets": _LIST,
    "nodeSelector": _MAP,
    "priorityClassName": _TEXT,
    "runtimeClassName": _TEXT,
    "schedulerName": _TEXT,
    "securityContext": _MAP,
    "serviceAccountName": _TEXT,
    "tolerations": _LIST,
    "topologySpreadConstraints": _LIST,
    "volumes": _LIST,
}
_CONTAINER = {"name": _TEXT, "env": _LIST, "envFrom": _LIST, "volumeMounts": _LIST}
# Groups that may read a shared volume; users and the rest are settings or fixed.
_SECURITY = {"supplementalGroups": _LIST}

# By these, records and pods are found, and identities kept from the notebook.
_OWN_PREFIXES = (f"{names.GROUP}/", "batch.kubernetes.io/")
_OWN_KEYS = frozenset(
    {names.MANAGED_BY_LABEL, names.SKIP_CONTAINERS_ANNOTATION, "job-name", "controller-uid"}
)


def load(path: str) -> dict[str, Any]:
    """The template in a YAML or JSON file. Blocking.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        found = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"K8S_POD_TEMPLATE names {path}, which can't be read: {error.strerror}."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigurationError(
            f"K8S_POD_TEMPLATE names {path}, which is no YAML or JSON{where}."
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"K8S_POD_TEMPLATE names {path}, which must hold a mapping with spec or metadata."
        )
    return found


class _Refused(Exception):
    """A field, and why it can't be there."""


def check(template: Mapping[str, Any], *, setting: str = "K8sConfig.pod_template") -> None:
    """Refuse what a template can't hold.

    Raises:
        ConfigurationError: the first such field, by name, and the setting that has it.
    """
    try:
        _check(template)
    except _Refused as refusal:
        raise ConfigurationError(f"The pod template's {refusal} ({setting}).") from None


def _check(template: Mapping[str, Any]) -> None:
    _check_fields(template, "", _POD)
    if template.get("kind", "Pod") not in ("Pod", "PodTemplate"):
        raise _refused("kind", "must be Pod")
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    _check_fields(metadata, "metadata.", _METADATA)
    for kind in _METADATA:
        for key, value in (metadata.get(kind) or {}).items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise _refused(f"metadata.{kind}.{key}", "must be text; put it in quotes")
            if key.startswith(_OWN_PREFIXES) or key in _OWN_KEYS:
                raise _refused(f"metadata.{kind}.{key}", "is this backend's own")
    _check_fields(spec, "spec.", _SPEC)
    _check_fields(spec.get("securityContext") or {}, "spec.securityContext.", _SECURITY)
    volumes = _entries(spec, "volumes", "spec.volumes")
    for number, volume in enumerate(volumes):
        if volume["name"] in VOLUMES:
            raise _refused(f"spec.volumes[{number}].name", f"can't be {volume['name']!r}")
    for number, container in enumerate(_entries(spec, "containers", "spec.containers")):
        _check_container(
            container, f"spec.containers[{number}]", {volume["name"] for volume in volumes}
        )
    if len(spec.get("containers") or ()) > 1:
        raise _refused("spec.containers", "can have one entry only, notebook")


def merge(pod: Mapping[str, Any], *templates: Mapping[str, Any]) -> dict[str, Any]:
    """`pod`, a pod template of our own, with what `templates` add, the most specific first.

    Lists and mappings are joined; where two name the same label, volume, mount,
    variable or text, one that `pod` has stays, else that of the first template. Only
    the service account is a template's even where `pod` has one.
    """
    found = dict(pod)
    for template in templates:
        found = _merged(template, found)
    for template in reversed(templates):
        if account := (template.get("spec") or {}).get("serviceAccountName"):
            found["spec"]["serviceAccountName"] = account
    return found


def _merged(template: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deepcopy(dict(pod))
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    for kind in _METADATA:
        if added := metadata.get(kind):
            found["metadata"][kind] = {**added, **found["metadata"].get(kind, {})}
    for field, value in spec.items():
        if field == "containers":
            for container in value or ():
                _merge_container(container, found["spec"]["containers"])
        elif value:
            found["spec"][field] = _joined(deepcopy(value), found["spec"].get(field))
    return found


def _merge_container(added: Mapping[str, Any], containers: Iterable[dict[str, Any]]) -> None:
    container = next(entry for entry in containers if entry["name"] == added["name"])
    for field in ("env", "envFrom", "volumeMounts"):
        if value := added.get(field):
            container[field] = _joined(deepcopy(value), container.get(field))


def _joined(added: Any, own: Any) -> Any:
    """What is added, before what is there; of two with one name, the latter."""
    if isinstance(added, dict):
        return {**added, **(own or {})}
    if isinstance(added, list):
        taken = {_identity(entry) for entry in own or ()} - {None}
        return [*(entry for entry in added if _identity(entry) not in taken), *(own or ())]
    return own or added


def _identity(entry: Any) -> Any:
    """What only one entry of a list may have. A volume may be mounted twice, at two places."""
    if not isinstance(entry, dict):
        return None
    return entry.get("mountPath") or entry.get("name")


def _check_container(container: Mapping[str, Any], where: str, volumes: Collection[str]) -> None:
    if container["name"] != names.NOTEBOOK_CONTAINER:
        raise _refused(f"{where}.name", f"must be {names.NOTEBOOK_CONTAINER!r}")
    _check_fields(container, f"{where}.", _CONTAINER)
    _entries(container, "env", f"{where}.env")
    for number, mount in enumerate(_entries(container, "volumeMounts", f"{where}.volumeMounts")):
        place = f"{where}.volumeMounts[{number}]"
        path = mount.get("mountPath")
        if not isinstance(path, str) or not path.startswith("/"):
            raise _refused(f"{place}.mountPath", "must be a path from /")
        parts = [part for part in path.split("/") if part]
        if not parts or parts[0] == VOLUME_PATH.strip("/") or ".." in parts:
            raise _refused(f"{place}.mountPath", f"can't be {path}")
        if mount["name"] not in volumes:
            raise _refused(f"{place}.name", f"{mount['name']!r} is none of the template's volumes")


def _check_fields(thing: Mapping[str, Any], where: str, allowed: Mapping[str, str]) -> None:
    for field, value in thing.items():
        if field not in allowed:
            these = ", ".join(allowed)
            raise _refused(f"{where}{field}", f"can't be set there; what can is {these}")
        kinds = {_TEXT: str, _LIST: list, _MAP: dict}
        if value is not None and not isinstance(value, kinds[allowed[field]]):
            raise _refused(f"{where}{field}", f"must be {allowed[field]}")


def _entries(thing: Mapping[str, Any], field: str, where: str) -> list[Mapping[str, Any]]:
    found = thing.get(field) or []
    for number, entry in enumerate(found):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _refused(f"{where}[{number}]", "must be a mapping with a name")
    return list(found)


def _refused(field: str, why: str) -> _Refused:
    return _Refused(f"{field} {why}")
