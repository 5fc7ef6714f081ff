"""A setting of ours in the wrong place is named, with what to write instead."""

from typing import Any

import pytest
from sqlalchemy import create_engine
from traitlets.config import Config

from jupyter_scheduler_k8s import K8sExecutionManager
from jupyter_scheduler_k8s.combinations import misplaced, names_no_database
from jupyter_scheduler_k8s.errors import ConfigurationError

OURS = "jupyter_scheduler_k8s."


def config(**settings: str) -> Config:
    """A configuration from `Class__name=value`."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, name = key.split("__")
        found.setdefault(section, {})[name] = value
    return Config(found)


@pytest.mark.parametrize("full_mode", [True, False])
@pytest.mark.parametrize(
    ("written", "value", "meant"),
    [
        ("Scheduler__scheduler_class", "K8sScheduler", "SchedulerApp.scheduler_class"),
        (
            "Scheduler__database_manager_class",
            "K8sDatabaseManager",
            "SchedulerApp.database_manager_class",
        ),
        (
            "SchedulerApp__execution_manager_class",
            "K8sExecutionManager",
            "Scheduler.execution_manager_class",
        ),
    ],
)
def test_a_setting_of_the_other_class(
    written: str, value: str, meant: str, full_mode: bool
) -> None:
    said = misplaced(config(**{written: OURS + value}), full_mode=full_mode)

    assert said is not None
    assert said.startswith(written.replace("__", ".") + " has no effect")
    assert f"write {meant}={OURS}{value} instead" in said


def test_our_database_with_the_stock_scheduler() -> None:
    written = config(SchedulerApp__database_manager_class=OURS + "K8sDatabaseManager")

    said = misplaced(written, full_mode=False)

    assert said is not None
    assert "add SchedulerApp.scheduler_class=jupyter_scheduler_k8s.K8sScheduler" in said
    assert misplaced(written, full_mode=True) is None


def test_the_documented_spellings_are_right() -> None:
    long = config(
        SchedulerApp__scheduler_class=OURS + "K8sScheduler",
        SchedulerApp__database_manager_class=OURS + "K8sDatabaseManager",
        Scheduler__execution_manager_class=OURS + "K8sExecutionManager",
    )
    short = config(Scheduler__execution_manager_class=OURS + "K8sExecutionManager")

    assert misplaced(long, full_mode=True) is None
    assert misplaced(short, full_mode=False) is None


def test_classes_of_others_are_their_business() -> None:
    theirs = config(
        Scheduler__scheduler_class="their.Scheduler",
        SchedulerApp__database_manager_class="their.DatabaseManager",
    )
    assert misplaced(theirs, full_mode=False) is None


def test_a_class_may_be_set_as_an_object() -> None:
    written = Config({"SchedulerApp": {"execution_manager_class": K8sExecutionManager}})
    assert "SchedulerApp.execution_manager_class" in (misplaced(written, full_mode=False) or "")


def test_an_address_that_only_looks_like_a_database() -> None:
    assert names_no_database(config(SchedulerApp__db_url="k8s://notebooks"))
    assert not names_no_database(config(SchedulerApp__db_url="sqlite:///k8s"))
    assert not names_no_database(Config())


def test_sqlalchemy_says_what_to_set_instead_of_such_an_address() -> None:
    # Through the entry point of the installed package.
    with pytest.raises(ConfigurationError, match=r"remove SchedulerApp\.db_url"):
        create_engine("k8s://notebooks")
