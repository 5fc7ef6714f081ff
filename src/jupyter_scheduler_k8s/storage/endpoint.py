"""The address of the S3 server, and the certificates that it is trusted by."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jupyter_scheduler_k8s.errors import ConfigurationError

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests for one bucket go.

    Attributes:
        url: what obstore is given.
        virtual_hosted: the bucket is in the host's name, not in the path.
        shown: the address as errors name it.
    """

    url: str
    virtual_hosted: bool
    shown: str


def check_endpoint_url(url: str) -> str:
    """Return `url` without a slash at its end; empty means AWS.

    Raises:
        ConfigurationError: it is no http(s) address, or holds more than one.
    """
    # The value isn't repeated: people put credentials into such addresses.
    if url and not _is_address(url):
        raise ConfigurationError(
            "S3_ENDPOINT_URL must be an address like https://storage.googleapis.com or "
            "http://minio.example:9000, with neither user nor query."
        )
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading a port that is no number raises.
        _ = parts.port
    except ValueError:
        return False
    return bool(
        parts.scheme in ("http", "https")
        and parts.hostname
        and parts.username is None
        and not parts.query
        and not parts.fragment
    )


def find_endpoint(*, bucket: str, endpoint_url: str, region: str) -> Endpoint:
    """Where requests for `bucket` go.

    Servers other than AWS are asked by path: few of them resolve bucket names.
    """
    if endpoint_url:
        return Endpoint(url=endpoint_url, virtual_hosted=False, shown=endpoint_url)
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"s3.{region}.{suffix}"
    # AWS's certificates are for one label before the host, and a dot would make two.
    if "." in bucket:
        return Endpoint(url=f"https://{host}", virtual_hosted=False, shown=f"AWS ({region})")
    return Endpoint(url=f"https://{bucket}.{host}", virtual_hosted=True, shown=f"AWS ({region})")


def read_certificates(ca_bundle: str) -> str:
    """The PEM text of the private CA's certificates, or an empty string. Reads a file.

    Args:
        ca_bundle: path of a PEM file; where it is empty, AWS_CA_BUNDLE names it.

    Raises:
        ConfigurationError: the file can't be read or holds no certificate.
    """
    setting = "S3_CA_BUNDLE" if ca_bundle else "AWS_CA_BUNDLE"
    path = ca_bundle or os.environ.get("AWS_CA_BUNDLE", "")
    if not path:
        return ""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(
            f"The certificates in '{path}' can't be read; {setting} must name a PEM file."
        ) from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigurationError(
            f"There are no certificates in '{path}'; {setting} must name a PEM file."
        )
    return text
