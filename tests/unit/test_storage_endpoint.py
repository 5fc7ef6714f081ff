import pytest

from jupyter_scheduler_k8s.storage.endpoint import Endpoint, check_endpoint_url, find_endpoint


@pytest.mark.parametrize(
    ("bucket", "url", "region", "found"),
    [
        ("b", "", "eu-west-1",
         Endpoint("https://b.s3.eu-west-1.amazonaws.com", True, "AWS (eu-west-1)")),
        ("b", "", "cn-north-1",
         Endpoint("https://b.s3.cn-north-1.amazonaws.com.cn", True, "AWS (cn-north-1)")),
        ("a.b", "", "us-east-1",
         Endpoint("https://s3.us-east-1.amazonaws.com", False, "AWS (us-east-1)")),
        ("b", "https://storage.googleapis.com/", "auto",
         Endpoint("https://storage.googleapis.com", False, "https://storage.googleapis.com")),
        ("b", "http://[::1]:9000", "us-east-1",
         Endpoint("http://[::1]:9000", False, "http://[::1]:9000")),
    ],
)  # fmt: skip
def test_where_requests_go(bucket: str, url: str, region: str, found: Endpoint) -> None:
    assert (
        find_endpoint(bucket=bucket, endpoint_url=check_endpoint_url(url), region=region) == found
    )
