"""What the pages of a server are told about what jobs may ask for."""

from typing import Any

import pytest
from traitlets.config import Config

from jupyter_scheduler_k8s import forms
from jupyter_scheduler_k8s.config import JOB_PARAMETERS, SCHEDULE_PARAMETERS, K8sConfig


def offered(*, full_mode: bool = True, **settings: Any) -> dict[str, Any]:
    config = K8sConfig(config=Config({"K8sConfig": settings}))
    return forms.page_settings(config, full_mode=full_mode)


def test_everything_is_offered_by_default() -> None:
    found = offered(image="ours:1")

    assert found["parameters"] == list(JOB_PARAMETERS)
    assert found["image"] == "ours:1"
    assert found["allowed_images"] == ["*"]
    assert found["allowed_secrets"] == []
    assert found["max_timeout_seconds"] is None
    assert found["max_retries"] == 5
    assert "S3_BUCKET" in found["reserved_variables"]
    assert found["has_logs"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"forbidden_parameters": ["k8s_gpu"]}, "k8s_gpu"),
        ({"max_retries": 0}, "k8s_max_retries"),
        ({"allowed_images": []}, "k8s_image"),
    ],
)
def test_what_the_server_would_refuse_is_not_offered(settings: dict[str, Any], name: str) -> None:
    assert offered(**settings)["parameters"] == [one for one in JOB_PARAMETERS if one != name]


def test_what_only_cron_jobs_can_follow_needs_them() -> None:
    found = offered(full_mode=False)

    left = [name for name in JOB_PARAMETERS if name not in SCHEDULE_PARAMETERS]
    assert found["parameters"] == left
    assert not found["has_logs"]
