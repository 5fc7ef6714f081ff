"""OCI image archives written without any image tool: one layer, from files or from a tar.

The layout is the OCI image specification's: blobs named by their SHA-256, an index that names the
manifest. ``ctr images import`` and ``buildah pull oci-archive:`` read it.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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


def write_archive(
    target: Path,
    *,
    layer: Path | bytes,
    reference: str,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    """Writes an uncompressed OCI archive of one layer to ``target``."""
    size, layer_digest = _measure(layer)
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": list(command),
                "Env": [f"{key}={value}" for key, value in environment.items()],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            # buildah refuses an image whose history doesn't account for its layers.
            "history": [{"created_by": "jupyter-scheduler-k8s"}],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": f"sha256:{layer_digest}",
                    "size": size,
                }
            ],
        }
    ).encode()
    descriptor = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    **descriptor,
                    "annotations": {
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
                    },
                }
            ],
        }
    ).encode()
    with tarfile.open(target, mode="w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", index)
        for blob in (manifest, config):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        name = f"blobs/sha256/{layer_digest}"
        if isinstance(layer, bytes):
            _add(archive, name, layer)
        else:
            entry = tarfile.TarInfo(name)
            entry.size = size
            with layer.open("rb") as stream:
                archive.addfile(entry, stream)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _measure(layer: Path | bytes) -> tuple[int, str]:
    if isinstance(layer, bytes):
        return len(layer), hashlib.sha256(layer).hexdigest()
    with layer.open("rb") as stream:
        return layer.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
