"""The kind path, with small programs in the place of the engine and of kind.

No container engine runs where this is developed: these tests hold the sequence of commands.
"""

import json
import stat
from pathlib import Path

import pytest

from local_cluster import binaries, env_file, kind, s3, steps
from local_cluster.layout import Layout
from local_cluster.s3 import S3

ENGINE = """#!/bin/sh
echo "docker $*" >> "$CALLS"
case "$*" in
  info) exit "${INFO_CODE:-0}" ;;
  "network inspect kind") echo '[{"IPAM": {"Config": [{"Gateway": "127.0.0.1"}]}}]' ;;
  *"get serviceaccount default"*) echo serviceaccount/default ;;
  *"create token"*) echo token-of-the-server ;;
  *"config view"*) cat "$KUBECONFIG_JSON" ;;
  *"auth can-i"*) echo no ;;
  *crictl*) test -e "$LOADED" ;;
  *"save -o"*) shift 2; touch "$1" ;;
esac
"""

KIND = """#!/bin/sh
echo "kind $* ($KIND_EXPERIMENTAL_PROVIDER)" >> "$CALLS"
case "$*" in
  "get clusters") test ! -e "$CLUSTERS" || cat "$CLUSTERS" ;;
  create*) echo "$4" > "$CLUSTERS" ;;
  delete*) rm "$CLUSTERS" ;;
  load*) touch "$LOADED" ;;
esac
"""

KUBECONFIG = {
    "current-context": "kind-x",
    "contexts": [{"name": "kind-x", "context": {"cluster": "kind-x", "user": "kind-x"}}],
    "clusters": [{"name": "kind-x", "cluster": {"server": "https://127.0.0.1:40000"}}],
    "users": [{"name": "kind-x", "user": {}}],
}


class Machine:
    """A machine with an engine and kind, and the calls that were made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout(
            checkout=folder / "checkout",
            state=folder / "checkout" / "local-dev" / ".state",
            cache=folder / "cache",
        )
        for name in ("image", "deploy"):
            (self.layout.checkout / name).mkdir(parents=True)
        (self.layout.checkout / "image" / "Containerfile").write_text("FROM scratch\n")
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("docker", ENGINE), ("kind", KIND)):
            (programs / name).write_text(text)
            (programs / name).chmod(stat.S_IRWXU)
        self.calls_file = folder / "calls"
        (folder / "kubeconfig.json").write_text(json.dumps(KUBECONFIG))
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        monkeypatch.setenv("CALLS", str(self.calls_file))
        monkeypatch.setenv("CLUSTERS", str(folder / "clusters"))
        monkeypatch.setenv("LOADED", str(folder / "loaded"))
        monkeypatch.setenv("KUBECONFIG_JSON", str(folder / "kubeconfig.json"))
        monkeypatch.delenv("KIND_EXPERIMENTAL_PROVIDER", raising=False)

        def s3_up(_: Layout, address: str) -> S3:
            return S3(f"http://{address}:7070", "key", "secret")

        monkeypatch.setattr(s3, "up", s3_up)
        # Go is no part of this.
        monkeypatch.setattr(binaries, "provide", lambda layout, program: None)

    def calls(self) -> list[str]:
        """What was called since the last time."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def starting_with(calls: list[str], *words: str) -> list[str]:
    return [call for call in calls if call.startswith(words)]


def test_an_engine_whose_client_alone_is_there_does_not_count(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kind.engine() == "docker"
    monkeypatch.setenv("INFO_CODE", "1")
    assert kind.engine() is None


def test_up_twice_then_down(machine: Machine) -> None:
    layout = machine.layout
    steps.up(layout)
    name = kind.KindCluster(layout, "docker").name
    calls = machine.calls()
    assert len(starting_with(calls, "kind create cluster")) == 1
    assert len(starting_with(calls, "docker build")) == 1
    assert len(starting_with(calls, "kind load image-archive")) == 1
    assert all("(docker)" in call for call in starting_with(calls, "kind"))

    values = env_file.read(layout.env_file)
    assert values["KUBECONFIG"] == str(layout.kubeconfig)
    assert values["S3_ENDPOINT_URL"] == "http://127.0.0.1:7070"
    assert json.loads(layout.kubeconfig.read_text())["current-context"] == "jupyter-scheduler-k8s"
    login = json.loads(layout.server_kubeconfig.read_text())
    assert login["users"][0]["user"] == {"token": "token-of-the-server"}
    assert login["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:40000"
    assert layout.server_kubeconfig.stat().st_mode & 0o777 == 0o600

    steps.up(layout)
    again = machine.calls()
    assert starting_with(again, "kind create", "docker build", "kind load") == []

    steps.down(layout)
    assert f"kind delete cluster --name {name} (docker)" in machine.calls()
    assert not layout.state.exists()


def test_a_changed_image_has_another_name(machine: Machine) -> None:
    steps.up(machine.layout)
    before = env_file.read(machine.layout.env_file)["K8S_IMAGE"]
    (machine.layout.checkout / "image" / "Containerfile").write_text("FROM scratch\nUSER 1000\n")
    steps.up(machine.layout)
    assert env_file.read(machine.layout.env_file)["K8S_IMAGE"] != before
