"""The commands: what ``make cluster`` and its companions do, in order."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from . import (
    access,
    binaries,
    cleanup,
    env_file,
    images,
    kind,
    native,
    prerequisites,
    processes,
    s3,
    slots,
)
from .cache import digest, locked, tree_digest
from .errors import LocalClusterError
from .kind import KindCluster
from .layout import BUCKET, NAMESPACE, Layout
from .native import NativeCluster
from .s3 import S3
from .shell import say
from .trees import remove_tree

AnyCluster = NativeCluster | KindCluster


def up(layout: Layout, *, with_image: bool = True) -> None:
    """Brings everything up; safe to repeat."""
    started = time.monotonic()
    if sys.platform != "linux":
        raise LocalClusterError("The local cluster needs Linux; any other cluster can be used too.")
    engine = kind.engine()
    if engine is None:
        prerequisites.ensure(layout)
    with _exclusive(layout):
        with ThreadPoolExecutor(max_workers=1) as side:
            # Packages come over the network while the compiler works.
            image = images.notebook_image(layout)
            ahead = with_image and not engine
            building = side.submit(images.Buildah(layout).build, image) if ahead else None
            cluster: AnyCluster = kind.up(layout, engine) if engine else native.up(layout)
            storage = s3.up(layout, cluster.s3_address)
            binaries.provide(layout, binaries.NEXT_RUNS)
            if building:
                building.result()
        access.apply_manifests(cluster, layout)
        access.write_server_login(cluster, layout)
        values = {"K8S_IMAGE": _provide(layout, cluster, image)} if with_image else {}
        _write_env(layout, storage, values)
    say(f"{cluster.description}, namespace {NAMESPACE}")
    say(f"S3 at {storage.endpoint}, bucket {BUCKET}")
    for reference in values.values():
        say(f"Image {reference}")
    say(f"Environment for shells: . {layout.env_file}")
    say(f"Up after {time.monotonic() - started:.0f} s")


def load_images(layout: Layout, *, tests: bool) -> None:
    """Builds and imports the notebook image or the test images into the running cluster."""
    with _exclusive(layout):
        cluster = _running(layout)
        if tests:
            built = [_provide(layout, cluster, image) for image in images.test_images(layout)]
            values = images.loaded_names(built)
        else:
            values = {"K8S_IMAGE": _provide(layout, cluster, images.notebook_image(layout))}
        env_file.write(layout.env_file, {**env_file.read(layout.env_file), **values})
        for name, reference in values.items():
            say(f"{name} is {reference}")


def build_image(layout: Layout) -> None:
    """Builds the notebook image without a cluster."""
    image = images.notebook_image(layout)
    engine = kind.engine()
    if engine:
        reference = _engine_reference(image)
        KindCluster(layout, engine).build(image.name, image.context, reference)
        say(f"{engine} has {reference}")
        return
    prerequisites.ensure(layout)
    reference, folder = images.Buildah(layout).build(image)
    say(f"{reference} is in {folder}")


def down(layout: Layout) -> None:
    """Removes the cluster, its records and its S3 data; what was built stays in the cache."""
    engine = kind.engine()
    with _exclusive(layout):
        if engine:
            kind.down(layout, engine)
            cleanup.end_everything(layout)
        claim = slots.claim_of(layout)
        if claim:
            cleanup.take_down(claim)
            slots.give_back(claim)
        cleanup.remove_state(layout)
    cleanup.unmount_builds(layout)
    cleanup.remove_run_root()
    say("The cluster is down; its records and S3 data are deleted.")


def status(layout: Layout) -> None:
    """Says what runs. Raises when something that should does not."""
    engine = kind.engine()
    if engine:
        cluster: AnyCluster = KindCluster(layout, engine)
    else:
        claim = slots.claim_of(layout)
        if not claim:
            raise LocalClusterError("No local cluster of this checkout is up; run `make cluster`.")
        cluster = native.require_claim(layout)
    roles = processes.running(layout.state)
    for role in sorted(roles):
        say(f"{role}: {', '.join(str(process.pid) for process in roles[role])}")
    say(cluster.description)
    say(cluster.kubectl(["get", "nodes", "-o", "wide"]).rstrip())
    say(cluster.kubectl(["-n", NAMESPACE, "get", "jobs,cronjobs,pods"]).rstrip())
    say(f"Environment for shells: . {layout.env_file}")


def delete_records(layout: Layout) -> None:
    """Deletes all jobs and their files, and keeps the cluster."""
    cluster = _running(layout)
    said = access.delete_records(cluster).strip()
    if said:
        say(said)
    # The bucket is a folder; what is below it are the objects.
    for path in (layout.s3_data / BUCKET).iterdir():
        # The server's own folder for unfinished uploads.
        if path.name != ".sgwtmp":
            remove_tree(path)
    say("All records and files are deleted.")


def _exclusive(layout: Layout) -> AbstractContextManager[None]:
    return locked(
        cleanup.lock_of(layout.state),
        waiting="Another command works on this cluster; waiting for it.",
    )


def _running(layout: Layout) -> AnyCluster:
    engine = kind.engine()
    return KindCluster(layout, engine) if engine else native.require_claim(layout)


def _provide(layout: Layout, cluster: AnyCluster, image: images.Image) -> str:
    """Makes sure that the cluster has the image as its sources are now; returns its reference."""
    if isinstance(cluster, KindCluster):
        reference = _engine_reference(image)
        if not cluster.has_image(reference):
            cluster.build(image.name, image.context, reference)
            cluster.load(image.name, reference)
        return reference
    reference, folder = images.Buildah(layout).build(image)
    if not cluster.has_image(reference):
        cluster.load_image(folder, reference)
    return reference


def _engine_reference(image: images.Image) -> str:
    return image.reference(digest([images.RECIPE, tree_digest(image.context)]))


def _write_env(layout: Layout, storage: S3, values: dict[str, str]) -> None:
    """Writes the env file, and keeps the names of test images that are still right."""
    before = env_file.read(layout.env_file)
    kept = {name: value for name, value in before.items() if name.startswith("K8S_TEST_IMAGE_")}
    env_file.write(
        layout.env_file,
        {
            "KUBECONFIG": str(layout.kubeconfig),
            "K8S_NAMESPACE": NAMESPACE,
            "S3_BUCKET": BUCKET,
            "S3_ENDPOINT_URL": storage.endpoint,
            "AWS_ACCESS_KEY_ID": storage.access_key,
            "AWS_SECRET_ACCESS_KEY": storage.secret_key,
            "AWS_REGION": s3.REGION,
            **values,
            **kept,
        },
    )
