"""The package as a person gets it: a wheel, in an environment of its own, without Node."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from local_lab.server import running
from ui.conftest import away, files
from ui.lab import opened

ROOT = Path(__file__).resolve().parents[2]
UV = os.environ.get("UV") or shutil.which("uv") or "uv"

# What pyproject.toml allows, and README promises.
OLDEST = ("jupyterlab==4.4.5", "jupyter-scheduler==2.11.0")


@pytest.fixture(scope="module")
def without_node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH leads to no Node."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("bash", "env", "git", "sh", "uname"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    environment = {**os.environ, "PATH": str(folder)}
    for name in ("node", "npm"):
        assert shutil.which(name, path=str(folder)) is None
    return environment


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `uv build` makes of this checkout: the sdist, and of that the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run((UV, "build", "--quiet", "--out-dir", folder, ROOT), check=True)
    return folder


@pytest.mark.parametrize("beside", [(), OLDEST], ids=["newest", "oldest"])
def test_the_wheel_gives_the_form_without_node(
    built: Path,
    without_node: dict[str, str],
    tmp_path: Path,
    browser: Browser,
    beside: tuple[str, ...],
) -> None:
    (wheel,) = built.glob("*.whl")
    venv = tmp_path / "venv"
    create = (UV, "venv", "--quiet", "--python", sys.executable, venv)
    subprocess.run(create, check=True, env=without_node)
    python = venv / "bin" / "python"
    install = (UV, "pip", "install", "--quiet", "--python", str(python), str(wheel), *beside)
    subprocess.run(install, check=True, env=without_node)

    environment = away(tmp_path) | {"PATH": without_node["PATH"]}
    with (
        running(
            files(tmp_path), home=tmp_path / "home", environment=environment, python=str(python)
        ) as server,
        opened(browser, server) as lab,
    ):
        form = lab.open_form().expand()
        form.field("CPUs").fill("2")
        assert form.sent()["runtime_environment_parameters"] == {"k8s_cpu": "2"}
        expect(form.page.locator(".jp-Dialog")).to_have_count(0)


def test_the_sdist_needs_no_node_either(
    built: Path, without_node: dict[str, str], tmp_path: Path
) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("/labextension/package.json") for name in names)
    assert not [name for name in names if "node_modules" in name]

    build = (UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, sdist)
    subprocess.run(build, check=True, env=without_node)

    (wheel,) = tmp_path.glob("*.whl")
    folder = "data/share/jupyter/labextensions/jupyter-scheduler-k8s/"
    with zipfile.ZipFile(wheel) as archive:
        inside = [name.partition(folder)[2] for name in archive.namelist() if folder in name]
    assert "package.json" in inside
    assert [name for name in inside if name.startswith("static/remoteEntry.")]
