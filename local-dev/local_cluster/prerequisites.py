"""What the machine must have for our own cluster, and how the missing part is installed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import debian
from .errors import LocalClusterError
from .layout import Layout
from .shell import run_long, say

# Program or file: the Debian package that has it.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "pgrep": "procps",
    "mount": "mount",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
APT_DISTRIBUTIONS = frozenset({"debian", "ubuntu"})


def present(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def missing_packages(has: Callable[[str], bool] = present) -> list[str]:
    """The Debian packages to install, without repetition."""
    return sorted({package for name, package in PROGRAMS.items() if not has(name)})


def refusal(*, user_id: int, distribution: str, packages: list[str]) -> str:
    """Why our own cluster can't run here, in one sentence; empty when it can."""
    if distribution not in APT_DISTRIBUTIONS:
        return (
            "The local cluster needs a running Docker, Podman or Finch, "
            "or root on Debian or Ubuntu; there is neither."
        )
    if user_id != 0:
        also = f" (which would also install {', '.join(packages)})" if packages else ""
        return (
            "The local cluster needs a running Docker, Podman or Finch, "
            f"or root{also}; there is neither."
        )
    return ""


def ensure(layout: Layout) -> None:
    """Installs what is missing. Raises, with nothing changed, where that can't be done."""
    try:
        distribution, _ = debian.release(Path("/etc/os-release").read_text())
    except FileNotFoundError:
        distribution = ""
    packages = missing_packages()
    reason = refusal(user_id=os.geteuid(), distribution=distribution, packages=packages)
    if reason:
        raise LocalClusterError(reason)
    if not packages:
        return
    say(f"Missing on this machine, and installed now: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = layout.logs / "apt.log"
    run_long("Updating apt's lists", ["apt-get", "update", "-q"], log=log, env=environment)
    with _no_service_starts():
        run_long(
            f"Installing {len(packages)} packages",
            [
                *("apt-get", "install", "-y", "-q", "--no-install-recommends"),
                # The machine's own updates may hold apt's lock for a while.
                *("-o", "DPkg::Lock::Timeout=300"),
                *packages,
            ],
            log=log,
            env=environment,
        )
    still = missing_packages()
    if still:
        raise LocalClusterError(f"apt did not bring what {', '.join(still)} should have.")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts the services that it installs; the machine's own containerd is not wanted."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    # 101 means "not allowed" (Debian policy, invoke-rc.d).
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
