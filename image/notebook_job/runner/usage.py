"""What the container's cgroup says of memory and processor time.

Version 1 and 2 of cgroups differ in names and in where they are mounted; a
container may see its own group as the root or by its full path.
Names and meanings: the kernel's Documentation/admin-guide/cgroup-v1/memory.rst
and cgroup-v2.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Version 1 says "no limit" with the largest number of whole pages; no machine has 2^60 bytes.
_NO_LIMIT = 1 << 60
# Without a count of kills, a group that ran into its limit this closely is taken as killed.
_AT_LIMIT = 0.98


@dataclass(frozen=True)
class Usage:
    """One reading; what the machine doesn't tell is None."""

    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_seconds: float | None = None
    # Processes killed for memory so far.
    kills: int | None = None
    # How often an allocation met the limit.
    failures: int | None = None


def own_groups(text: str) -> dict[str, str]:
    """`/proc/self/cgroup` as {controller: path}; version 2 is the controller ""."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _limit(text: str) -> int | None:
    number = _number(text)
    return None if number is None or number >= _NO_LIMIT else number


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


class Meter:
    """Reads the group that this process is in."""

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._root = root
        self._groups = own_groups(_text(proc / "self/cgroup"))
        # Kernels before 5.19 keep no peak under version 2.
        self._seen = 0

    def _folder(self, mount: Path, controller: str) -> Path:
        own = mount / self._groups.get(controller, "/").lstrip("/")
        return own if own.is_dir() else mount

    def read(self) -> Usage:
        """The group's numbers now."""
        if (self._root / "cgroup.controllers").exists():
            return self._read_v2(self._folder(self._root, ""))
        return self._read_v1()

    def _read_v2(self, group: Path) -> Usage:
        current = _number(_text(group / "memory.current"))
        self._seen = max(self._seen, current or 0)
        micros = _table(group / "cpu.stat").get("usage_usec")
        events = _table(group / "memory.events")
        return Usage(
            peak_memory_bytes=_number(_text(group / "memory.peak")) or self._seen or None,
            memory_limit_bytes=_limit(_text(group / "memory.max")),
            cpu_seconds=None if micros is None else micros / 1e6,
            kills=events.get("oom_kill"),
            failures=events.get("max"),
        )

    def _read_v1(self) -> Usage:
        memory = self._folder(self._root / "memory", "memory")
        nanos = None
        for mount in ("cpuacct", "cpu,cpuacct"):
            folder = self._folder(self._root / mount, "cpuacct")
            nanos = nanos or _number(_text(folder / "cpuacct.usage"))
        return Usage(
            peak_memory_bytes=_number(_text(memory / "memory.max_usage_in_bytes")),
            memory_limit_bytes=_limit(_text(memory / "memory.limit_in_bytes")),
            cpu_seconds=None if nanos is None else nanos / 1e9,
            kills=_table(memory / "memory.oom_control").get("oom_kill"),
            failures=_number(_text(memory / "memory.failcnt")),
        )


def was_killed_for_memory(before: Usage, after: Usage) -> bool:
    """Whether a process of the group was killed for memory between two readings."""
    if before.kills is not None and after.kills is not None:
        return after.kills > before.kills
    if after.memory_limit_bytes is None or after.peak_memory_bytes is None:
        return False
    met = (after.failures or 0) > (before.failures or 0)
    return met and after.peak_memory_bytes >= _AT_LIMIT * after.memory_limit_bytes


def readable_size(size: int) -> str:
    """A number of bytes for a person: `512 MiB`, `1.5 GiB`."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
