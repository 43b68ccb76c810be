"""The real node's claim on the machine: only one at a time, and nothing of it stays when it goes.

The claim is the folder /run/maprun with the owner's name in it. A claim whose owner is dead is taken over, and what
that owner left is removed first.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
from pathlib import Path

from . import containerd, network
from .paths import ClusterError, Unavailable, locked
from .processes import Process, Supervisor, end, process_of, wait_for
from .state import State

CGROUP = "maprun"
_LOCK = Path("/run/maprun.lock")
_OWNER = containerd.RUN_DIR / "owner.json"
# Where kubelet and the network plugins write, whatever they are told. Only what is ours there is removed.
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")
_SHIM_SOCKETS = Path("/run/containerd/s")


def claim(state: State) -> None:
    """Take the machine; raises when it is taken, or when another Kubernetes is on it."""
    with locked(_LOCK, "Another process takes or leaves the real node; waiting for it.", remove=True):
        if owner() != state.state_dir:
            require_free()
            _leave(owner() or Path("/nonexistent"))
            network.refuse_other_kubernetes()
            _write_claim(state)
    network.create_bridge()
    _create_cgroups()


def require_root() -> None:
    if os.geteuid() != 0:
        raise Unavailable("real nodes need root (containers, a bridge, packet filter rules); --nodes fake does not")


def release(state_dir: Path) -> None:
    """Remove all that this cluster's real node put on the machine; nothing when the machine is another one's."""
    if owner() != state_dir:
        return
    with locked(_LOCK, "Another process takes or leaves the real node; waiting for it.", remove=True):
        _leave(state_dir)


def owner() -> Path | None:
    """The state directory of the cluster that has the machine."""
    try:
        return Path(json.loads(_OWNER.read_text())["state_dir"])
    except (FileNotFoundError, PermissionError, json.JSONDecodeError):
        return None


def _write_claim(state: State) -> None:
    """Before anything is changed, with what is needed to change it back."""
    network.save_settings(state)
    absent = [str(path) for path in (_DEVICE_PLUGINS, _LOG_LINKS, _CNI_RESULTS) if not path.exists()]
    state.write("created-folders.json", text=json.dumps(absent))
    me = process_of(os.getpid())
    assert me is not None
    containerd.RUN_DIR.mkdir(mode=0o700)
    _OWNER.write_text(json.dumps({"state_dir": str(state.state_dir), "pid": me.pid, "started": me.started}))


def require_free() -> None:
    """Raise when a live cluster has the machine; a dead one's claim counts for nothing."""
    other = owner()
    if other is None:
        return
    facts = json.loads(_OWNER.read_text())
    supervisor = Supervisor(other)
    starting = Process(facts["pid"], facts["started"]).alive() and other.exists()
    if starting or any(supervisor.alive(name) for name in ("containerd", "kubelet", "kube-proxy")):
        raise Unavailable(
            f"another cluster has the real node of this machine: {other}. End it first: "
            f"python -m tests.cluster down --name {other.name}"
        )


def _leave(state_dir: Path) -> None:
    """Also for a cluster that is dead: then some of it is gone already."""
    supervisor = Supervisor(state_dir)
    for name in ("kubelet", "kube-proxy"):
        supervisor.stop(name, first=signal.SIGKILL)
    end(container_processes(), 0.0, signal.SIGKILL)
    containerd.remove_containers()
    supervisor.stop("containerd", grace_seconds=5)
    end(containerd.shims(), 0.0, signal.SIGKILL)
    for place in (state_dir, containerd.RUN_DIR, containerd.store()):
        _unmount_below(place)
    for folder in cgroups():
        _remove_cgroup(folder)
    network.remove()
    network.restore_settings(state_dir)
    _remove_traces(state_dir)
    shutil.rmtree(containerd.RUN_DIR, ignore_errors=True)
    _remove_dead_sockets(_SHIM_SOCKETS)
    _remove_if_empty(_SHIM_SOCKETS, Path("/run/containerd/fifo"), Path("/run/containerd"))


def cgroups() -> list[Path]:
    """Our folder in each hierarchy of process groups: one on new machines, one a controller on old ones."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root / CGROUP]
    return [path / CGROUP for path in root.iterdir() if path.is_dir() and not path.is_symlink()]


def _create_cgroups() -> None:
    """kubelet takes a parent group only if it is there, with the controllers of resources handed down to it."""
    for folder in cgroups():
        handed_down = folder.parent / "cgroup.subtree_control"
        for controller in ("cpuset", "cpu", "memory", "pids", "hugetlb") if handed_down.exists() else ():
            with contextlib.suppress(OSError):  # not every machine has every controller
                handed_down.write_text(f"+{controller}")
        folder.mkdir(exist_ok=True)


def container_processes() -> list[Process]:
    found = {}
    for folder in cgroups():
        for path in folder.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update({pid: process_of(int(pid)) for pid in path.read_text().split()})
    return [process for process in found.values() if process is not None]


def _remove_cgroup(folder: Path) -> None:
    """Deepest first; the kernel needs a moment after the last process of a group has ended."""

    def gone() -> bool:
        for path in sorted(folder.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    if not wait_for(gone, 5):
        raise ClusterError(f"{folder} does not go away; see the processes in {folder}/**/cgroup.procs")


def _unmount_below(place: Path) -> None:
    prefix = f"{place}/"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    detach = 2
    for point in sorted((point for point in points if point.startswith(prefix)), reverse=True):
        ctypes.CDLL(None).umount2(point.encode(), detach)


def _remove_traces(state_dir: Path) -> None:
    for link in _LOG_LINKS.glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{state_dir}/"):
            link.unlink()
    for ours in _CNI_RESULTS.glob("maprun-*"):
        for result in _CNI_RESULTS.glob(f"*-{ours.name.split('-')[1]}-*"):  # that pod's loopback has one, too
            result.unlink()
    try:
        created = [Path(name) for name in json.loads((state_dir / "created-folders.json").read_text())]
    except FileNotFoundError:
        return
    if _DEVICE_PLUGINS in created:
        shutil.rmtree(_DEVICE_PLUGINS, ignore_errors=True)
    for folder in created:
        _remove_if_empty(folder, folder.parent)


def _remove_dead_sockets(folder: Path) -> None:
    """Sockets of shims that were killed; a machine's own containerd has its sockets there, too, and those live."""
    for path in folder.glob("*"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
