"""Starts: until 10,000 records are listed, and until JupyterLab answers at all."""

import itertools
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_scheduler.orm import Job
from sqlalchemy import desc

from budgets import jobs
from budgets.repeated import interleaved, milliseconds
from budgets.servers import Lab
from budgets.table import Measurement
from jupyter_scheduler_k8s import records
from jupyter_scheduler_k8s.cluster import Connection, KubernetesTransport, RecordCache, Reflector
from jupyter_scheduler_k8s.database import CacheSource, K8sDatabaseManager
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record

_RECORDS = 10_000
_TIMES = 5
_LAB_TIMES = 20
# What a start may take longer with our extension.
_LAB_MS = 50
_PAGE = 25
_PATIENCE_SECONDS = 120


def listed(folder: Path) -> list[Measurement]:
    """The first list of our cache, beside one raw LIST and its JSON parse."""
    with _page_server() as port:
        address = f"http://127.0.0.1:{port}"
        connection = Connection(kubeconfig=_kubeconfig(folder, address))
        # Loads the Kubernetes client, which a server does once and before it needs it.
        connection.target()
        ours, theirs = interleaved(
            lambda: milliseconds(lambda: _mirror(connection)),
            lambda: milliseconds(lambda: _raw(address)),
            times=_TIMES,
        )
    return [
        Measurement(
            what=f"start with {_RECORDS:,} records, until listed",
            ours=ours,
            theirs=theirs,
            against="raw LIST + JSON parse",
            unit="ms",
            budget=1.5,
            note="from a server in another process, over HTTP, that has its pages ready; ours"
            " is both first lists and a page of the newest; the client is imported before.",
        )
    ]


def lab_start(lab: Lab) -> list[Measurement]:
    """What our extension and scheduler add until JupyterLab's first answer."""
    homes = (f"start-{number}" for number in itertools.count())
    ours, theirs = interleaved(
        lambda: _start_ms(lab, "ours", next(homes)),
        lambda: _start_ms(lab, "stock", next(homes)),
        times=_LAB_TIMES,
    )
    return [
        Measurement(
            what="added to JupyterLab's start, until it answers",
            ours=ours - theirs,
            unit="ms",
            budget=_LAB_MS,
            absolute=True,
            note=f"the difference of the medians of {_LAB_TIMES} starts each, in turn, in new"
            f" homes: {ours:.0f} ms with it, {theirs:.0f} ms with stock.",
        )
    ]


def _start_ms(lab: Lab, mode: str, home: str) -> float:
    began = time.perf_counter()
    with lab.start(mode, home):
        return (time.perf_counter() - began) * 1000


@contextmanager
def _page_server() -> Iterator[int]:
    """Its port."""
    command = (sys.executable, "-m", "budgets.page_server", str(_RECORDS))
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ.copy()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _kubeconfig(folder: Path, address: str) -> str:
    # JSON is YAML too.
    file = folder / "page-server.kubeconfig"
    context = {"cluster": "c", "user": "u"}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": context}],
                "current-context": "c",
            }
        )
    )
    return str(file)


def _raw(address: str) -> None:
    path = f"{address}/apis/batch/v1/namespaces/bench/jobs"
    with urllib.request.urlopen(path) as answer:
        found = json.loads(answer.read())
    if len(found["items"]) != _RECORDS:
        raise RuntimeError(f"The list has {len(found['items'])} Jobs.")


def _mirror(connection: Connection) -> None:
    log = logging.getLogger("bench")
    cache = RecordCache(job_record, log=log)
    reflectors = [
        Reflector(
            KubernetesTransport(
                connection,
                namespace="bench",
                resource=resource,
                label_selector=records.selector(jobs.OWNER),
            ),
            sink,
            log=log,
        )
        for resource, sink in cache.sinks.items()
    ]
    for reflector in reflectors:
        reflector.start()
    try:
        if not cache.wait_synced(_PATIENCE_SECONDS):
            raise RuntimeError(f"The records did not come: {cache.problem()}")
        if len(_newest(cache)) != _PAGE:
            raise RuntimeError("The page is not whole.")
    finally:
        for reflector in reflectors:
            reflector.stop(timeout=0)


def _newest(cache: RecordCache[JobRecord]) -> list[object]:
    session = K8sDatabaseManager(jobs=CacheSource(cache)).create_session()()
    return session.query(Job).order_by(desc(Job.create_time)).limit(_PAGE).all()
