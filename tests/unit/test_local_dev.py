"""The pure parts of the local environment: machine, network, programs, files for shells."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_cluster import (
    certificates,
    cleanup,
    components,
    env_file,
    kind,
    native,
    network,
    prerequisites,
    processes,
    slots,
    trees,
)
from local_cluster.errors import CommandFailed, LocalClusterError
from local_cluster.layout import Layout
from local_cluster.shell import run, run_long

HARD_VALUES = {
    "PLAIN": "value",
    "QUOTES": """it's "quoted" `x` $HOME \\ end""",
    "SPACES": "  two  words  ",
    "EMPTY": "",
    "LINES": "first\nsecond",
}


class TestEnvFile:
    def test_reads_back_what_it_wrote(self) -> None:
        assert env_file.parse(env_file.render(HARD_VALUES)) == HARD_VALUES

    def test_a_shell_reads_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "env"
        env_file.write(path, HARD_VALUES)
        script = f". '{path}'; for name in {' '.join(HARD_VALUES)}; do"
        script += ' eval "printf \'%s\\0\' \\"\\$$name\\""; done'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split("\0")[:-1] == list(HARD_VALUES.values())

    def test_only_the_owner_may_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "env"
        path.write_text("old")
        path.chmod(0o644)
        env_file.write(path, {"A": "b"})
        assert path.stat().st_mode & 0o777 == 0o600
        assert env_file.read(path) == {"A": "b"}
        assert list(tmp_path.iterdir()) == [path]

    def test_no_file_is_no_values(self, tmp_path: Path) -> None:
        assert env_file.read(tmp_path / "env") == {}


class TestPrerequisites:
    def test_names_each_package_once(self) -> None:
        packages = prerequisites.missing_packages(
            has=lambda name: name not in {"ctr", "containerd"}
        )
        assert packages == ["containerd"]
        assert prerequisites.missing_packages(has=lambda _: True) == []

    @pytest.mark.parametrize(
        ("user", "distribution", "packages", "words"),
        [
            (0, "debian", ["runc"], []),
            (0, "ubuntu", [], []),
            (1000, "debian", ["runc", "buildah"], ["root", "runc, buildah"]),
            (1000, "debian", [], ["root"]),
            (0, "fedora", ["runc"], ["Debian or Ubuntu"]),
            (0, "", [], ["Debian or Ubuntu"]),
        ],
    )
    def test_says_in_one_sentence_what_is_missing(
        self, user: int, distribution: str, packages: list[str], words: list[str]
    ) -> None:
        text = prerequisites.refusal(user_id=user, distribution=distribution, packages=packages)
        assert bool(text) == bool(words)
        assert all(word in text for word in words)
        assert text.count(".") == bool(words)
        assert "\n" not in text


class TestNetwork:
    slot = slots.Slot(1, "10.244")

    def test_names_and_addresses(self) -> None:
        assert self.slot.gateway == "10.244.1.1"
        assert len(self.slot.bridge) <= 15
        every = [slots.Slot(index, "10.244") for index in range(slots.SLOTS)]
        subnets = {slot.subnet for slot in every} | {slot.services for slot in every}
        assert len(subnets) == 2 * slots.SLOTS

    def test_sees_networks_in_use_but_its_own_bridges(self) -> None:
        routes = (
            "default via 192.0.2.1 dev eth0\n"
            "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2\n"
            "10.244.1.0/24 dev jsk8s1 proto kernel scope link src 10.244.1.1\n"
            "local 10.8.0.1 dev tun0 table local proto kernel scope host\n"
            "unreachable garbage\n"
        )
        assert [str(item) for item in slots.used_networks(routes)] == [
            "192.0.2.0/24",
            "10.8.0.1/32",
        ]

    def test_finds_its_own_rules_only(self) -> None:
        listing = (
            "-P FORWARD ACCEPT\n"
            "-A FORWARD -i jsk8s1 -m comment --comment jupyter-scheduler-k8s-1 -j ACCEPT\n"
            "-A FORWARD -i jsk8s10 -m comment --comment jupyter-scheduler-k8s-10 -j ACCEPT\n"
            '-A FORWARD -m comment --comment "docker thing" -j DROP\n'
        )
        (rule,) = network.rules_of(listing, "jupyter-scheduler-k8s-1")
        assert rule[:3] == ["FORWARD", "-i", "jsk8s1"]

    def test_pods_get_addresses_of_the_slot(self, tmp_path: Path) -> None:
        configuration = json.loads(network.cni_configuration(self.slot, tmp_path))
        (plugin,) = configuration["plugins"]
        assert configuration["name"] == self.slot.label
        assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24", "gateway": "10.244.1.1"}]]


class TestNode:
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def node(self, *, status: str, said: str, taints: list[dict[str, str]] | None = None) -> str:
        condition = {"type": "Ready", "status": status, "lastHeartbeatTime": said}
        spec = {"taints": taints} if taints else {}
        return json.dumps({"spec": spec, "status": {"conditions": [condition]}})

    def test_ready_is_what_it_says_now(self) -> None:
        later, earlier = "2026-01-02T03:04:05Z", "2026-01-02T03:04:04Z"
        taint = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
        for node, ready in (
            (self.node(status="True", said=later), True),
            (self.node(status="True", said=earlier), False),
            (self.node(status="False", said=later), False),
            (self.node(status="True", said=later, taints=taint), False),
            (json.dumps({"status": {}}), False),
        ):
            assert native.node_is_ready(node, since=self.since) is ready

    def test_pods_get_no_resolver_on_the_loopback_interface(self, tmp_path: Path) -> None:
        path = tmp_path / "resolv.conf"
        assert native.nameservers(path) == ()
        path.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver ::1\noptions x\n")
        assert native.nameservers(path) == ("192.0.2.53",)

    def test_every_program_has_paths_of_this_checkout_only(self, tmp_path: Path) -> None:
        layout = Layout.of(tmp_path)
        slot = slots.Slot(3, "10.244")
        node = components.Node(layout, slot, Path("/cache/kubernetes"), "overlayfs", ())
        for certificate in certificates.wanted(slot.gateway, slot.first_service, "node"):
            node.certificate(certificate.file).parent.mkdir(parents=True, exist_ok=True)
        for name in ("certificates/ca.crt", "config/containerd.toml", "config/kubelet.json"):
            (layout.state / name).parent.mkdir(parents=True, exist_ok=True)
            (layout.state / name).write_text("")
        for name in ("controller-manager", "scheduler", "kubelet"):
            (node.config / f"{name}.kubeconfig").write_text("")
        allowed = (str(layout.state), str(slot.run), "/cache/kubernetes")
        for daemon in components.daemons(node):
            for word in map(str, daemon.command):
                value = word.partition("=")[2] if "=" in word else word
                assert not value.startswith("/") or value.startswith(allowed), word
            assert daemon.version == daemon.version

    def test_a_changed_file_means_another_version(self, tmp_path: Path) -> None:
        path = tmp_path / "settings"
        path.write_text("one")
        daemon = processes.Daemon("role", ["program"], {}, (path,))
        before = daemon.version
        path.write_text("two")
        assert daemon.version != before


class TestCleanup:
    def test_finds_mounts_below_innermost_first(self) -> None:
        mounts = (
            "/dev/vda / ext4 rw 0 0\n"
            "tmpfs /state tmpfs rw 0 0\n"
            "tmpfs /state/with\\040space tmpfs rw 0 0\n"
            "tmpfs /state-of-another tmpfs rw 0 0\n"
        )
        assert trees.mounts_below(mounts, [Path("/state")]) == ["/state/with space", "/state"]

    def test_knows_sockets_that_someone_listens_on(self) -> None:
        table = (
            "Num       RefCount Protocol Flags    Type St Inode Path\n"
            "0000: 00000002 00000000 00010000 0001 01 17000 /run/containerd/s/abc\n"
            "0000: 00000002 00000000 00010000 0001 01 17001\n"
        )
        assert cleanup.bound_sockets(table) == {"/run/containerd/s/abc"}


class TestKind:
    @pytest.mark.parametrize(
        "network_json",
        [
            '[{"IPAM": {"Config": [{"Subnet": "fc00::/64", "Gateway": "fc00::1"},'
            ' {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]}}]',
            '[{"subnets": [{"subnet": "172.18.0.0/16", "gateway": "172.18.0.1"}]}]',
        ],
    )
    def test_finds_the_gateway_of_docker_and_podman(self, network_json: str) -> None:
        assert kind.gateway(network_json) == "172.18.0.1"

    def test_gives_the_context_our_name(self) -> None:
        text = json.dumps(
            {
                "current-context": "kind-x",
                "contexts": [{"name": "kind-x", "context": {"cluster": "kind-x"}}],
            }
        )
        data = json.loads(kind.renamed(text))
        assert data["current-context"] == data["contexts"][0]["name"] == "jupyter-scheduler-k8s"

    def test_says_when_there_is_none(self) -> None:
        with pytest.raises(LocalClusterError, match="no IPv4 gateway"):
            kind.gateway('[{"IPAM": {"Config": []}}]')


class TestShell:
    def test_a_failure_says_what_the_program_said(self) -> None:
        with pytest.raises(CommandFailed, match="went wrong"):
            run(["sh", "-c", "echo went wrong >&2; exit 3"])

    def test_a_program_that_is_not_there(self) -> None:
        with pytest.raises(CommandFailed, match="no-such-program is not installed"):
            run(["no-such-program"])

    def test_a_long_command_keeps_its_output(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = tmp_path / "logs" / "log"
        run_long("Doing it", ["sh", "-c", "echo out; echo err >&2"], log=log)
        assert "out\nerr\n" in log.read_text()
        assert "Doing it: done in 0 s" in capsys.readouterr().out
        with pytest.raises(CommandFailed, match="broken"):
            run_long("Doing it", ["sh", "-c", "echo broken; exit 1"], log=log)


def test_taking_the_cluster_down_keeps_what_people_wrote_in_the_lab(tmp_path: Path) -> None:
    layout = Layout(checkout=tmp_path, state=tmp_path / "state", cache=tmp_path / "cache")
    notebook = layout.state / "lab" / "files" / "mine.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text("{}")
    (layout.state / "etcd").mkdir()

    cleanup.remove_state(layout)

    assert notebook.read_text() == "{}"
    assert [path.name for path in layout.state.iterdir()] == ["lab"]
