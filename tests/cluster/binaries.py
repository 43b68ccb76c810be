"""The programs of a cluster: found on the machine, else built once from Go modules into the cache directory.

A program of Kubernetes is looked for in this order; the first place that has *all* that a cluster needs is used, so
that versions never mix:
1. the directory that the environment variable KUBEBUILDER_ASSETS names;
2. PATH;
3. the cache directory, where they are built (one binary with seven names, about 8 minutes on 2 cores).

The usual KUBEBUILDER_ASSETS hold only etcd, kube-apiserver and kubectl: without kube-controller-manager no Job makes
a pod, and without kube-scheduler no pod finds a node, so alone they do not suffice.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import go_toolchain
from .commands import run
from .paths import HERE, ClusterError, cache_dir, locked, say
from .state import Nodes

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
REAL_NODE = ("kubelet", "kube-proxy")
_HEARTBEAT_SECONDS = 20.0


@dataclass(frozen=True)
class Tool:
    """A program that is a Go package of its own, built as it is."""

    name: str
    package: str
    version: str
    build_time: str


KWOK = Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.7.0", "about 2.5 minutes")
HELM = Tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0", "about 2 minutes")
VERSITYGW = Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0", "about 1.5 minutes")
TOXIPROXY = Tool("toxiproxy-server", "github.com/Shopify/toxiproxy/v2/cmd/server", "v2.12.0", "about 15 seconds")
KUEUE = "sigs.k8s.io/kueue"
_KUEUE_MODULE = HERE / "go-kueue"


def needed(nodes: Nodes) -> tuple[str, ...]:
    """The programs of Kubernetes that a cluster with this kind of nodes consists of."""
    return CONTROL_PLANE + (REAL_NODE if nodes in ("real", "both") else ())


def tools(nodes: Nodes) -> list[Tool]:
    """What a test session with this kind of nodes uses besides Kubernetes."""
    return [VERSITYGW, HELM, TOXIPROXY, *([KWOK] if nodes in ("fake", "both") else [])]


def missing(nodes: Nodes) -> list[str]:
    """What would have to be built for a cluster of this kind; a test run asks before it starts one."""
    here = _assets(needed(nodes)) or _on_path(needed(nodes)) or _kubernetes_folder().exists()
    # the pause program is part of the same build
    complete = here and (nodes not in ("real", "both") or _kubernetes_folder().exists())
    return ([] if complete else ["Kubernetes"]) + missing_tools(tools(nodes))


def missing_tools(wanted: Sequence[Tool]) -> list[str]:
    return [each.name for each in wanted if shutil.which(each.name) is None and not _tool_folder(each).exists()]


@functools.cache
def kubernetes(names: tuple[str, ...]) -> dict[str, Path]:
    """Where each of the named Kubernetes programs is; builds them when they are nowhere."""
    found = _assets(names) or _on_path(names)
    if found:
        return found
    folder = _build_kubernetes()
    return {name: folder / name for name in names}


def _assets(names: Sequence[str]) -> dict[str, Path]:
    """All of them in the directory of KUBEBUILDER_ASSETS, or nothing."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return {}
    found = {name: Path(folder) / name for name in names if os.access(Path(folder) / name, os.X_OK)}
    absent = [name for name in names if name not in found]
    if absent:
        say(f"KUBEBUILDER_ASSETS has no {', '.join(absent)}: not used")
    return {} if absent else found


def _on_path(names: Sequence[str]) -> dict[str, Path]:
    found = {name: Path(path) for name in names if (path := shutil.which(name)) is not None}
    return found if len(found) == len(names) else {}


def tool(wanted: Tool) -> Path:
    """helm, kwok, toxiproxy-server or versitygw."""
    on_path = shutil.which(wanted.name)
    if on_path is not None:
        return Path(on_path)
    return _build_tool(wanted) / wanted.name


def kueue() -> Path:
    """A folder with `kueue`, the controller of Kueue, and `kueue.yaml`, what its own installation makes."""
    return _build_kueue()


def missing_kueue() -> list[str]:
    return [] if _kueue_folder().exists() else ["Kueue"]


def pause() -> Path:
    """The static program that holds a pod's namespaces."""
    return _build_kubernetes() / "pause"


def _kubernetes_folder() -> Path:
    version = _required("k8s.io/kubernetes", go_toolchain.MODULE)
    return cache_dir() / "binaries" / f"kubernetes-{version}-{_module_hash(go_toolchain.MODULE)}"


def _kueue_folder() -> Path:
    return cache_dir() / "binaries" / f"kueue-{_required(KUEUE, _KUEUE_MODULE)}-{_module_hash(_KUEUE_MODULE)}"


def _tool_folder(wanted: Tool) -> Path:
    return cache_dir() / "binaries" / f"{wanted.name}-{wanted.version}-{platform.machine()}"


def _required(what: str, module: Path) -> str:
    """The version of it that a module of ours asks for, `v1.36.3`."""
    found = re.search(rf"^(?:require |\t){re.escape(what)} (v\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _build_kubernetes() -> Path:
    def build(go: Path, folder: Path) -> None:
        version = "k8s.io/component-base/version"
        full = _required("k8s.io/kubernetes", go_toolchain.MODULE)
        major, minor, _ = full.removeprefix("v").split(".")
        numbers = {"gitVersion": full, "gitMajor": major, "gitMinor": minor}
        # Without these numbers kubectl cannot parse the server's version.
        flags = " ".join(["-s -w", *(f"-X {version}.{name}={value}" for name, value in numbers.items())])
        _go(go, ["build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "pause"), "./pause"], "pause")
        _go(go, ["build", "-trimpath", "-ldflags", flags, "-o", str(folder / "kube"), "."], "Kubernetes")
        for name in (*CONTROL_PLANE, *REAL_NODE):
            (folder / name).symlink_to("kube")

    estimate = "about 4 to 8 minutes on 2 cores from nothing, under one when Go still has its build cache"
    return _built(_kubernetes_folder(), estimate, build)


def _build_tool(wanted: Tool) -> Path:
    def build(go: Path, folder: Path) -> None:
        target = ["install", "-trimpath", "-ldflags", "-s -w", f"{wanted.package}@{wanted.version}"]
        _go(go, target, wanted.name, {"GOBIN": str(folder)})
        (folder / wanted.package.rpartition("/")[2]).rename(folder / wanted.name)

    return _built(_tool_folder(wanted), wanted.build_time, build)


def _build_kueue() -> Path:
    def build(go: Path, folder: Path) -> None:
        target = ["build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "kueue"), f"{KUEUE}/cmd/kueue"]
        _go(go, target, "Kueue", module=_KUEUE_MODULE)
        listed = [str(go), "list", "-m", "-f", "{{.Dir}}", KUEUE]
        sources = run(listed, environment=go_toolchain.environment(), where=_KUEUE_MODULE).stdout.strip()
        kubectl = kubernetes(CONTROL_PLANE)["kubectl"]
        (folder / "kueue.yaml").write_text(run([kubectl, "kustomize", f"{sources}/config/default"]).stdout)

    return _built(_kueue_folder(), "2 to 4 minutes", build)


def _module_hash(module: Path) -> str:
    """Changes with every file of a module of ours and with the kind of machine."""
    digest = hashlib.sha256(platform.machine().encode())
    for path in sorted(module.rglob("*")):
        if path.suffix in {".go", ".mod", ".sum"}:
            digest.update(path.relative_to(module).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _built(folder: Path, estimate: str, build: Callable[[Path, Path], None]) -> Path:
    """The folder, built first if it is not there; it appears complete or not at all."""
    name = folder.name
    if folder.exists():
        return folder
    with locked(
        folder.parent / f"{name}.lock", f"Another process builds {name}; waiting for it ({estimate}).", remove=True
    ):
        if folder.exists():
            return folder
        say(f"Building {name}, once: {estimate}")
        half_done = folder.parent / f"{name}.partial"
        shutil.rmtree(half_done, ignore_errors=True)
        half_done.mkdir(parents=True)
        started = time.monotonic()
        build(go_toolchain.find(), half_done)
        half_done.rename(folder)
        say(f"Built {name} in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def _go(
    go: Path,
    arguments: list[str],
    what: str,
    extra: dict[str, str] | None = None,
    module: Path = go_toolchain.MODULE,
) -> None:
    """Run a Go command in a module of ours, with a sign of life now and then."""
    log = cache_dir() / "binaries" / f"build-{what.lower()}.log"
    command, environment = [str(go), *arguments], {**os.environ, **go_toolchain.environment(), **(extra or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=module, env=environment, stdout=output, stderr=output)
        try:
            code = _wait_aloud(process, what)
        except BaseException:  # an interrupt must not leave the compiler at work
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ClusterError(f"building {what} failed (go {' '.join(arguments)}):\n{tail}")
    log.unlink()


def _wait_aloud(process: subprocess.Popen[bytes], what: str) -> int:
    started = time.monotonic()
    while True:
        try:
            return process.wait(_HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"  … {what}: {time.monotonic() - started:.0f} s")
