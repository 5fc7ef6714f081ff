"""Memory and processor time, from what the kernel shows under both versions of cgroups."""

from pathlib import Path

import pytest

from notebook_job.runner.usage import (
    Meter,
    Usage,
    own_groups,
    readable_size,
    was_killed_for_memory,
)

# As containers of a kubelet with the cgroupfs driver see them.
V1_CGROUP = """\
12:memory:/kubepods/burstable/pod1/c1
4:cpu,cpuacct:/kubepods/burstable/pod1/c1
1:name=systemd:/kubepods/burstable/pod1/c1
"""
V2_CGROUP = "0::/\n"


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write files, {path: text}."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


V1 = {
    "memory/memory.max_usage_in_bytes": "75620352\n",
    "memory/memory.limit_in_bytes": "268435456\n",
    "memory/memory.failcnt": "12\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "cpu,cpuacct/cpuacct.usage": "732483166\n",
}
V2 = {
    "cgroup.controllers": "cpu memory\n",
    "memory.current": "1000\n",
    "memory.peak": "2000\n",
    "memory.max": "268435456\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n",
}


def meter(tmp_path: Path, files: dict[str, str], cgroup: str) -> Meter:
    """A meter that reads these files."""
    proc = lay(tmp_path / "proc", {"self/cgroup": cgroup})
    return Meter(root=lay(tmp_path / "cgroup", files), proc=proc)


def test_version_1(tmp_path: Path) -> None:
    assert meter(tmp_path, V1, V1_CGROUP).read() == Usage(
        peak_memory_bytes=75620352,
        memory_limit_bytes=268435456,
        cpu_seconds=0.732483166,
        kills=1,
        failures=12,
    )


def test_version_1_seen_from_the_machine(tmp_path: Path) -> None:
    own = {"memory/kubepods/burstable/pod1/c1/memory.max_usage_in_bytes": "5\n"}

    assert meter(tmp_path, V1 | own, V1_CGROUP).read().peak_memory_bytes == 5


def test_version_2(tmp_path: Path) -> None:
    assert meter(tmp_path, V2, V2_CGROUP).read() == Usage(
        peak_memory_bytes=2000,
        memory_limit_bytes=268435456,
        cpu_seconds=1.5,
        kills=1,
        failures=12,
    )


def test_version_2_without_a_peak_keeps_the_highest_it_saw(tmp_path: Path) -> None:
    files = {name: text for name, text in V2.items() if name != "memory.peak"}
    reading = meter(tmp_path, files, V2_CGROUP)

    seen = []
    for current in ("1000", "3000", "2000"):
        (tmp_path / "cgroup/memory.current").write_text(current)
        seen.append(reading.read().peak_memory_bytes)

    assert seen == [1000, 3000, 3000]


@pytest.mark.parametrize(
    ("files", "cgroup"),
    [
        (V1 | {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, V1_CGROUP),
        (V2 | {"memory.max": "max\n"}, V2_CGROUP),
    ],
)
def test_no_limit_is_none(tmp_path: Path, files: dict[str, str], cgroup: str) -> None:
    assert meter(tmp_path, files, cgroup).read().memory_limit_bytes is None


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert meter(tmp_path, {}, "").read() == Usage()


def test_groups_of_a_process() -> None:
    groups = own_groups(V1_CGROUP)

    assert groups["cpuacct"] == groups["memory"] == "/kubepods/burstable/pod1/c1"
    assert own_groups(V2_CGROUP) == {"": "/"}


LIMIT = 100


@pytest.mark.parametrize(
    ("before", "after", "killed"),
    [
        (Usage(kills=0), Usage(kills=1), True),
        # Another process, before this run.
        (Usage(kills=1), Usage(kills=1), False),
        # The limit was met, and what could be dropped was dropped.
        (Usage(kills=0, failures=0), Usage(kills=0, failures=9), False),
        # Kernels before 4.13 count no kills.
        (
            Usage(failures=0),
            Usage(failures=9, memory_limit_bytes=LIMIT, peak_memory_bytes=LIMIT),
            True,
        ),
        (
            Usage(failures=0),
            Usage(failures=9, memory_limit_bytes=LIMIT, peak_memory_bytes=50),
            False,
        ),
        (
            Usage(failures=9),
            Usage(failures=9, memory_limit_bytes=LIMIT, peak_memory_bytes=LIMIT),
            False,
        ),
        (Usage(), Usage(), False),
    ],
)
def test_what_counts_as_killed_for_memory(before: Usage, after: Usage, killed: bool) -> None:
    assert was_killed_for_memory(before, after) is killed


@pytest.mark.parametrize(
    ("size", "text"),
    [(5, "5 bytes"), (512 << 20, "512 MiB"), (3 << 29, "1.5 GiB"), (1 << 52, "4096 TiB")],
)
def test_sizes_for_a_person(size: int, text: str) -> None:
    assert readable_size(size) == text
