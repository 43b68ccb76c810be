"""A containerd of our own: its own socket, state and image store. The machine's containerd, if any, is not touched.

The image store is in the cache directory and outlives a cluster, so that images are unpacked once. Containers do not:
they are removed from it at the end of a cluster, and once more at the start of the next one in case the end was a
crash.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from . import archives, images
from .commands import Done, program, run, search_path
from .paths import ClusterError, cache_dir
from .processes import Process, Supervisor, process_of, wait_for
from .state import BRIDGE_ADDRESS, POD_NETWORK, State

RUN_DIR = Path("/run/maprun")  # short: the path of a socket may have no more than 107 characters
SOCKET = RUN_DIR / "containerd.sock"
_NAMESPACE = "k8s.io"  # the one that kubelet uses
_CNI_PLUGINS = "/usr/lib/cni"


def store() -> Path:
    return cache_dir() / "node" / "containerd"


def start(state: State, supervisor: Supervisor) -> None:
    state.write("cni", "10-maprun.conflist", text=json.dumps(_network(state), indent=1))
    settings = state.write("containerd.toml", text=_settings(state))
    supervisor.start("containerd", [program("containerd"), "--config", settings], {"PATH": search_path()})
    if not wait_for(lambda: not supervisor.alive("containerd") or _answers(), 30) or not supervisor.alive("containerd"):
        raise supervisor.failed("containerd", "does not answer")


def _network(state: State) -> dict[str, object]:
    addresses = {"type": "host-local", "dataDir": str(state.state_dir / "cni-addresses")}
    ranges = [[{"subnet": POD_NETWORK, "gateway": BRIDGE_ADDRESS}]]
    bridge = {
        "type": "bridge",
        "bridge": "maprun0",
        "isGateway": True,
        "hairpinMode": True,
        "mtu": 1400,  # fits into the tunnels that test machines often have
        "ipam": {**addresses, "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "0.4.0", "name": "maprun", "plugins": [bridge]}


def _settings(state: State) -> str:
    cri = "io.containerd.grpc.v1.cri"
    return f"""\
version = 2
root = "{store()}"
state = "{RUN_DIR / "containerd"}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{RUN_DIR / "opt"}"
[plugins."{cri}"]
# A machine without CAP_SYS_RESOURCE may not lower the score that the kernel kills by; every pod would fail to start.
restrict_oom_score_adj = true
sandbox_image = "{images.PAUSE}"
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
[plugins."{cri}".cni]
bin_dir = "{_CNI_PLUGINS}"
conf_dir = "{state.state_dir / "cni"}"
[plugins."{cri}".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."{cri}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."{cri}".containerd.runtimes.runc.options]
Root = "{RUN_DIR / "runc"}"
SystemdCgroup = false
"""


def _answers() -> bool:
    return SOCKET.exists() and _ctr("version", check=False).returncode == 0


def _ctr(*arguments: str, check: bool = True) -> Done:
    return run([program("ctr"), "--address", SOCKET, "--namespace", _NAMESPACE, *arguments], check=check)


def load(archive: Path) -> None:
    """Import an image archive, unless its images are there already from this very file (by path, size and time)."""
    if not _answers():
        raise ClusterError("containerd does not run; images cannot be loaded")
    facts = archive.stat()
    key = f"{archive.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    names = archives.names_of(archive)
    if names and _present().issuperset(names) and all(_marker(name) == key for name in names):
        return
    _ctr("images", "import", "--snapshotter", "overlayfs", str(archive))
    for name in names:
        _marker_path(name).parent.mkdir(parents=True, exist_ok=True)
        _marker_path(name).write_text(key)


def _present() -> set[str]:
    return set(_ctr("images", "list", "--quiet").stdout.split())


def _marker_path(name: str) -> Path:
    return store().parent / "imported" / name.replace("/", "_")


def _marker(name: str) -> str | None:
    path = _marker_path(name)
    return path.read_text() if path.exists() else None


def remove_containers() -> None:
    """Forget every container, running or not, with its layer. Does nothing when containerd does not answer."""
    if not _answers():
        return
    tasks = _ctr("tasks", "list", "--quiet").stdout.split()
    if tasks:
        _ctr("tasks", "delete", "--force", *tasks, check=False)
    containers = _ctr("containers", "list", "--quiet").stdout.split()
    if containers:
        _ctr("containers", "delete", *containers, check=False)


def shims() -> list[Process]:
    """The processes that stand between our containerd and its containers; they survive containerd."""
    ours = [str(SOCKET).encode(), b"-namespace"]
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            process = process_of(int(path.parent.name))
            if process and b"containerd-shim" in words[0] and all(word in words for word in ours):
                found.append(process)
    return found
