"""Building images with buildah, and keeping them as archives by the content of their sources."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import debian, indexes, native, oci
from .cache import cached, digest, locked, tree_digest
from .cleanup import unmount_below
from .layout import NAME, RUN_ROOT, Layout
from .shell import run, run_long

RECIPE = "1"
REPOSITORY = "docker.io/library"


@dataclass(frozen=True, slots=True)
class Image:
    """An image to build: its short name and the folder with its Containerfile."""

    name: str
    context: Path

    def reference(self, key: str) -> str:
        """A tag per content, so that a changed image is never taken for the one before."""
        return f"{REPOSITORY}/{self.name}:{key}"


def notebook_image(layout: Layout) -> Image:
    return Image(NAME, layout.checkout / "image")


def test_images(layout: Layout) -> list[Image]:
    folder = layout.checkout / "tests" / "images"
    found = sorted(folder.glob("*/Containerfile"))
    return [Image(f"{NAME}-test-{path.parent.name}", path.parent) for path in found]


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a store of our own in the cache folder, so that layers are kept for all."""

    layout: Layout

    def command(self, *arguments: str | Path) -> list[str | Path]:
        store = self.layout.cache / "buildah"
        driver = "overlay" if native.overlay_works(store) else "vfs"
        return [
            "buildah",
            *("--storage-driver", driver),
            *("--root", store),
            *("--runroot", RUN_ROOT / "buildah"),
            *arguments,
        ]

    def key(self, image: Image) -> str:
        base = debian.base_layer(self.layout)
        return digest([RECIPE, base.stem, tree_digest(image.context)])

    def build(self, image: Image) -> tuple[str, Path]:
        """The reference of the image, and an OCI archive that holds it."""
        key = self.key(image)
        reference = image.reference(key)

        def make(target: Path) -> None:
            with locked(self.layout.cache / "buildah.lock", waiting="Waiting for another build."):
                try:
                    self._build(image, reference, target)
                finally:
                    unmount_below(self.layout.cache / "buildah", RUN_ROOT / "buildah")
                    shutil.rmtree(RUN_ROOT / "buildah", ignore_errors=True)

        return reference, cached(self.layout.cache, f"image-{image.name}", f"{key}.tar", make)

    def _build(self, image: Image, reference: str, target: Path) -> None:
        log = self.layout.logs / f"build-{image.name}.log"
        base = self._base(log)
        volumes = [
            word
            for mount in indexes.mounts(self.layout.state / "indexes")
            for word in ("--volume", mount)
        ]
        run_long(
            f"Building the image {image.name} (2 to 3 minutes the first time)",
            self.command(
                *("build", "--isolation", "chroot", "--layers", "--pull=never"),
                *("--build-arg", f"BASE_IMAGE={base}"),
                *volumes,
                *("--tag", reference),
                *("--file", image.context / "Containerfile", image.context),
            ),
            log=log,
        )
        run_long(
            f"Writing the image {image.name}",
            self.command(
                *("push", "--disable-compression", reference, f"oci-archive:{target}:{reference}")
            ),
            log=log,
        )
        self._forget_older(reference)

    def _base(self, log: Path) -> str:
        """The base image's name in the store; put there when it is not."""
        layer = debian.base_layer(self.layout)
        reference = f"localhost/{NAME}-base:{layer.stem}"
        if run(self.command("inspect", "--type", "image", reference), check=False).returncode == 0:
            return reference
        archive = self.layout.cache / f".base-{os.getpid()}.tar"
        try:
            oci.write_archive(
                archive,
                layer=layer,
                reference=reference,
                command=[],
                environment={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                },
            )
            run_long(
                "Unpacking the base image", self.command("pull", f"oci-archive:{archive}"), log=log
            )
            run(self.command("tag", reference.rpartition(":")[2], reference), check=False)
        finally:
            archive.unlink(missing_ok=True)
        return reference

    def _forget_older(self, reference: str) -> None:
        """Removes the names of earlier builds; their layers go when nothing needs them."""
        repository = reference.rpartition(":")[0]
        listed = run(
            self.command("images", "--format", "{{.Name}}:{{.Tag}}", repository), check=False
        )
        older = [name for name in listed.stdout.split() if name != reference]
        if older:
            run(self.command("rmi", *older), check=False)


def loaded_names(references: Sequence[str]) -> dict[str, str]:
    """Variable for the env file: reference, for the test images."""
    prefix = f"{REPOSITORY}/{NAME}-test-"
    return {
        "K8S_TEST_IMAGE_"
        + reference.removeprefix(prefix).partition(":")[0].upper().replace("-", "_"): reference
        for reference in references
    }
