"""OCI image layouts without any image tool: made of one layer, packed, and sharing their blobs.

A layout is the folder that the OCI image specification describes: blobs named by their SHA-256, and
an index that names the manifest.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
BLOBS = Path("blobs") / "sha256"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"


def architecture() -> str:
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def one_file_layer(name: str, data: bytes) -> bytes:
    """A tar with one executable file at the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        entry.mode = 0o755
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def write_layout(
    folder: Path, *, layer: Path, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Writes the layout of an image with one uncompressed layer; ``layer`` is moved or linked."""
    blobs = folder / BLOBS
    blobs.mkdir(parents=True)
    with layer.open("rb") as stream:
        name = hashlib.file_digest(stream, "sha256").hexdigest()
    _link(layer, blobs / name)
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": list(command),
            "Env": [f"{key}={value}" for key, value in environment.items()],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{name}"]},
        # buildah refuses an image whose history doesn't account for its layers.
        "history": [{"created_by": "jupyter-scheduler-k8s"}],
    }
    layer_descriptor = {
        "mediaType": PLAIN_LAYER,
        "digest": f"sha256:{name}",
        "size": layer.stat().st_size,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _write_blob(blobs, "application/vnd.oci.image.config.v1+json", config),
        "layers": [layer_descriptor],
    }
    descriptor = _write_blob(blobs, "application/vnd.oci.image.manifest.v1+json", manifest)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def _write_blob(blobs: Path, media_type: str, content: Mapping[str, object]) -> dict[str, object]:
    data = json.dumps(content).encode()
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}


def pack(folder: Path, stream: IO[bytes], *, reference: str, has: Callable[[str], bool]) -> None:
    """Writes the layout as a tar that names its image, without the layers that ``has`` knows."""
    index = json.loads((folder / "index.json").read_text())
    (descriptor,) = index["manifests"]
    descriptor["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    layers = set(_layers(folder))
    with tarfile.open(fileobj=stream, mode="w|") as target:
        _add(target, "oci-layout", (folder / "oci-layout").read_bytes())
        _add(target, "index.json", json.dumps(index).encode())
        for path in sorted((folder / BLOBS).iterdir()):
            if path.name not in layers or not has(path.name):
                target.add(path, arcname=str(BLOBS / path.name))


def link_layers(folder: Path, store: Path) -> None:
    """Links the layers into a folder of blobs, where that is on the same file system."""
    for name in _layers(folder):
        with contextlib.suppress(OSError):
            os.link(folder / BLOBS / name, store / name)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _blob(folder: Path, digest: str) -> Path:
    return folder / BLOBS / digest.removeprefix("sha256:")


def _manifest(folder: Path) -> tuple[str, dict[str, object]]:
    (descriptor,) = json.loads((folder / "index.json").read_text())["manifests"]
    digest = str(descriptor["digest"])
    manifest: dict[str, object] = json.loads(_blob(folder, digest).read_text())
    return digest, manifest


def _layers(folder: Path) -> list[str]:
    _, manifest = _manifest(folder)
    layers = manifest["layers"]
    assert isinstance(layers, list)
    return [str(layer["digest"]).removeprefix("sha256:") for layer in layers]


def image_id(folder: Path) -> str:
    """The id under which image tools know the image: the digest of its configuration."""
    _, manifest = _manifest(folder)
    config = manifest["config"]
    assert isinstance(config, dict)
    return str(config["digest"]).removeprefix("sha256:")


def lend_blobs(target: Path, others: Iterable[Path]) -> None:
    """Links the layers of other layouts into ``target``, so that a push needn't write them anew."""
    blobs = target / BLOBS
    blobs.mkdir(parents=True, exist_ok=True)
    for other in others:
        for name in _layers(other):
            if not (blobs / name).exists():
                _link(other / BLOBS / name, blobs / name)


def _drop_unused_blobs(folder: Path) -> None:
    """Removes what the layout's image doesn't refer to."""
    digest, _ = _manifest(folder)
    used = {*_layers(folder), image_id(folder), digest.removeprefix("sha256:")}
    for path in (folder / BLOBS).iterdir():
        if path.name not in used:
            path.unlink()


def uncompress(folder: Path) -> None:
    """Replaces compressed layers by plain ones, which are what image tools name layers by.

    buildah compresses whatever it writes as a layout. Plain layers are recognised by the next push,
    are the same for images that share them, and are quicker to unpack.
    """
    _, manifest = _manifest(folder)
    blobs = folder / BLOBS
    layers = manifest["layers"]
    assert isinstance(layers, list)
    for layer in layers:
        if not str(layer["mediaType"]).endswith("+gzip"):
            continue
        compressed = _blob(folder, layer["digest"])
        scratch = blobs / "uncompressed"
        with gzip.open(compressed) as source, scratch.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        with scratch.open("rb") as stream:
            name = hashlib.file_digest(stream, "sha256").hexdigest()
        size = scratch.stat().st_size
        scratch.rename(blobs / name)
        layer.update(mediaType=PLAIN_LAYER, digest=f"sha256:{name}", size=size)
    descriptor = _write_blob(blobs, str(manifest["mediaType"]), manifest)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    _drop_unused_blobs(folder)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
