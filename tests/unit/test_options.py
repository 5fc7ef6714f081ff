"""What a job may ask for, and how it is told that it may not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.resources import Resources
from jupyter_scheduler_k8s.variables import RESERVED, Variable


def parsed(parameters: dict[str, Any], **settings: Any) -> JobOptions:
    return JobOptions.from_parameters(parameters, K8sConfig(**{"image": "ours:1"} | settings))


def variables(environment: object, **settings: Any) -> tuple[Variable, ...]:
    text = environment if isinstance(environment, str) else json.dumps(environment)
    return parsed({"k8s_env": text}, **settings).variables


def reference(secret: str, key: str = "token") -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": key}}


def test_numbers_and_texts_mean_the_same() -> None:
    expected = JobOptions(
        resources=Resources(cpu="2", memory="4Gi", gpu="1"), timeout_seconds=90, max_retries=2
    )
    texts = {"k8s_cpu": "2", "k8s_memory": "4Gi", "k8s_gpu": "1"}
    texts |= {"k8s_timeout_seconds": " 90 ", "k8s_max_retries": "2"}
    numbers = {"k8s_cpu": 2, "k8s_memory": "4Gi", "k8s_gpu": 1.0}
    numbers |= {"k8s_timeout_seconds": 90, "k8s_max_retries": 2.0, "other": True}

    assert parsed(texts) == parsed(numbers) == expected
    assert parsed({"k8s_cpu": "", "k8s_env": "", "k8s_timeout_seconds": None}) == JobOptions()


@pytest.mark.parametrize("gpu", ["-1", "1.5", -1, 1.5, "one", True, "²", 1e300, "9" * 10])
def test_a_gpu_count_that_is_none_is_refused(gpu: object) -> None:
    with pytest.raises(BackendError, match="k8s_gpu must be a"):
        parsed({"k8s_gpu": gpu})


@pytest.mark.parametrize("amount", [0, "0", "0.0", 0.0])
def test_an_amount_that_was_cut_to_nothing_is_refused(amount: object) -> None:
    with pytest.raises(BackendError, match="k8s_cpu must be more than 0; send it as text"):
        parsed({"k8s_cpu": amount})


def test_a_misspelt_wish_is_refused() -> None:
    with pytest.raises(BackendError, match="k8s_mem is nothing that a job can ask for"):
        parsed({"k8s_mem": "4Gi"})


@pytest.mark.parametrize("gpu", ["0", 0, "", None])
def test_no_gpu_asks_for_none(gpu: object) -> None:
    assert parsed({"k8s_gpu": gpu}).resources.gpu == ""


@pytest.mark.parametrize("value", ["0", -1, "1.5", "1h", "9" * 30, 2**31, "9" * 5000, "nan"])
def test_a_time_limit_that_is_none_is_refused(value: object) -> None:
    said = "k8s_timeout_seconds must be a whole number of seconds from 1 to 2147483647; it is "
    with pytest.raises(BackendError, match=said) as refusal:
        parsed({"k8s_timeout_seconds": value})
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("value", [-1, "0.5", "many", 6])
def test_retries_that_are_none_or_too_many_are_refused(value: object) -> None:
    with pytest.raises(BackendError, match="k8s_max_retries must be a whole number of retries"):
        parsed({"k8s_max_retries": value})


def test_what_the_administrator_forbids_is_refused_with_the_setting() -> None:
    for parameters, settings, setting in (
        ({"k8s_gpu": 1}, {"forbidden_parameters": ["k8s_gpu"]}, "forbidden_parameters"),
        ({"k8s_image": "evil:1"}, {"allowed_images": ["team/*"]}, "allowed_images"),
        ({"k8s_timeout_seconds": 61}, {"max_timeout_seconds": 60}, "max_timeout_seconds"),
        ({"k8s_max_retries": 1}, {"max_retries": 0}, "max_retries"),
    ):
        with pytest.raises(BackendError) as refusal:
            parsed(parameters, **settings)
        assert next(iter(parameters)) in str(refusal.value)
        assert "administrator" in str(refusal.value)
        assert f"K8sConfig.{setting}" in str(refusal.value)


def test_what_is_left_to_users_is_left_to_them() -> None:
    settings = {"allowed_images": ["team/*"], "max_timeout_seconds": 60}
    settings |= {"forbidden_parameters": ["k8s_gpu"], "max_retries": 0}

    found = parsed({"k8s_image": "team/a:1", "k8s_gpu": "", "k8s_max_retries": 0}, **settings)

    assert (found.image, found.timeout_seconds) == ("team/a:1", 60)
    assert parsed({"k8s_image": "ours:1"}, allowed_images=[]).image == "ours:1"


def test_an_unknown_name_can_not_be_forbidden() -> None:
    with pytest.raises(ConfigurationError, match="forbidden_parameters names 'k8s_gpus'"):
        K8sConfig(forbidden_parameters=["k8s_gpus"])


def test_variables_are_texts_or_keys_of_allowed_secrets() -> None:
    text = '{"A": "x y", "N": 1.50, "T": {"secretKeyRef": {"name": "api-1", "key": "a.b"}}}'

    assert variables(text, allowed_secrets=["other", "api-*"]) == (
        Variable(name="A", value="x y"),
        Variable(name="N", value="1.50"),
        Variable(name="T", secret="api-1", key="a.b"),
    )


@pytest.mark.parametrize("secret", ["api", "nb-s3-0123456789abcdef0123"])
def test_a_secret_that_is_not_allowed_is_refused(secret: str) -> None:
    with pytest.raises(BackendError, match=f"names the Secret {secret}, which jobs may not use"):
        variables({"T": reference(secret)})


def test_no_pattern_opens_the_secrets_with_the_s3_keys() -> None:
    with pytest.raises(BackendError, match="which jobs may not use"):
        variables({"T": reference("nb-s3-0123456789abcdef0123")}, allowed_secrets=["*"])


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_contracts_variables_are_no_users(name: str) -> None:
    with pytest.raises(BackendError, match=f"{name}, which belongs to the run itself"):
        variables({name: "planted"})


def test_the_reserved_names_are_the_contracts() -> None:
    contract = Path(__file__).resolve().parents[2] / "image/notebook_job/contract.py"
    read = re.findall(r"\"([A-Z][A-Z0-9_]+)\"", contract.read_text())
    assert set(read) == set(RESERVED)


@pytest.mark.parametrize(
    "environment",
    [
        '{"A": "planted"',
        '["planted"]',
        '"planted"',
        "7",
        '{"A": NaN, "B": "planted"}',
        "[" * 5000,
        {"A b": "planted"},
        {"1A": "planted"},
        {"": "planted"},
        {"A": ["planted"]},
        {"A": None, "B": "planted"},
        {"A": True},
        {"A": "planted\0"},
        '{"A": "planted\\ud800"}',
        {"A": "planted" * 20_000},
        {"A": {"value": "planted"}},
        {"A": {"secretKeyRef": {"name": "planted"}}},
        {"A": {"secretKeyRef": {"name": "n", "key": "k", "optional": "planted"}}},
        {"A": {"secretKeyRef": {"name": "../n", "key": "k"}}},
        {"A": {"secretKeyRef": {"name": "n", "key": "k/.."}}},
    ],
)
def test_variables_that_are_none_are_refused_without_their_values(environment: object) -> None:
    with pytest.raises(BackendError, match="k8s_env") as refusal:
        variables(environment, allowed_secrets=["*"])
    assert "planted" not in str(refusal.value)
    assert "planted" not in repr(Variable(name="A", value="planted"))
