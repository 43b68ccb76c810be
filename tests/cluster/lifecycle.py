"""Bring a cluster up part by part, find it again, and end it so that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from . import binaries, control_plane, fake_nodes, machine, packages, real_node, s3
from . import state as states
from .cluster import Cluster
from .paths import ClusterError, Unavailable, clusters_dir, locked, say
from .processes import Supervisor
from .state import BRIDGE_ADDRESS, ControllerManager, Nodes, State

FAKE_NODES = 5


def up(
    name: str = "default",
    nodes: Nodes = "fake",
    controller_manager: ControllerManager = "tuned",
    with_s3: bool = True,
    fake_node_count: int = FAKE_NODES,
    stages: Path = fake_nodes.OUTCOMES,
) -> Cluster:
    """Start a cluster, or what is missing of the one that has this name. Waits until its nodes are ready.

    When a part fails, what runs stays for a look at its logs; `down` ends it. When the machine lacks something, nothing
    of a new cluster stays.
    """
    if nodes in ("real", "both"):
        machine.require_root()
    fresh = not states.directory(name).exists()
    with _lock_of(name):
        try:
            state = _claim(name, nodes, controller_manager, with_s3)
            return _bring_up(state, fake_node_count, stages)
        except Unavailable:
            if fresh:
                _end(states.directory(name))
            raise


def _lock_of(name: str) -> AbstractContextManager[None]:
    waiting = f"Another process works on the cluster {name}; waiting for it."
    return locked(clusters_dir() / f"{name}.lock", waiting, remove=True)


def _bring_up(state: State, fake_node_count: int, stages: Path) -> Cluster:
    packages.require({**packages.CONTROL_PLANE, **(packages.REAL_NODE if state.real else {})})
    programs = binaries.kubernetes(binaries.needed(state.nodes))
    supervisor = Supervisor(state.state_dir)
    if state.real:
        with _step("bridge for pods"):
            machine.claim(state)
    if state.s3:
        with _step("S3 server"):
            s3.start(supervisor, state.ports["s3"], _s3_addresses(state))
    _bring_up_control_plane(state, supervisor, programs)
    cluster = open_state(state)
    if state.real:
        _bring_up_real_node(cluster, state, supervisor, programs)
    if state.fake:
        _bring_up_fake_nodes(cluster, state, supervisor, fake_node_count, stages)
    return cluster


def _claim(name: str, nodes: Nodes, controller_manager: ControllerManager, with_s3: bool) -> State:
    state = states.load(states.directory(name))
    if state is None:
        return states.create(name, nodes, controller_manager, with_s3)
    if (state.nodes, state.s3) != (nodes, with_s3):
        kind = f"--nodes {state.nodes}{'' if state.s3 else ' --no-s3'}"
        raise ClusterError(f"the cluster {name} is there already, with {kind}: end it first (down --name {name})")
    if state.controller_manager != controller_manager:
        Supervisor(state.state_dir).stop("kube-controller-manager", grace_seconds=1)
        state = replace(state, controller_manager=controller_manager)
        state.save()
    return state


def _bring_up_control_plane(state: State, supervisor: Supervisor, programs: control_plane.Programs) -> None:
    with _step("certificates and kubeconfigs"):
        control_plane.prepare(state)
    with _step("etcd"):
        control_plane.start_etcd(state, supervisor, programs)
    with _step("kube-apiserver"):
        control_plane.start_apiserver(state, supervisor, programs)
    with _step(f"kube-controller-manager ({state.controller_manager}), kube-scheduler"):
        control_plane.start_controller_manager(state, supervisor, programs, state.controller_manager)
        control_plane.start_scheduler(state, supervisor, programs)
        control_plane.await_controllers(state, supervisor)


def _bring_up_fake_nodes(cluster: Cluster, state: State, supervisor: Supervisor, count: int, stages: Path) -> None:
    kwok = binaries.tool(binaries.KWOK)
    with _step(f"{count} fake nodes"):
        fake_nodes.start(state, supervisor, kwok, stages)
        present = cluster.kubectl("get", "nodes", "-l", fake_nodes.LABEL, "-o", "name").stdout.split()
        if len(present) < count:
            cluster.add_fake_nodes(count - len(present))


def _bring_up_real_node(
    cluster: Cluster, state: State, supervisor: Supervisor, programs: control_plane.Programs
) -> None:
    for title, action in real_node.steps(state, supervisor, programs, cluster):
        with _step(title):
            action()


def _s3_addresses(state: State) -> list[str]:
    return ["127.0.0.1", BRIDGE_ADDRESS] if state.real else ["127.0.0.1"]


@contextlib.contextmanager
def _step(title: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"  {title:<58} {time.monotonic() - started:6.1f} s")


def open_state(state: State) -> Cluster:
    """The public view of a cluster of ours, running or not."""
    endpoints = [f"http://{address}:{state.ports['s3']}" for address in _s3_addresses(state)]
    server = s3.S3Server(endpoints[0], endpoints[1] if state.real else None) if state.s3 else None
    kubeconfig = state.state_dir / "kubeconfig"
    return Cluster(kubeconfig, state.server, state.tokens["admin"], server, state.state_dir, state.nodes)


def attach(kubeconfig: Path) -> Cluster:
    """A cluster that is there already: one of ours by its kubeconfig, or any other (kind, a cloud's).

    Of another one, S3 is what the variables MAPRUN_TEST_S3_ENDPOINT and its fellows say; without them there is none.
    """
    kubeconfig = kubeconfig.expanduser().resolve()
    state = states.load(kubeconfig.parent)
    if state is not None and kubeconfig.name == "kubeconfig":
        return open_state(state)
    cluster = Cluster(kubeconfig, server="", admin_token=None, s3=None, state_dir=None)
    answer = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
    token = answer["users"][0]["user"].get("token")
    server = answer["clusters"][0]["cluster"]["server"]
    return replace(cluster, server=server, admin_token=token, s3=s3.from_environment())


def down(name: str = "default") -> bool:
    """End a cluster and remove all that it left on the machine. False when there is none of that name."""
    path = states.directory(name)
    if not path.exists():
        return False
    with _lock_of(name):
        _end(path)
    return True


def _end(path: Path) -> None:
    """First those who would react to the end of the others. Data are thrown away, so nobody needs to end in order."""
    supervisor = Supervisor(path)
    for component in ("kwok", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"):
        supervisor.stop(component, first=signal.SIGKILL)
    machine.release(path)
    for component in supervisor.names():
        supervisor.stop(component, first=signal.SIGKILL)
    if path.exists():
        shutil.rmtree(path)


@contextlib.contextmanager
def started(
    nodes: Nodes = "none",
    controller_manager: ControllerManager = "tuned",
    s3: bool = True,
    fake_node_count: int = FAKE_NODES,
    stages: Path = fake_nodes.OUTCOMES,
    name: str | None = None,
) -> Iterator[Cluster]:
    """A cluster of its own for the time of the block, gone at its end, also when the block or the start fails."""
    name = name or f"run-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
    try:
        yield up(name, nodes, controller_manager, s3, fake_node_count, stages)
    finally:
        down(name)
