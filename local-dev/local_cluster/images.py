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
STORE_KIB = 8 * 1024 * 1024


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
        """The reference of the image, and an OCI layout that holds it."""
        key = self.key(image)
        reference = image.reference(key)

        def make(target: Path) -> None:
            with locked(self.layout.cache / "buildah.lock", waiting="Waiting for another build."):
                try:
                    self._build(image, reference, target)
                finally:
                    unmount_below(self.layout.cache / "buildah", RUN_ROOT / "buildah")
                    shutil.rmtree(RUN_ROOT / "buildah", ignore_errors=True)

        return reference, cached(self.layout.cache, f"image-{image.name}", key, make)

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
        # What other images share with this one is there already: a push writes the rest.
        oci.lend_blobs(target, self._layouts())
        run_long(
            f"Writing the image {image.name}",
            self.command("push", "--disable-compression", reference, f"oci:{target}"),
            log=log,
        )
        oci.drop_unused_blobs(target)
        self._forget_older(reference)

    def _layouts(self) -> list[Path]:
        """The images that are in the cache, whatever their name."""
        return [path.parent for path in self.layout.cache.glob("image-*/[0-9a-f]*/index.json")]

    def _base(self, log: Path) -> str:
        """The base image's name in the store; put there when it is not."""
        layer = debian.base_layer(self.layout)
        reference = f"localhost/{NAME}-base:{layer.stem}"
        if run(self.command("inspect", "--type", "image", reference), check=False).returncode == 0:
            return reference
        scratch = self.layout.cache / f".base-{os.getpid()}"
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        try:
            oci.write_layout(scratch, layer=layer, command=[], environment={"PATH": path})
            # From a folder, buildah would make a name of its path, and refuse it for its dots.
            archive = scratch / "base.tar"
            oci.pack(scratch, archive, reference=reference, has=lambda _: False)
            pull = self.command("pull", "--quiet", f"oci-archive:{archive}")
            run_long("Unpacking the base image", pull, log=log)
            run(self.command("tag", oci.image_id(scratch), reference))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return reference

    def _forget_older(self, reference: str) -> None:
        """Removes the names of earlier builds, and everything once old layers have piled up."""
        listed = run(self.command("images", "--format", "{{.Name}}:{{.Tag}}"), check=False).stdout
        repository = reference.rpartition(":")[0]
        older = [
            name
            for name in listed.split()
            if name.startswith(f"{repository}:") and name != reference
        ]
        if older:
            run(self.command("rmi", *older), check=False)
        store = self.layout.cache / "buildah"
        size = run(["du", "-sk", store], check=False).stdout.split()
        # Nothing else tells a layer that will be used again from one that won't.
        if size and int(size[0]) > STORE_KIB:
            shutil.rmtree(store, ignore_errors=True)


def loaded_names(references: Sequence[str]) -> dict[str, str]:
    """Variable for the env file: reference, for the test images."""
    prefix = f"{REPOSITORY}/{NAME}-test-"
    return {
        "K8S_TEST_IMAGE_"
        + reference.removeprefix(prefix).partition(":")[0].upper().replace("-", "_"): reference
        for reference in references
    }
