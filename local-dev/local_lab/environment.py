"""The environment of a server on the local cluster: what `make cluster` left for it."""

import os
import subprocess
from pathlib import Path


def state_folder() -> Path:
    """The git-ignored folder with everything that local-dev keeps in this checkout."""
    return Path(__file__).resolve().parents[1] / ".state"


def cluster_environment(*, administrator: bool = False) -> dict[str, str]:
    """The environment variables of a server that uses the local cluster.

    Args:
        administrator: with all rights on the cluster, instead of those of the
            Role in deploy/ that a real server has.

    Raises:
        RuntimeError: the cluster isn't there.
    """
    file = state_folder() / "env"
    if not file.exists():
        raise RuntimeError(f"{file} is missing: run `make cluster` first.")
    shown = subprocess.run(
        ("bash", "-c", 'set -a; . "$1"; env -0', "bash", file), check=True, capture_output=True
    ).stdout.decode()
    found = dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)
    if not administrator:
        found["KUBECONFIG"] = str(state_folder() / "server.kubeconfig")
    # What the caller's own shell has set would lead the server elsewhere.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "JUPYTERHUB_USER", "JUPYTER_CONFIG_DIR"):
        found.pop(name, None)
    # kubectl is one of the cluster's own programs.
    found["PATH"] = f"{state_folder() / 'bin'}{os.pathsep}{found.get('PATH', '')}"
    return found
