"""What our parts of the pages ask for, beside what upstream's own addresses tell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_scheduler.extension import JOB_ID_REGEX
from jupyter_server.base.handlers import APIHandler
from tornado import web

from jupyter_scheduler_k8s.errors import BackendError, ClusterUnavailable, NotFound
from jupyter_scheduler_k8s.nodes import UNKNOWN, KnownNodes, Survey

FORM = r"jupyter_scheduler_k8s/form"
LOG = rf"jupyter_scheduler_k8s/jobs/{JOB_ID_REGEX}/log"

# How long a form waits for what it can do without.
_PATIENCE_SECONDS = 3.0


class FormHandler(APIHandler):
    """What the cluster's nodes have: none of it bounds what a job may ask for.

    `largest_node` is the most that any node has of each, or null; `gpu_kinds` are the
    values of k8s_gpu_kind to choose from, none where a number says enough; `remark`
    says why nothing is known, where that is worth knowing, else null.
    """

    def initialize(self, nodes: KnownNodes | None, trouble: str = "") -> None:
        """`trouble` is why there are no nodes to ask for."""
        self._nodes = nodes
        self._trouble = trouble

    @web.authenticated
    async def get(self) -> None:
        """Answer within seconds, whatever the cluster does."""
        seen, remark = await self._seen()
        kinds = [{"value": value, "label": label} for value, label in seen.gpu_kinds.items()]
        answer: dict[str, Any] = {
            "largest_node": dict(seen.most) or None,
            "gpu_kinds": kinds,
            "remark": remark,
        }
        self.finish(answer)

    async def _seen(self) -> tuple[Survey, str | None]:
        if self._nodes is None:
            return UNKNOWN, self._trouble
        # A look that takes longer goes on: the next form has what it found.
        looking = asyncio.wrap_future(self._nodes.look())
        # What goes wrong after that is missed by nobody.
        looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({looking}, timeout=_PATIENCE_SECONDS)
        if not looking.done():
            return UNKNOWN, (
                f"The cluster doesn't answer: nothing came within {_PATIENCE_SECONDS:.0f} seconds."
            )
        try:
            return looking.result(), None
        except ClusterUnavailable as error:
            return UNKNOWN, f"The cluster doesn't answer: {error}"
        except BackendError as error:
            return UNKNOWN, str(error)


class LogHandler(APIHandler):
    """The end of a job's log as `log`, empty where there is none; or why not, as `message`."""

    def initialize(self, read: Callable[[str], Awaitable[str]]) -> None:
        """`read` gives the end of the log of the job of an id."""
        self._read = read

    @web.authenticated
    async def get(self, job_id: str) -> None:
        """Answer for jobs of this server's owner only."""
        try:
            answer = {"log": await self._read(job_id)}
        except BackendError as error:
            self.set_status(404 if isinstance(error, NotFound) else 500)
            answer = {"message": str(error)}
        self.finish(answer)
