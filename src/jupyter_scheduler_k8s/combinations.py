"""Which settings of jupyter-scheduler's classes go together, and what to write instead.

traitlets only warns of a setting that no class has, so one that was written for
the wrong class does nothing: jobs would run on this machine, or be kept in SQLite,
and nobody would know why.
"""

from collections.abc import Mapping
from typing import Any

from jupyter_scheduler_k8s.errors import ConfigurationError

URL_SCHEME = "k8s"
_PACKAGE = "jupyter_scheduler_k8s"
_SCHEDULER = f"SchedulerApp.scheduler_class={_PACKAGE}.K8sScheduler"

NO_DATABASE = (
    f"{URL_SCHEME}:// is no address of a database: remove SchedulerApp.db_url, and keep the records"
    f" in Kubernetes with {_SCHEDULER}."
)

# What was written, and what is meant: each class has its settings on one of the two.
_OTHER_CLASS = {
    ("Scheduler", "scheduler_class"): "SchedulerApp.scheduler_class",
    ("Scheduler", "database_manager_class"): "SchedulerApp.database_manager_class",
    ("SchedulerApp", "execution_manager_class"): "Scheduler.execution_manager_class",
}


def misplaced(config: Mapping[str, Any], *, full_mode: bool) -> str | None:
    """The sentence about a setting of ours that is in the wrong place, or without its companion.

    Args:
        config: the server's configuration, by class and setting.
        full_mode: whether the scheduler is `K8sScheduler`.
    """
    for (section, name), right in _OTHER_CLASS.items():
        if value := _ours(config, section, name):
            return f"{section}.{name} has no effect: write {right}={value} instead."
    if not full_mode and _ours(config, "SchedulerApp", "database_manager_class"):
        return (
            "SchedulerApp.database_manager_class has no effect with jupyter-scheduler's own"
            f" scheduler, which keeps its records in SQLite: add {_SCHEDULER}, or remove it."
        )
    return None


def names_no_database(config: Mapping[str, Any]) -> bool:
    """Whether the database's address is one that only looks like ours."""
    return str(_value(config, "SchedulerApp", "db_url")).startswith(f"{URL_SCHEME}:")


def refuse_misplaced(config: Mapping[str, Any], *, full_mode: bool) -> None:
    """
    Raises:
        ConfigurationError: see `misplaced`.
    """
    if sentence := misplaced(config, full_mode=full_mode):
        raise ConfigurationError(sentence)


def _ours(config: Mapping[str, Any], section: str, name: str) -> str:
    """The name of a class of ours that is set there; empty where it isn't one."""
    value = _value(config, section, name)
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    return str(value) if str(value).startswith(f"{_PACKAGE}.") else ""


def _value(config: Mapping[str, Any], section: str, name: str) -> Any:
    # traitlets' Config makes a section that is asked for and isn't there.
    return config[section].get(name, "") if section in config else ""
