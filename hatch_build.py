"""Builds the JupyterLab extension into distributions.

An sdist brings the extension built, so Node is needed only where a checkout is
packed, not where a package is installed. Editable installs are left alone: `make
labextension` builds and links it for them.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "labextension"
INSTALLED = "share/jupyter/labextensions/jupyter-scheduler-k8s"


class LabExtensionHook(BuildHookInterface[Any]):
    """Adds the built extension to wheels, and to sdists as the folder `labextension`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it where this is a checkout.

        Args:
            version: hatchling's name of what is built, such as "standard" or "editable".
            build_data: what hatchling is told to add.

        Raises:
            RuntimeError: Node's npm isn't there.
        """
        if version == "editable":
            return
        root = Path(self.root)
        if not (root / "PKG-INFO").exists():
            _build(root)
        if self.target_name == "wheel":
            build_data["shared_data"][str(root / FOLDER)] = INSTALLED
        else:
            build_data["artifacts"].append(f"/{FOLDER}/")


def _build(root: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(
            "Building the JupyterLab extension from a checkout needs Node 20.19 or later with npm;"
            " a released package needs neither."
        )
    # npm's own record of what it installed; the Makefile goes by it too.
    installed, locked = root / "node_modules" / ".package-lock.json", root / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
        subprocess.run((npm, "ci", "--no-progress"), cwd=root, check=True)
    subprocess.run((npm, "run", "build"), cwd=root, check=True)
