"""Unit tests see no setting of the machine they run on."""

import pytest

from jupyter_scheduler_k8s.config import K8sConfig


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for trait in K8sConfig.class_own_traits(config=True).values():
        if variable := trait.metadata.get("env"):
            monkeypatch.delenv(variable, raising=False)
