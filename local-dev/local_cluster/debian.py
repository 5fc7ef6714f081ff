"""An ordinary Python base image made from the machine's own Debian or Ubuntu packages.

It stands in for ``python:slim`` where no registry can be reached. Mirrors and keys are those that
apt uses on this machine.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .cache import cached, digest
from .errors import LocalClusterError
from .layout import Layout
from .oci import architecture
from .shell import run, run_long
from .trees import remove_tree

PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates")
RECIPE = "2"
DISTRIBUTIONS = frozenset({"Debian", "Ubuntu"})


@dataclass(frozen=True, slots=True)
class Source:
    """A repository that apt knows: where, and which release of it."""

    site: str
    suite: str
    keyring: str


def release(os_release: str) -> tuple[str, str]:
    """(id, code name) from ``/etc/os-release``, such as ("debian", "bookworm")."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    unquoted = {key: value.strip("\"'") for key, value in values.items()}
    return unquoted.get("ID", ""), unquoted.get("VERSION_CODENAME", "")


def choose(listing: str, codename: str) -> Source | None:
    """The main repository of the distribution, from the output of ``apt-get indextargets``."""
    for line in listing.splitlines():
        site, suite, component, origin, keyring = [*line.split("|"), "", "", "", "", ""][:5]
        if origin in DISTRIBUTIONS and component == "main" and suite == codename:
            # A field that apt doesn't know stays as it was written.
            return Source(site, suite, "" if keyring.startswith("$(") else keyring)
    return None


def _source() -> Source:
    _, codename = release(Path("/etc/os-release").read_text())
    fields = "$(SITE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(SIGNED_BY)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    source = choose(run(command).stdout, codename)
    if source is None:
        run(["apt-get", "update", "-q"])
        source = choose(run(command).stdout, codename)
    if source is None:
        raise LocalClusterError(f"apt has no main repository for {codename}; see apt's sources.")
    return source


def keyring(source: Source, folders: Iterable[Path]) -> Path:
    """The keyring that signs ``source``: the one that apt was told, else the distribution's."""
    if source.keyring.startswith("/") and Path(source.keyring).exists():
        return Path(source.keyring)
    for folder in folders:
        for name in ("debian-archive-keyring.gpg", "ubuntu-archive-keyring.gpg"):
            if (folder / name).exists():
                return folder / name
    raise LocalClusterError("The distribution's archive keyring is missing; apt can install it.")


def base_layer(layout: Layout) -> Path:
    """A tar of the root file system."""
    source = _source()
    key = digest([RECIPE, source.site, source.suite, architecture(), *PACKAGES])

    def make(target: Path) -> None:
        root = target.with_name("root")
        keys = keyring(source, [Path("/usr/share/keyrings"), Path("/etc/apt/trusted.gpg.d")])
        log = layout.logs / "build-base.log"
        run_long(
            "Making the base image from Debian packages",
            [
                *("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
                *(f"--keyring={keys}", source.suite, root, source.site),
            ],
            log=log,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            note="about a minute",
        )
        _tidy(root)
        run_long(
            "Packing the base image",
            ["tar", "--numeric-owner", "--one-file-system", "-C", root, "-cf", target, "."],
            log=log,
        )
        remove_tree(root)

    return cached(layout.cache, "base", f"{key}.tar", make)


def _tidy(root: Path) -> None:
    """What official Python images don't have, and the two habits that they do have."""
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log"):
        for path in root.glob(pattern):
            remove_tree(path)
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        remove_tree(root / folder)
        (root / folder).mkdir()
    for path in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        path.unlink()
    python = root / "usr/bin/python"
    if not python.exists():
        python.symlink_to("python3")
    # The machine's resolver is its own affair; each container gets its own file.
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/hostname").write_text("localhost\n")
