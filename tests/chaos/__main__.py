"""The script: `python -m chaos --count 200 --seed 1`."""

import argparse
import json
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chaos.judge import Evidence, faults, strays
from chaos.kills import kill, pod_uid
from chaos.marks import Listener, listening
from chaos.plan import Run, plan, sources
from chaos.servers import Servers
from cluster.support import ENDED, Bucket, Kubectl, notebook, until
from local_lab.environment import cluster_environment
from local_lab.server import RequestFailed

# More at once would measure the machine.
_AT_ONCE = 5
# A note of inputs that nobody renews is looked at after five minutes.
_SWEPT_SECONDS = 480


class Chaos:
    """All runs of one call."""

    def __init__(
        self, servers: Servers, kubectl: Kubectl, listener: Listener, *, name: str
    ) -> None:
        self._servers = servers
        self._kubectl = kubectl
        self._listener = listener
        self._name = name
        self.hit: dict[int, str] = {}
        self.refused: dict[int, str] = {}

    def run(self, run: Run) -> None:
        """Ask for one run, do to it what is planned, and wait for its end."""
        path = f"run-{run.number}.ipynb"
        text = notebook(*sources(run, self._listener.address))
        (self._servers.root / path).write_text(text)
        timer = None
        if run.kill_server is not None:
            timer = threading.Timer(run.kill_server, self._servers.kill)
            timer.start()
        try:
            self._create(run, path)
            job_id = self._job_id(run)
            if run.kill:
                self._strike(run, job_id)
            until(
                lambda: self._servers.ask("GET", f"jobs/{job_id}")["status"] in ENDED,
                seconds=300,
                what=f"the end of run {run.number}",
            )
        except (AssertionError, RequestFailed, TimeoutError) as error:
            self.refused[run.number] = str(error)
        finally:
            if timer is not None:
                timer.join()
        print(".", end="", flush=True)

    def _create(self, run: Run, path: str) -> None:
        body = {
            "name": f"run {run.number}",
            "input_uri": path,
            "runtime_environment_name": "python3",
            "output_formats": ["ipynb"],
            "idempotency_token": f"{self._name}-{run.number}",
        }
        try:
            self._servers.ask("POST", "jobs", body)
        except RequestFailed as error:
            # An earlier request, whose answer died with its server, has made it.
            if error.status != 409:
                raise

    def _job_id(self, run: Run) -> str:
        (job,) = self._named(run)
        return str(job["job_id"])

    def _named(self, run: Run) -> list[dict[str, Any]]:
        # Upstream filters names by their beginning.
        found = self._servers.ask("GET", f"jobs?name=run%20{run.number}&max_items=1000")["jobs"]
        return [job for job in found if job["name"] == f"run {run.number}"]

    def _strike(self, run: Run, job_id: str) -> None:
        assert run.kill is not None
        uid = pod_uid(self._kubectl, job_id, 60)
        time.sleep(run.kill_after)
        if uid and kill(uid, run.kill, 3):
            self.hit[run.number] = run.kill

    def evidence(self, run: Run, bucket: Bucket) -> Evidence:
        """All that is known of a run now."""
        jobs = self._named(run)
        keys = [f"jobs/{job['job_id']}/outputs/output.ipynb" for job in jobs]
        stored = [key for key in keys if bucket.keys(key)]
        return Evidence(
            jobs=jobs,
            marks=self._listener.marks(run.number),
            hit=self.hit.get(run.number),
            outputs=bucket.read(stored[0]) if stored else None,
        )


def chaos(count: int, seed: int) -> int:
    """Do it; how many faults were found."""
    name = f"chaos-{secrets.token_hex(4)}"
    administrator = cluster_environment(administrator=True)
    kubectl = Kubectl(administrator, administrator["K8S_NAMESPACE"])
    bucket = Bucket(Bucket.of(administrator).client, name)
    bucket.client.make_bucket(name)
    host = urlsplit(administrator["S3_ENDPOINT_URL"]).hostname or ""
    environment = cluster_environment() | {"JUPYTERHUB_USER": name, "S3_BUCKET": name}
    with tempfile.TemporaryDirectory() as folder, listening(host) as listener:
        servers = Servers(Path(folder), environment)
        try:
            return _judged(
                Chaos(servers, kubectl, listener, name=name), servers, bucket, plan(count, seed)
            )
        finally:
            servers.stop()
            kubectl.run("delete", "jobs,secrets", "-l", f"jupyter-scheduler.io/owner={name}")
            for key in bucket.keys("jobs/") + bucket.keys("pending/"):
                bucket.client.remove_object(name, key)
            bucket.client.remove_bucket(name)


def _judged(made: Chaos, servers: Servers, bucket: Bucket, runs: Sequence[Run]) -> int:
    begin = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(made.run, runs))
    print(f"\n{len(runs)} runs in {time.monotonic() - begin:.0f} s; ", end="")
    print(f"{servers.killed} servers killed; in pods: {sorted(made.hit.values())}")
    # The last word is a server's that saw nothing of it.
    servers.kill()
    found = [f"run {number}: {why}" for number, why in made.refused.items()]
    job_ids, statuses = set(), []
    for run in runs:
        evidence = made.evidence(run, bucket)
        found += [f"run {run.number}: {fault}; {run}" for fault in faults(run, evidence)]
        job_ids |= {job["job_id"] for job in evidence.jobs}
        statuses += [job["status"] for job in evidence.jobs]
    print(json.dumps({status: statuses.count(status) for status in sorted(set(statuses))}))
    left = list(strays(bucket.keys(), job_ids))
    print(f"{len(left)} keys of no record; waiting until they are cleared away" if left else "")
    deadline = time.monotonic() + _SWEPT_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(5)
        left = list(strays(bucket.keys(), job_ids))
    found += [f"{key} belongs to no record" for key in left]
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return len(found)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many runs")
    parser.add_argument("--seed", type=int, default=1, help="what happens to them")
    given = parser.parse_args()
    sys.exit(1 if chaos(given.count, given.seed) else 0)


if __name__ == "__main__":
    main()
