"""The processes of a server and the memory that only they hold."""

from collections.abc import Iterator

import psutil

from local_lab.server import LabServer


def tree(server: LabServer) -> Iterator[psutil.Process]:
    """The server's process and all below it."""
    leader = psutil.Process(server.process.pid)
    yield leader
    yield from leader.children(recursive=True)


def own_memory(server: LabServer) -> int:
    """Bytes that only this tree of processes holds."""
    return sum(process.memory_full_info().uss for process in tree(server))
