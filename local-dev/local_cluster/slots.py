"""Which addresses and names a checkout's cluster uses, so that several can live on one machine.

A slot is a number. It decides the bridge's name and subnet, the control group and the folder under
``/run``. ``/run`` is emptied by a reboot, as are the things that it speaks of.
"""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from .cache import locked
from .errors import LocalClusterError
from .layout import NAME, RUN_ROOT, Layout
from .shell import run

SLOTS = 8
# Private /16 networks that few machines use; the first one that is free is taken.
NETWORKS = ("10.244", "10.213", "172.29")


@dataclass(frozen=True, slots=True)
class Slot:
    """``network`` is the first two numbers of the addresses of the pods."""

    index: int
    network: str

    @property
    def bridge(self) -> str:
        # Interface names have at most 15 characters.
        return f"jsk8s{self.index}"

    @property
    def subnet(self) -> str:
        return f"{self.network}.{self.index}.0/24"

    @property
    def gateway(self) -> str:
        return f"{self.network}.{self.index}.1"

    @property
    def hardware_address(self) -> str:
        return f"02:6a:73:38:6b:{self.index:02x}"

    @property
    def services(self) -> str:
        return f"{self.network}.{200 + self.index}.0/24"

    @property
    def first_service(self) -> str:
        return f"{self.network}.{200 + self.index}.1"

    @property
    def label(self) -> str:
        """Names the CNI network, the control group and the comment of each iptables rule."""
        return f"{NAME}-{self.index}"

    @property
    def run(self) -> Path:
        return RUN_ROOT / str(self.index)


@dataclass(frozen=True, slots=True)
class Claim:
    """A slot, and the state folder of the checkout that has it."""

    slot: Slot
    state: Path


def _claim_file(index: int) -> Path:
    return RUN_ROOT / "slots" / f"{index}.json"


def claims() -> list[Claim]:
    """Every slot of this machine that some checkout has."""
    found = []
    for index in range(SLOTS):
        try:
            data = json.loads(_claim_file(index).read_text())
            found.append(Claim(Slot(index, data["network"]), Path(data["state"])))
        except (FileNotFoundError, ValueError, KeyError):
            continue
    return found


def claim_of(layout: Layout) -> Claim | None:
    return next((claim for claim in claims() if claim.state == layout.state), None)


def take(layout: Layout) -> Slot:
    """This checkout's slot: the one that it has, else the one that it had, else a free one."""
    with locked(RUN_ROOT / "lock"):
        held = claim_of(layout)
        if held:
            return held.slot
        taken = {claim.slot.index for claim in claims()}
        routes = used_networks(run(["ip", "-4", "-o", "route", "show", "table", "all"]).stdout)
        candidates = [
            Slot(index, network)
            for network in NETWORKS
            for index in range(SLOTS)
            if index not in taken
        ]
        before = _remembered(layout)
        if before in candidates:
            candidates.insert(0, before)
        for slot in candidates:
            subnet = ipaddress.ip_network(slot.subnet)
            if not any(subnet.overlaps(route) for route in routes):
                break
        else:
            raise LocalClusterError(
                "No network is free for another local cluster; "
                "run `make cluster-down` in a checkout that needs none."
            )
        text = json.dumps({"network": slot.network, "state": str(layout.state)})
        path = _claim_file(slot.index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        layout.state.mkdir(parents=True, exist_ok=True)
        _memory(layout).write_text(json.dumps({"index": slot.index, "network": slot.network}))
        return slot


def give_back(claim: Claim) -> None:
    with locked(RUN_ROOT / "lock"):
        _claim_file(claim.slot.index).unlink(missing_ok=True)


def _memory(layout: Layout) -> Path:
    return layout.state / "slot.json"


def _remembered(layout: Layout) -> Slot | None:
    try:
        data = json.loads(_memory(layout).read_text())
        return Slot(int(data["index"]), str(data["network"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def used_networks(routes: str) -> list[ipaddress.IPv4Network]:
    """The networks in the output of ``ip route``, the default route and our own bridges aside."""
    found = []
    for line in routes.splitlines():
        words = line.split()
        if not words or " dev jsk8s" in line:
            continue
        target = words[1] if words[0] in {"local", "broadcast", "unicast"} else words[0]
        try:
            found.append(ipaddress.IPv4Network(target, strict=False))
        except ValueError:
            continue
    return [network for network in found if network.prefixlen > 0]
