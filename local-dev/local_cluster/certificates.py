"""Certificates of a cluster, made with openssl: two authorities and a key pair per component.

etcd has an authority of its own: whoever holds a certificate of the cluster's, such as the kubelet,
must not reach the records behind the API server's back.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import digest
from .shell import run

DAYS = 3650
CLUSTER = "ca"
ETCD = "etcd-ca"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who it is for. ``names`` are the addresses and host names that it serves."""

    file: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()
    authority: str = CLUSTER


def wanted(gateway: str, first_service: str, node: str) -> list[Certificate]:
    """Every certificate of a cluster whose bridge has the address ``gateway``."""
    api_names = (
        f"IP:{gateway}",
        f"IP:{first_service}",
        "IP:127.0.0.1",
        "DNS:localhost",
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local",
    )
    return [
        Certificate("etcd", "etcd", names=(f"IP:{gateway}",), authority=ETCD),
        Certificate("apiserver-etcd", "kube-apiserver", authority=ETCD),
        Certificate("apiserver", "kube-apiserver", names=api_names),
        Certificate("apiserver-kubelet", "kube-apiserver", "system:masters"),
        Certificate("controller-manager", "system:kube-controller-manager"),
        Certificate("scheduler", "system:kube-scheduler"),
        Certificate("kubelet-client", f"system:node:{node}", "system:nodes"),
        Certificate("kubelet", f"system:node:{node}", names=(f"DNS:{node}", f"IP:{gateway}")),
        Certificate("admin", "admin", "system:masters"),
    ]


def ensure(folder: Path, certificates: list[Certificate]) -> bool:
    """Makes all of them, unless they were made for this very list; true when they were made."""
    version = digest([repr(certificates)])
    mark = folder / "version"
    if mark.exists() and mark.read_text() == version:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    for authority in (CLUSTER, ETCD):
        _key(folder, authority)
        _self_signed(folder, authority)
    # Service account tokens are signed with RSA, which every client library can verify.
    run(["openssl", "genrsa", "-out", folder / "service-accounts.key", "2048"])
    private, public = folder / "service-accounts.key", folder / "service-accounts.pub"
    run(["openssl", "rsa", "-in", private, "-pubout", "-out", public])
    for certificate in certificates:
        _issue(folder, certificate)
    for path in folder.glob("*.key"):
        path.chmod(0o600)
    mark.write_text(version)
    return True


def _key(folder: Path, name: str) -> None:
    target = folder / f"{name}.key"
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", target])


def _self_signed(folder: Path, name: str) -> None:
    run(
        [
            *("openssl", "req", "-x509", "-new", "-key", folder / f"{name}.key"),
            *("-subj", f"/CN=jupyter-scheduler-k8s {name}", "-days", str(DAYS), "-sha256"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-out", folder / f"{name}.crt"),
        ]
    )


def _issue(folder: Path, certificate: Certificate) -> None:
    base = folder / certificate.file
    _key(folder, certificate.file)
    subject = f"/O={certificate.organization}" if certificate.organization else ""
    subject += f"/CN={certificate.common_name}"
    extensions = folder / f"{certificate.file}.ext"
    lines = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature,keyEncipherment",
        "extendedKeyUsage=clientAuth" + (",serverAuth" if certificate.names else ""),
    ]
    if certificate.names:
        lines.append("subjectAltName=" + ",".join(certificate.names))
    extensions.write_text("\n".join(lines) + "\n")
    request = folder / f"{certificate.file}.csr"
    run(["openssl", "req", "-new", "-key", f"{base}.key", "-subj", subject, "-out", request])
    authority = folder / certificate.authority
    run(
        [
            *("openssl", "x509", "-req", "-in", request, "-days", str(DAYS), "-sha256"),
            *("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial"),
            *("-extfile", extensions, "-out", f"{base}.crt"),
        ]
    )
    request.unlink()
    extensions.unlink()
