"""The bridge that pods and the host share, and the few iptables rules that it needs.

Pods get their addresses from the CNI plugins; masquerading is one rule of ours for the whole subnet
instead of a chain per pod, so that there is one thing to remove.
"""

import json
import re
import shlex
from pathlib import Path

from .shell import run
from .slots import Slot

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def ensure(slot: Slot) -> None:
    if run(["ip", "link", "show", slot.bridge], check=False).returncode != 0:
        # Without an address of its own, the bridge takes on a new one as pods come and go, and the
        # pods that know the old one lose packets.
        run(["ip", "link", "add", slot.bridge, "address", slot.hardware_address, "type", "bridge"])
    address = f"{slot.gateway}/24"
    if address not in run(["ip", "-4", "-o", "addr", "show", "dev", slot.bridge]).stdout:
        run(["ip", "addr", "add", address, "dev", slot.bridge])
    run(["ip", "link", "set", slot.bridge, "up"])
    if FORWARDING.read_text().strip() != "1":
        slot.run.mkdir(parents=True, exist_ok=True)
        (slot.run / "forwarding-was-off").touch()
        FORWARDING.write_text("1")
    for table, rule in _rules(slot):
        if run(["iptables", "-w", "-t", table, "-C", *rule], check=False).returncode != 0:
            run(["iptables", "-w", "-t", table, "-I", *rule])


def _rules(slot: Slot) -> list[tuple[str, list[str]]]:
    """(table, rule): pods reach the world and this machine, whatever a firewall does by default."""
    comment = ["-m", "comment", "--comment", slot.label]
    outside = ["!", "-d", slot.subnet]
    return [
        ("nat", ["POSTROUTING", "-s", slot.subnet, *outside, *comment, "-j", "MASQUERADE"]),
        ("filter", ["INPUT", "-i", slot.bridge, "-d", slot.gateway, *comment, "-j", "ACCEPT"]),
        ("filter", ["FORWARD", "-i", slot.bridge, *comment, "-j", "ACCEPT"]),
        ("filter", ["FORWARD", "-o", slot.bridge, *comment, "-j", "ACCEPT"]),
    ]


def rules_of(listing: str, label: str) -> list[list[str]]:
    """The rules of ``iptables -S`` that carry exactly this comment, as words after ``-A``."""
    found = []
    for line in listing.splitlines():
        words = shlex.split(line)
        if words[:1] != ["-A"] or "--comment" not in words:
            continue
        if words[words.index("--comment") + 1] == label:
            found.append(words[1:])
    return found


def remove(slot: Slot, *, last: bool) -> None:
    """Removes rules, interfaces, the CNI's notes; forwarding with the ``last`` cluster."""
    for table in ("nat", "filter"):
        listing = run(["iptables", "-w", "-t", table, "-S"], check=False).stdout
        for rule in rules_of(listing, slot.label):
            run(["iptables", "-w", "-t", table, "-D", *rule], check=False)
    members = run(["ip", "-o", "link", "show", "master", slot.bridge], check=False).stdout
    for name in re.findall(r"^\d+: ([^@:]+)", members, re.MULTILINE):
        run(["ip", "link", "delete", name], check=False)
    run(["ip", "link", "delete", slot.bridge], check=False)
    results = Path("/var/lib/cni/results")
    prefix = f"{slot.label}-"
    for path in list(results.glob(f"{prefix}*")):
        # Each pod has a loopback interface too, noted under a name that all clusters share.
        pod = path.name.removeprefix(prefix).rpartition("-")[0]
        (results / f"cni-loopback-{pod}-lo").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    if last and (slot.run / "forwarding-was-off").exists():
        FORWARDING.write_text("0")


def cni_configuration(slot: Slot, data: Path) -> str:
    """The CNI network list: a bridge, addresses from the slot's subnet, notes below ``data``."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": slot.label,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": slot.bridge,
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(data),
                        "ranges": [[{"subnet": slot.subnet, "gateway": slot.gateway}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        },
        indent=2,
    )
