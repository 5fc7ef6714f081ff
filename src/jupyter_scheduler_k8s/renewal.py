"""The pods' S3 credentials, written again before they expire, for as long as a server lives.

A pod reads the Secret when it starts. Runs of a schedule, attempts after the first
and pods that wait for a node start long after a request has written it.
"""

import asyncio
import random as random_module
import threading
import time
from collections.abc import Callable
from logging import Logger

from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.cluster.backoff import Backoff
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.provision import Provision

# How long before their end the keys are renewed: botocore gives new ones for keys
# with less than 15 minutes left, and insists on it from 10 minutes on.
EARLY_SECONDS = 600
# Keys that live no longer than that are looked at this often.
_LEAST_SECONDS = 60
# A login that has expired is renewed by a person, at any time.
_FIRST_DELAY, _LONGEST_DELAY = 15, 600


class Renewal:
    """One thread, which sleeps until keys are about to expire. Without such keys it ends."""

    def __init__(
        self,
        provision: Provision,
        *,
        client: ClusterClient,
        is_needed: Callable[[], bool],
        log: Logger,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """
        Args:
            provision: what knows the Secret.
            client: writes it.
            is_needed: whether pods of this owner may start without a request to this server;
                may block until that is known.
            log: where what can't be renewed is said.
            wall_clock: seconds since the epoch.
            random: numbers in [0, 1).
        """
        self._provision = provision
        self._client = client
        self._is_needed = is_needed
        self._log = log
        self._wall_clock = wall_clock
        self._backoff = Backoff(first=_FIRST_DELAY, cap=_LONGEST_DELAY, random=random)
        self._told = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._ended.set()

    def _run(self) -> None:
        while (wait := self.renew()) is not None and not self._ended.wait(wait):
            pass

    def renew(self) -> float | None:
        """Write the Secret as it is now, where that is of use. Blocking.

        Returns:
            The seconds until that is to be done again; None where nothing expires.
        """
        try:
            expires_at = self._write()
        except BackendError as error:
            self._tell(str(error))
            return self._backoff.next()
        except Exception as error:  # noqa: BLE001 - the next attempt may go well
            self._tell(f"{type(error).__name__}: {error}")
            return self._backoff.next()
        self._backoff.reset()
        if self._told:
            self._told = ""
            self._log.info("The pods' S3 credentials are renewed again.")
        if expires_at is None:
            return None
        return max(expires_at - self._wall_clock() - EARLY_SECONDS, _LEAST_SECONDS)

    def _write(self) -> float | None:
        is_needed = self._is_needed()
        secret, expires_at = asyncio.run(self._provision.credentials())
        if is_needed and secret is not None:
            self._client.apply_secret(secret)
        return expires_at

    def _tell(self, why: str) -> None:
        # Once, and not with every attempt: it may last for days.
        if why != self._told:
            self._told = why
            self._log.warning(
                "The pods' S3 credentials were not renewed; what starts later may fail: %s", why
            )
