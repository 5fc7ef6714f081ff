"""What a Job needs around it before it can be created: where it runs, and what opens S3."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from jupyter_scheduler_k8s import manifests
from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.manifests import Placement
from jupyter_scheduler_k8s.resources import quota_resources
from jupyter_scheduler_k8s.storage import Storage


class Provision:
    """Looks it up anew for each job, in the cluster, in the bucket's settings and boto3's chain."""

    def __init__(
        self,
        config: K8sConfig,
        *,
        client: Callable[[], ClusterClient],
        storage: Callable[[], Storage],
    ) -> None:
        """The client and the bucket are asked for when they are needed."""
        self._config = config
        self.client = client
        self.storage = storage

    async def placement(self) -> Placement:
        """What manifests need to know of the cluster as it is now."""
        client = self.client()

        def look() -> Placement:
            return Placement(
                context=client.active_context(), quota=quota_resources(client.resource_quotas())
            )

        placement: Placement
        placement, region = await all_or_nothing(asyncio.to_thread(look), self.storage().region())
        return replace(placement, region=region)

    async def credentials_secret(self) -> dict[str, Any] | None:
        """The Secret with what opens S3, not written yet.

        Returns:
            None where pods have an identity of their own and S3 has a public certificate.
        """
        secret, _ = await self.credentials()
        return secret

    async def credentials(self) -> tuple[dict[str, Any] | None, float | None]:
        """That Secret, and when what it holds expires.

        Returns:
            The time in seconds since the epoch, None where nothing expires or says when.
        """
        storage = self.storage()
        found, certificates = await all_or_nothing(
            storage.pod_credentials(), storage.ca_certificates()
        )
        data = dict(found.data) if found else {}
        if certificates:
            data[manifests.CA_KEY] = certificates
        secret = manifests.credentials_secret(self._config, data) if data else None
        return secret, found.expires_at if found else None


async def all_or_nothing(*parts: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """The results of coroutines that run side by side.

    Raises:
        Exception: that of the first that failed, after the others have been
            cancelled and have ended.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)
