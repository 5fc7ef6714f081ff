"""A local cluster of our own, killed and taken down: what it leaves on the machine.

It runs beside the cluster of the other tests, in copies of the checkout, with the same cache.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cluster import control_groups, kind, processes, slots
from local_cluster.components import PAUSE_IMAGE
from local_cluster.layout import Layout
from local_cluster.slots import Slot

ROOT = Path(__file__).parents[2]

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: notebooks}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    fsGroup: 100
    seccompProfile: {{type: RuntimeDefault}}
  volumes:
    - {{name: memory, emptyDir: {{medium: Memory}}}}
  containers:
    - name: sleeper
      image: {image}
      command: [/pause]
      volumeMounts: [{{name: memory, mountPath: /memory}}]
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"""


class Checkout:
    """A copy of this checkout, and what can be done to its cluster."""

    def __init__(self, folder: Path) -> None:
        for name in ("local-dev", "deploy"):
            ignored = shutil.ignore_patterns(".state", "__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        self.layout = Layout.of(folder)

    def command(self, name: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "local_cluster", name],
            env={**os.environ, "PYTHONPATH": str(self.layout.checkout / "local-dev")},
            cwd="/",
            check=True,
        )

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        program = self.layout.state / "bin" / "kubectl"
        command = [str(program), "--kubeconfig", str(self.layout.kubeconfig)]
        done = subprocess.run(
            [*command, "-n", "notebooks", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def run_pod(self, name: str) -> None:
        self.kubectl("apply", "-f", "-", given=POD.format(name=name, image=PAUSE_IMAGE))
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}")

    def delete_records(self) -> None:
        """Plants a record of ours, one of someone else's, and a file; ours and the file go."""
        ours = "app.kubernetes.io/managed-by=jupyter-scheduler-k8s"
        for name in ("ours", "theirs"):
            self.kubectl("create", "job", name, f"--image={PAUSE_IMAGE}", "--", "/pause")
        self.kubectl("label", "job", "ours", ours)
        file = self.layout.s3_data / "notebooks" / "jobs" / "1" / "input" / "a.ipynb"
        file.parent.mkdir(parents=True)
        file.touch()
        self.command("delete-records")
        assert self.kubectl("get", "jobs", "-o", "name").split() == ["job.batch/theirs"]
        assert not file.exists()
        assert file.parents[3].exists(), "the bucket itself stays"

    @property
    def slot(self) -> Slot:
        claim = slots.claim_of(self.layout)
        assert claim is not None
        return claim.slot

    def kill(self) -> None:
        """SIGKILL for every program of the cluster; only the containers' own go on."""
        pids = [item.pid for item in processes.all_running() if self._owns(item)]
        assert len(pids) >= 8, "seven programs and at least one shim"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def _owns(self, item: processes.Running) -> bool:
        return item.state == str(self.layout.state)

    def leftovers(self) -> list[str]:
        """Everything on the machine that names this checkout."""
        found = [f"process {item}" for item in processes.all_running() if self._owns(item)]
        state = str(self.layout.state)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        found += [line for line in mounts if state in line]
        logs = Path("/var/log/containers")
        links = list(logs.iterdir()) if logs.is_dir() else []
        return found + [str(link) for link in links if str(link.readlink()).startswith(state)]


def leftovers_of(slot: Slot) -> list[str]:
    """Everything on the machine that belongs to ``slot``, whoever has it."""
    found = [f"process {pid} in a pod" for pid in control_groups.processes_in(slot.label)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounts if f"{slot.run}/" in line]
    links = _output("ip", "-o", "link", "show").splitlines()
    # A veth whose bridge is gone has no master; those of the other clusters have theirs.
    lost = [line for line in links if ": veth" in line and " master " not in line]
    found += [line for line in links if f": {slot.bridge}:" in line] + lost
    rules = _output("iptables-save").splitlines()
    found += [line for line in rules if f'"{slot.label}"' in line or f" {slot.label} " in line]
    found += [line for line in rules if ":KUBE-" in line or ":CNI-" in line]
    for pattern in (
        f"sys/fs/cgroup/{slot.label}",
        f"sys/fs/cgroup/*/{slot.label}",
        f"var/lib/cni/results/{slot.label}-*",
        f"{str(slot.run).removeprefix('/')}/*",
    ):
        found += [str(path) for path in Path("/").glob(pattern)]
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkouts(tmp_path: Path) -> Iterator[tuple[Checkout, Checkout]]:
    if kind.engine():
        pytest.skip("A container engine runs here: the cluster is kind's, which has its own tests.")
    pair = Checkout(tmp_path / "first"), Checkout(tmp_path / "second")
    yield pair
    for checkout in pair:
        checkout.command("down")


def test_a_killed_cluster_comes_back_and_leaves_nothing(
    checkouts: tuple[Checkout, Checkout],
) -> None:
    first, second = checkouts
    first.command("up-without-image")
    slot = first.slot
    first.run_pod("before")
    assert first.leftovers()
    assert leftovers_of(slot), "the checks see a cluster that runs"

    first.kill()
    first.command("up-without-image")
    assert "before" in first.kubectl("get", "pods", "-o", "name"), "its records are still there"
    first.run_pod("after")

    first.kill()
    second.command("up-without-image")
    assert first.leftovers() == []
    taken = second.slot
    second.run_pod("other")
    second.delete_records()

    second.command("down")
    assert second.leftovers() == []
    assert leftovers_of(taken) == []
    assert leftovers_of(slot) == []
    assert not second.layout.state.exists()
    # Twice is as good as once.
    second.command("down")
