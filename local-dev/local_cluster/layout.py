"""Where everything lives: the checkout, its state folder, the user's cache, and ``/run``."""

import os
from dataclasses import dataclass
from pathlib import Path

NAME = "jupyter-scheduler-k8s"
NAMESPACE = "notebooks"
BUCKET = "notebooks"
CONTEXT = NAME
SERVER_ACCOUNT = "jupyter-server"

# Unix sockets have paths of at most 107 bytes, so they can't live in a checkout.
RUN_ROOT = Path("/run") / NAME


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one checkout's cluster."""

    checkout: Path
    state: Path
    cache: Path

    @classmethod
    def of(cls, checkout: Path) -> "Layout":
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification says to ignore a relative path.
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cls(
            checkout=checkout.resolve(),
            state=checkout.resolve() / "local-dev" / ".state",
            cache=cache / NAME,
        )

    @property
    def sources(self) -> Path:
        return self.checkout / "local-dev" / "binaries"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def server_kubeconfig(self) -> Path:
        return self.state / "server.kubeconfig"

    @property
    def env_file(self) -> Path:
        return self.state / "env"

    @property
    def s3_data(self) -> Path:
        return self.state / "s3"
