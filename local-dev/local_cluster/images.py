"""Building images with buildah, and keeping them as archives by the content of their sources."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import debian, indexes, native, oci
from .cache import cached, digest, locked, tree_digest
from .layout import NAME, RUN_ROOT, Layout
from .shell import run, run_long
from .trees import remove_tree, unmount_below

RECIPE = "2"
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

    def build(self, image: Image) -> tuple[str, Path]:
        """The reference of the image, and an OCI layout that holds it."""
        with tempfile.TemporaryDirectory(prefix="jupyter-scheduler-k8s-") as scratch:
            # Built from a copy: what is edited meanwhile must not end under this key.
            copy = Path(scratch) / image.context.name
            shutil.copytree(image.context, copy, symlinks=True)
            base = debian.base_layer(self.layout)
            key = digest([RECIPE, base.stem, tree_digest(copy)])
            reference = image.reference(key)

            def make(target: Path) -> None:
                lock = self.layout.cache / "buildah.lock"
                with locked(lock, waiting="Another image is being built; waiting for it."):
                    unmount_below(self.layout.cache / "buildah")
                    try:
                        self._build(Image(image.name, copy), reference, target)
                    finally:
                        unmount_below(self.layout.cache / "buildah")
                        remove_tree(RUN_ROOT / "buildah")

            kind = f"image-{image.name}"
            return reference, cached(self.layout.cache, kind, key, make)

    def _build(self, image: Image, reference: str, target: Path) -> None:
        log = self.layout.logs / f"build-{image.name}.log"
        base = self._base(log)
        volumes = [
            word
            for mount in indexes.mounts(self.layout.state / "indexes")
            for word in ("--volume", mount)
        ]
        run_long(
            f"Building the image {image.name}",
            self.command(
                *("build", "--isolation", "chroot", "--layers", "--pull=never"),
                *("--build-arg", f"BASE_IMAGE={base}"),
                *volumes,
                *("--tag", reference),
                *("--file", image.context / "Containerfile", image.context),
            ),
            log=log,
            note="a minute or two the first time",
        )
        # What other images share with this one is there already: a push writes the rest.
        oci.lend_blobs(target, self._layouts())
        run_long(
            f"Writing the image {image.name}",
            self.command("push", "--disable-compression", reference, f"oci:{target}"),
            log=log,
        )
        oci.uncompress(target)
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
            with archive.open("wb") as stream:
                oci.pack(scratch, stream, reference=reference, has=lambda _: False)
            pull = self.command("pull", "--quiet", f"oci-archive:{archive}")
            run_long("Unpacking the base image", pull, log=log)
            run(self.command("tag", oci.image_id(scratch), reference))
        finally:
            remove_tree(scratch)
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
            remove_tree(store)


def loaded_names(references: Sequence[str]) -> dict[str, str]:
    """Variable for the env file: reference, for the test images."""
    prefix = f"{REPOSITORY}/{NAME}-test-"
    return {
        "K8S_TEST_IMAGE_"
        + reference.removeprefix(prefix).partition(":")[0].upper().replace("-", "_"): reference
        for reference in references
    }
