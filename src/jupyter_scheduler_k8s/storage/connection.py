"""obstore's clients for one bucket, made at the first request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError, StorageDenied
from jupyter_scheduler_k8s.storage.credentials import Credentials
from jupyter_scheduler_k8s.storage.endpoint import (
    DEFAULT_REGION,
    Endpoint,
    find_endpoint,
    read_certificates,
)
from jupyter_scheduler_k8s.storage.faults import FolderGone, Place, explain

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

Answer = TypeVar("Answer")
# Of a small object that meets a folder that is being removed.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Stores:
    """obstore's clients.

    Attributes:
        quick: for what is small: gives up soon.
        bulk: for what may take hours as long as bytes move.
        place: what errors name.
    """

    quick: Any
    bulk: Any
    place: Place


class Connection:
    """The way to one bucket. Cheap to make; usable from several event loops."""

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str,
        region: str,
        ca_bundle: str,
        credentials: Credentials,
        store: Any = None,
    ) -> None:
        """See `Storage`, which has the defaults and the checks."""
        self.bucket = bucket
        self.credentials = credentials
        self._endpoint_url = endpoint_url
        self._region = region
        self._ca_bundle = ca_bundle
        self._lock = threading.Lock()
        self._stores: Stores | None = None
        if store is not None:
            place = Place(bucket=bucket, endpoint="a store for tests", credentials="nowhere")
            self._stores = Stores(quick=store, bulk=store, place=place)

    async def ask(self, action: str, request: Callable[[Stores], Awaitable[Answer]]) -> Answer:
        """What `request` gives, its failures as sentences.

        Args:
            action: what is tried, as it goes after "can't": "store 'a.txt'".

        Raises:
            BackendError: what went wrong. It isn't chained to obstore's exception,
                whose text holds what must not be logged.
        """
        stores = self._stores
        if stores is None:
            stores = await asyncio.to_thread(self._connect)
        try:
            return await request(stores)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore raises its own and several built-in ones
            failure = self._explain(error, action, stores)
        raise failure

    async def put(self, action: str, request: Callable[[Stores], Awaitable[Answer]]) -> Answer:
        """`ask`, for a request that stores an object and may be repeated.

        An S3 server over a file system removes the folder of the last object that is
        deleted, also while another is stored in it; the next attempt makes it anew.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self.ask(action, request)
            except FolderGone:
                continue
        return await self.ask(action, request)

    def find_region(self) -> str:
        """The region that requests are signed for. May read files."""
        return self._region or self.credentials.region() or DEFAULT_REGION

    def certificates(self) -> str:
        """The private CA's certificates as PEM text, or an empty string. Reads a file.

        Raises:
            ConfigurationError: the file that a setting names can't be used.
        """
        # AWS_CA_BUNDLE is often set for a whole machine.
        if self._endpoint_url.startswith("http://"):
            return ""
        return read_certificates(self._ca_bundle)

    def _connect(self) -> Stores:
        with self._lock:
            if self._stores is None:
                self._stores = self._make_stores()
            return self._stores

    def _make_stores(self) -> Stores:
        # Fails here, in our words, where there are no credentials.
        self.credentials()
        region = self.find_region()
        endpoint = find_endpoint(bucket=self.bucket, endpoint_url=self._endpoint_url, region=region)
        certificates = self.certificates()

        def make(options: "ClientConfig", retries: "RetryConfig") -> Any:
            from obstore.store import S3Store

            options["connect_timeout"] = timedelta(seconds=5)
            options["allow_http"] = endpoint.url.startswith("http://")
            if certificates:
                options["root_certificate"] = certificates
            # What obstore would else take from the environment is all given here: the
            # pods don't have this environment, and must come to the same bucket.
            return S3Store(
                self.bucket,
                endpoint=endpoint.url,
                aws_endpoint_url_s3=endpoint.url,
                virtual_hosted_style_request=endpoint.virtual_hosted,
                region=region,
                skip_signature=False,
                s3_express=False,
                disable_bulk_delete=True,
                client_options=options,
                retry_config=retries,
                credential_provider=self.credentials,
            )

        try:
            return self._make_both(make, endpoint)
        # obstore raises its own exceptions and ValueError; only the settings are at fault.
        except Exception as error:  # noqa: BLE001
            kind = type(error).__name__
        raise ConfigurationError(
            f"The S3 settings can't be used ({kind}); check S3_BUCKET, S3_ENDPOINT_URL, "
            "AWS_REGION and the certificates in S3_CA_BUNDLE."
        )

    def _make_both(self, make: Callable[..., Any], endpoint: Endpoint) -> Stores:
        # A retry may begin within the retry time-out, and then takes the time-out at
        # most: 50 s where something accepts connections and never answers.
        quick = make(
            {"timeout": timedelta(seconds=20)},
            {"max_retries": 6, "retry_timeout": timedelta(seconds=30)},
        )
        # A whole object may take hours, the time between two signs of life may not. 12
        # parts under way are 60 MiB, which 4 Mbit/s carry in 2 min.
        bulk = make(
            {"timeout": timedelta(hours=12), "read_timeout": timedelta(minutes=2)},
            {"max_retries": 6, "retry_timeout": timedelta(minutes=3)},
        )
        place = Place(
            bucket=self.bucket, endpoint=endpoint.shown, credentials=self.credentials.kind
        )
        return Stores(quick=quick, bulk=bulk, place=place)

    def _explain(self, error: Exception, action: str, stores: Stores) -> BackendError:
        failure = self.credentials.failure
        if failure is not None and "credential provider" in str(error):
            return failure
        found = explain(error, action=action, place=stores.place)
        if isinstance(found, StorageDenied):
            # The next attempt reads the AWS configuration anew.
            self.credentials.forget()
            with self._lock:
                if self._stores is stores:
                    self._stores = None
        return found
