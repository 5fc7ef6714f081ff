"""What a server does for runs beside answering requests, in one thread for all of them.

- A run that can't begin (no node, no image, a container that can't start, a pod
  that is refused) is ended when its time is up: Kubernetes would let it wait for ever.
- A run whose node is lost is ended, too: Kubernetes waits for that node's word for ever.
- Why a run failed is written onto its Job, because pods don't last; the end of its
  log goes to S3, where the run itself could not bring it there.

Everything is read off the mirror and may be done twice, by two servers or after
a crash, with the same result. While no server is alive, a run that can't begin, or
can't end, waits; the next server ends it.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from logging import Logger
from typing import Any

from jupyter_scheduler_k8s import diagnosis, manifests, names, objects
from jupyter_scheduler_k8s.cluster import ClusterClient, RecordCache
from jupyter_scheduler_k8s.cluster.slim import belongs_to
from jupyter_scheduler_k8s.errors import BackendError, NotFound
from jupyter_scheduler_k8s.reasons import Diagnosis
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.status import PATIENCE_SECONDS
from jupyter_scheduler_k8s.waiting import event_reason, is_hopeless, is_silent, waiting_reason

# How long the notebook's container may be gone, with the other still waiting
# for it, before the run is looked at.
_LONE_SECONDS = 30
# How long after its grace period a pod may still be there that was to end. The kubelet
# needs seconds; a node that is silent for longer than Kubernetes itself has patience
# with one (5 minutes) is taken for lost.
_LOST_SECONDS = 300
_LOG_LINES = 200


class Supervisor:
    """Watches over the runs of one owner. Idle until one changes or its time is up."""

    def __init__(
        self,
        *,
        client: ClusterClient,
        cache: RecordCache[JobRecord],
        scheduling_timeout: float,
        log: Logger,
        has_begun: Callable[[Mapping[str, Any], Mapping[str, Any]], bool],
        read_result: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
        keep_log: Callable[[Mapping[str, Any], Mapping[str, Any], str], None],
        drop_log: Callable[[Mapping[str, Any], Mapping[str, Any]], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            client: writes.
            cache: what is read.
            scheduling_timeout: seconds from a pod's creation within which it must begin.
            log: where what can't be done is said.
            has_begun: whether the marker of a Job's run in a pod of it is in S3.
            read_result: the `result.json` of a Job's run; None where there is none.
            keep_log: stores the end of the log of a Job's pod.
            drop_log: removes what that stored.
            wall_clock: seconds since the epoch.
        """
        self._client = client
        self._cache = cache
        self._timeout = scheduling_timeout
        self._log = log
        self._has_begun = has_begun
        self._read_result = read_result
        self._keep_log = keep_log
        self._drop_log = drop_log
        self._wall_clock = wall_clock
        self._changed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._due: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        cache.on_change(self._changed.put)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._changed.put(None)

    def _run(self) -> None:
        # Jobs are listed before their pods: what is kept must have seen both.
        self._cache.wait_synced()
        while True:
            wait = min(self._due.values(), default=float("inf")) - self._wall_clock()
            try:
                name = self._changed.get(timeout=None if wait == float("inf") else max(wait, 0))
            except queue.Empty:
                for due, at in list(self._due.items()):
                    if at <= self._wall_clock():
                        self._safely(due)
                continue
            if name is None:
                return
            self._safely(name)

    def _safely(self, name: str) -> None:
        try:
            self.look(name)
        except NotFound:
            self._due.pop(name, None)
        except BackendError as error:
            self._log.warning("%s was not looked after: %s", name, error)
            self._due[name] = self._wall_clock() + _LONE_SECONDS
        except Exception:  # noqa: BLE001 - one run must not end the care for the others
            self._log.exception("%s could not be looked after.", name)
            self._due.pop(name, None)

    def look(self, name: str) -> None:
        """Do what the Job of this name needs now; remember when to look again."""
        self._due.pop(name, None)
        found = self._cache.objects(name)
        if found is None:
            return
        job, pods = found
        if objects.condition(job, "Complete", "Failed"):
            self._keep_diagnosis(job)
        elif given_up := [pod for pod in pods if objects.is_given_up(pod)]:
            self._release_if_lost(job, given_up)
        elif objects.condition(job, "FailureTarget") or diagnosis.end_reason(job) is not None:
            return
        elif pods and not is_silent(newest := objects.newest_first(pods)[0]):
            self._end_if_overdue(job, newest)
        else:
            self._look_for_events(job, newest if pods else job)

    def _keep_diagnosis(self, job: Mapping[str, Any]) -> None:
        if not objects.condition(job, "Failed") or diagnosis.is_kept(job):
            return
        # What is written once must have seen the pods' end, which the mirror may not have yet.
        pods = objects.newest_first(self._pods_of(job))
        saved = bool(pods) and self._save_log(job, pods[0])
        result = None if pods else self._read_result(job)
        try:
            self._keep(job, diagnosis.diagnose(job, pods, result))
        except NotFound:
            # Deleted meanwhile, its files before it: the log may have come after them.
            if saved:
                self._drop_log(job, pods[0])
            raise

    def _pods_of(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The Job's pods as the API has them now."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        found = self._client.list_pods(f"{names.POD_JOB_NAME_LABEL}={name}")
        return [pod for pod in found if belongs_to(pod, uid)]

    def _save_log(self, job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
        """Keep the end of the log of a run that was ended before it could do so itself.

        Returns:
            Whether it was, or may have been, stored.
        """
        if not objects.terminated(pod, names.NOTEBOOK_CONTAINER):
            return False
        text = ""
        try:
            if self._read_result(job) is not None:
                return False
            text = self._client.read_log(
                pod["metadata"]["name"], names.NOTEBOOK_CONTAINER, tail_lines=_LOG_LINES
            )
            if text:
                self._keep_log(job, pod, text)
        except BackendError as error:
            # The reason of the failure is worth more, and follows.
            self._log.warning("The log of %s was not kept: %s", job["metadata"]["name"], error)
        return bool(text)

    def _end_if_overdue(self, job: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
        name, now = job["metadata"]["name"], self._wall_clock()
        notebook = objects.terminated(pod, names.NOTEBOOK_CONTAINER)
        files = objects.terminated(pod, names.FILES_CONTAINER)
        why = waiting_reason(pod)
        if why is not None:
            patience = 0 if is_hopeless(pod) else self._timeout
            at = objects.seconds(pod["metadata"]["creationTimestamp"]) + patience
        elif bool(notebook) != bool(files):
            at = objects.seconds((notebook or files)["finishedAt"]) + _LONE_SECONDS
        else:
            return
        if now < at:
            self._due[name] = at
        elif why is not None:
            self._end(job, why)
        elif files:
            # Nobody is left who could store what the notebook computes.
            self._end(job, diagnosis.diagnose(job, [pod]))
        elif not self._has_begun(job, pod):
            self._end(job, diagnosis.never_began(pod))

    def _release_if_lost(
        self, job: Mapping[str, Any], given_up: Sequence[Mapping[str, Any]]
    ) -> None:
        """End a run whose pods were to end long ago and have not.

        Only their node could say that they did. The Job fails when it is to fail and
        its pods' objects are gone; one without the other leaves it as it is.
        """
        name, now = job["metadata"]["name"], self._wall_clock()
        at = max(map(_lost_at, given_up))
        if now < at:
            self._due[name] = at
            return
        # Outputs are at stake: only what is so this moment counts.
        live = [pod for pod in self._pods_of(job) if objects.is_given_up(pod)]
        if not live or now < max(map(_lost_at, live)):
            return
        why = diagnosis.node_lost()
        if diagnosis.end_reason(job) is None and not objects.condition(job, "FailureTarget"):
            self._end(job, why)
        elif diagnosis.end_reason(job) is None and not diagnosis.is_kept(job):
            # Its time limit was reached because nobody was left to end it.
            self._keep(job, why)
        for pod in live:
            self._delete_by_force(pod["metadata"])

    def _delete_by_force(self, pod: Mapping[str, Any]) -> None:
        try:
            self._client.delete_pod(pod["name"], uid=pod["uid"], force=True)
        except NotFound:
            return
        self._log.warning(
            "The pod %s was deleted by force: its node has not said that it ended.", pod["name"]
        )

    def _look_for_events(self, job: Mapping[str, Any], silent: Mapping[str, Any]) -> None:
        """Of a Job without a pod, or a pod without a word, events alone say why it waits.

        They are read when that is worth saying, and when the time is up.
        """
        name, now = job["metadata"]["name"], self._wall_clock()
        created = objects.seconds(silent["metadata"]["creationTimestamp"])
        first = created + min(PATIENCE_SECONDS, self._timeout)
        if now < first:
            self._due[name] = first
            return
        overdue = now >= created + self._timeout
        if not overdue:
            self._due[name] = created + self._timeout
            if diagnosis.kept_waiting(job):
                return
        uid = silent["metadata"]["uid"]
        why = event_reason(self._client.list_events(f"involvedObject.uid={uid}"))
        if why is not None and overdue:
            self._end(job, why)
        elif why is not None:
            text = diagnosis.diagnosis_annotation(why)
            self._patch(job, {"metadata": {"annotations": {names.WAITING_ANNOTATION: text}}})

    def _end(self, job: Mapping[str, Any], why: Diagnosis) -> None:
        self._patch(
            job,
            manifests.end_patch("failed", category=why.category.name, message=why.message),
        )

    def _keep(self, job: Mapping[str, Any], why: Diagnosis) -> None:
        text = diagnosis.diagnosis_annotation(why)
        self._patch(job, {"metadata": {"annotations": {names.DIAGNOSIS_ANNOTATION: text}}})

    def _patch(self, job: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        with self._cache.writing() as write:
            write.put(self._client.patch_job(job["metadata"]["name"], body))


def _lost_at(pod: Mapping[str, Any]) -> float:
    """When a pod that was given up counts as lost; its grace period is in its timestamp."""
    return objects.seconds(pod["metadata"]["deletionTimestamp"]) + _LOST_SECONDS
