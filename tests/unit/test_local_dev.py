"""The pure parts of the local environment."""

import json
import subprocess
import tarfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_cluster import (
    binaries,
    cache,
    certificates,
    cleanup,
    components,
    debian,
    env_file,
    images,
    indexes,
    kind,
    native,
    network,
    oci,
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


class TestCache:
    def test_a_digest_depends_on_where_parts_end(self) -> None:
        assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])
        assert cache.digest(["a"]) == cache.digest([b"a"])

    def test_a_tree_s_digest_sees_names_contents_and_modes(self, tmp_path: Path) -> None:
        seen = set()
        script = tmp_path / "folder" / "script"
        script.parent.mkdir()
        script.write_text("one")
        seen.add(cache.tree_digest(tmp_path))
        script.write_text("two")
        seen.add(cache.tree_digest(tmp_path))
        script.chmod(0o755)
        seen.add(cache.tree_digest(tmp_path))
        script.rename(script.with_name("other"))
        seen.add(cache.tree_digest(tmp_path))
        assert len(seen) == 4

    def test_a_tree_s_digest_ignores_what_python_leaves(self, tmp_path: Path) -> None:
        before = cache.tree_digest(tmp_path)
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__" / "a.pyc").write_text("x")
        assert cache.tree_digest(tmp_path) == before

    def test_made_once(self, tmp_path: Path) -> None:
        made = []

        def make(path: Path) -> None:
            made.append(path)
            path.write_text("content")

        first = cache.cached(tmp_path, "kind", "key", make)
        second = cache.cached(tmp_path, "kind", "key", make)
        assert first == second
        assert first.read_text() == "content"
        assert len(made) == 1
        assert made[0] != first, "written under another name, then renamed"

    def test_a_failed_build_leaves_nothing(self, tmp_path: Path) -> None:
        def make(path: Path) -> None:
            path.write_text("half")
            raise CommandFailed("no")

        with pytest.raises(CommandFailed):
            cache.cached(tmp_path, "kind", "key", make)
        assert list((tmp_path / "kind").iterdir()) == []

    def test_a_lock_is_exclusive_and_survives_its_file(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        with cache.locked(path), cache.locked_if_free(path) as free:
            assert not free
        with cache.locked(path):
            path.unlink()
        with cache.locked_if_free(path) as free:
            assert free


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


class TestBinaries:
    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ("go version go1.26.8 linux/amd64", (1, 26)),
            ("go version go1.25 linux/arm64", (1, 25)),
            ("go: command not found", None),
        ],
    )
    def test_reads_go_s_version(self, text: str, version: tuple[int, int] | None) -> None:
        assert binaries.parse_go_version(text) == version

    def test_reads_kubernetes_version(self) -> None:
        go_mod = "require (\n\tk8s.io/component-base v0.34.4\n\tk8s.io/kubernetes v1.34.4\n)\n"
        assert binaries.kubernetes_version(go_mod) == "v1.34.4"
        with pytest.raises(LocalClusterError):
            binaries.kubernetes_version("module x\n")


class TestDebian:
    def test_takes_the_distribution_s_main_repository(self) -> None:
        listing = (
            "https://packages.example|stable|main|Example|/k.gpg\n"
            "http://mirror.example/debian-security|bookworm-security|main|Debian|/d.gpg\n"
            "http://mirror.example/debian|bookworm|main|Debian|$(SIGNED_BY)\n"
        )
        chosen = debian.choose(listing, "bookworm")
        assert chosen == debian.Source("http://mirror.example/debian", "bookworm", "")
        assert debian.choose(listing, "trixie") is None

    def test_reads_os_release(self) -> None:
        assert debian.release('ID=ubuntu\nVERSION_CODENAME="noble"\n') == ("ubuntu", "noble")

    def test_prefers_the_keyring_that_apt_was_told(self, tmp_path: Path) -> None:
        told = tmp_path / "told.gpg"
        told.touch()
        common = tmp_path / "debian-archive-keyring.gpg"
        source = debian.Source("http://mirror.example", "bookworm", str(told))
        assert debian.keyring(source, [tmp_path]) == told
        with pytest.raises(LocalClusterError):
            debian.keyring(debian.Source("http://mirror.example", "bookworm", ""), [tmp_path])
        common.touch()
        assert debian.keyring(debian.Source("", "bookworm", "/no/such"), [tmp_path]) == common


class TestIndexes:
    def test_the_environment_wins_over_files(self) -> None:
        files = [
            "[global]\nindex-url = https://one.example\ntimeout = 5\n",
            "[install]\nuser = yes\n",
        ]
        environment = {"PIP_INDEX_URL": "https://two.example", "PIP_USER": "1", "HOME": "/root"}
        settings = indexes.pip_settings(environment, files)
        assert settings == {"index-url": "https://two.example", "timeout": "5"}
        assert "index-url = https://two.example" in indexes.pip_configuration(settings)

    def test_uv_settings_become_a_file(self) -> None:
        environment = {"UV_DEFAULT_INDEX": "https://two.example", "UV_FIND_LINKS": "/a /b"}
        files = ['cache-dir = "/x"\n[[index]]\nurl = "https://one.example"\ndefault = true\n']
        settings = indexes.uv_configuration(environment, files)
        assert tomllib.loads(indexes.toml(settings)) == {
            "index": [{"url": "https://one.example", "default": True}],
            "index-url": "https://two.example",
            "find-links": ["/a", "/b"],
            "native-tls": True,
        }

    def test_finds_the_paths_that_settings_name(self, tmp_path: Path) -> None:
        wheels = tmp_path / "wheels"
        wheels.mkdir()
        values = [f"{wheels} https://example/simple", "/no/such/folder", f"file://{tmp_path}"]
        assert indexes.named_paths(values) == sorted([str(wheels), str(tmp_path)])


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


class TestImages:
    def test_a_layout_names_its_layer_and_packs_without_what_is_known(self, tmp_path: Path) -> None:
        layer = tmp_path / "layer.tar"
        layer.write_bytes(oci.one_file_layer("pause", b"program"))
        folder = tmp_path / "image"
        oci.write_layout(folder, layer=layer, command=["/pause"], environment={"A": "b"})
        archive = tmp_path / "image.tar"
        with archive.open("wb") as stream:
            oci.pack(folder, stream, reference="localhost/pause:1", has=lambda _: False)
        with tarfile.open(archive) as packed:
            names = packed.getnames()
            index_file = packed.extractfile("index.json")
            assert index_file
            index = json.load(index_file)
        assert len(names) == 5
        (descriptor,) = index["manifests"]
        assert descriptor["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
        with archive.open("wb") as stream:
            oci.pack(folder, stream, reference="localhost/pause:1", has=lambda _: True)
        with tarfile.open(archive) as packed:
            assert len(packed.getnames()) == 4, "all but the layer"

    def test_layouts_share_layers(self, tmp_path: Path) -> None:
        layer = tmp_path / "layer.tar"
        layer.write_bytes(oci.one_file_layer("file", b"data"))
        first = tmp_path / "first"
        oci.write_layout(first, layer=layer, command=["/file"], environment={})
        second = tmp_path / "second"
        oci.lend_blobs(second, [first])
        (lent,) = (second / oci.BLOBS).iterdir()
        assert lent.samefile(first / oci.BLOBS / lent.name)

    def test_names_test_images_for_the_env_file(self) -> None:
        reference = f"{images.REPOSITORY}/jupyter-scheduler-k8s-test-root-user:abc"
        assert images.loaded_names([reference]) == {"K8S_TEST_IMAGE_ROOT_USER": reference}


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
