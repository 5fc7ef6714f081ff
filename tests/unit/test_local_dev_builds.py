"""The pure parts of what the local environment builds: programs, base, images, the cache."""

import json
import tarfile
import tomllib
from pathlib import Path

import pytest

from local_cluster import (
    binaries,
    cache,
    debian,
    images,
    indexes,
    oci,
)
from local_cluster.errors import CommandFailed, LocalClusterError
from local_cluster.layout import Layout


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

    def test_a_program_beside_kubectl_is_the_one_that_was_built_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layout = Layout(checkout=tmp_path, state=tmp_path / "state", cache=tmp_path / "cache")
        layout.state.mkdir()
        program = binaries.NEXT_RUNS
        for text in ("first", "second"):
            (tmp_path / text).write_text(text)
            monkeypatch.setattr(binaries, "build", lambda layout, of, name=text: tmp_path / name)
            binaries.provide(layout, program)
            assert (layout.state / "bin" / program.name).read_text() == text


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
