"""What a real node changes in the kernel of the machine: a bridge, packet filter rules, settings. And how it is undone.

kube-proxy and the kubelet own every chain that starts with KUBE-; a machine that has such chains before we start has
another Kubernetes, and we do not go there.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
from pathlib import Path

from .commands import program, run
from .paths import Unavailable
from .state import BRIDGE_ADDRESS, POD_NETWORK, State

BRIDGE = "maprun0"
_TABLES = ("filter", "nat", "mangle")
# Settings that kubelet and kube-proxy set for the whole machine.
_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# kube-proxy counts packets in these; they are neither chains nor rules, and stay when both are gone.
_COUNTERS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
# (table, chain, rule): pods reach the outside, and a firewall that forwards nothing by default lets them through.
_OWN_RULES = (
    ("nat", "POSTROUTING", f"-s {POD_NETWORK} ! -d {POD_NETWORK} ! -o {BRIDGE} -j MASQUERADE"),
    ("filter", "FORWARD", f"-i {BRIDGE} -j ACCEPT"),
    ("filter", "FORWARD", f"-o {BRIDGE} -j ACCEPT"),
)


def refuse_other_kubernetes() -> None:
    """Raise when rules of another kube-proxy are there: two of them would fight over the same chains."""
    chains = kubernetes_chains()
    if chains:
        raise Unavailable(
            f"the packet filter has chains of another Kubernetes ({', '.join(chains[:3])}). Use that one through "
            "MAPRUN_TEST_KUBECONFIG, or use --nodes fake."
        )


def kubernetes_chains() -> list[str]:
    """The names of all chains that a kube-proxy or a kubelet made, as `iptables/nat/KUBE-SERVICES`."""
    return [
        f"{family}/{table}/{chain}"
        for family in ("iptables", "ip6tables")
        for table in _TABLES
        for chain in _chains(family, table)
    ]


def save_settings(state: State) -> None:
    values = {name: value for name in _SETTINGS if (value := _setting(name)) is not None}
    state.write("sysctl.json", text=json.dumps(values, indent=1))


def restore_settings(state_dir: Path) -> None:
    try:
        values = json.loads((state_dir / "sysctl.json").read_text())
    except FileNotFoundError:
        return
    for name, value in values.items():
        if _setting(name) != value:
            (Path("/proc/sys") / name).write_text(value)


def _setting(name: str) -> str | None:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return None


def create_bridge() -> None:
    """The bridge exists before the API server starts, as that announces the bridge's address."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    run([program("ip"), "link", "add", BRIDGE, "type", "bridge"])
    run([program("ip"), "address", "add", f"{BRIDGE_ADDRESS}/{POD_NETWORK.partition('/')[2]}", "dev", BRIDGE])
    run([program("ip"), "link", "set", BRIDGE, "up"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for table, chain, rule in _OWN_RULES:
        run([program("iptables"), "-w", "-t", table, "-I", chain, *rule.split()])


def remove() -> None:
    """Everything but the settings: our rules, all KUBE- chains, the bridge and the ends of pods' links on it."""
    for table, chain, rule in _OWN_RULES:
        run([program("iptables"), "-w", "-t", table, "-D", chain, *rule.split()], check=False)
    for family in ("iptables", "ip6tables"):
        for table in _TABLES:
            _remove_chains(family, table)
    for counter in _COUNTERS:
        _remove_counter(counter)
    for port in Path(f"/sys/class/net/{BRIDGE}/brif").glob("*"):
        run([program("ip"), "link", "delete", port.name], check=False)
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run([program("ip"), "link", "delete", BRIDGE])


def _saved(family: str, table: str) -> list[str]:
    return run([program(f"{family}-save"), "-t", table], check=False).stdout.splitlines()


def _chains(family: str, table: str) -> list[str]:
    return [line.split()[0][1:] for line in _saved(family, table) if line.startswith(":KUBE-")]


def _remove_chains(family: str, table: str) -> None:
    """In one transaction: jumps to the chains first, then their content, then the chains."""
    chains = _chains(family, table)
    if not chains:
        return
    jumps = [line for line in _saved(family, table) if re.match(r"-A (?!KUBE-)\S+ .*-j KUBE-", line)]
    script = [f"*{table}", *(f"-D{line[2:]}" for line in jumps)]
    script += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains] + ["COMMIT", ""]
    run([program(f"{family}-restore"), "--noflush", "-w"], stdin="\n".join(script))


def _remove_counter(name: str) -> None:
    """Ask the kernel by a netlink message: the program for it is in few distributions' standard installation."""
    attribute = struct.pack("=HH", 5 + len(name), 1) + name.encode() + b"\0"
    attribute += b"\0" * (-len(attribute) % 4)
    body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0) + attribute
    delete_request = (7 << 8) | 3  # of the kernel's subsystem for counters
    header = struct.pack("=IHHII", 16 + len(body), delete_request, 1, 0, 0)
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:
        kernel.send(header + body)
