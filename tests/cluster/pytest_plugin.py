"""Fixtures for the whole session: `s3_server`, `cluster_fake`, `cluster_real`, `helm`, `prometheus`; `cluster_kueue`
for a module; and `real_node_free` for one test.

Nothing starts before a test asks for it, and only the standard library is imported. Where a part cannot run, its
tests are skipped with a sentence on how to get it; with CI=true they fail instead, so that a green run has run
everything. With MAPRUN_TEST_KUBECONFIG the cluster is the one that it names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from . import binaries, leftovers, lifecycle, machine, packages, s3
from .cluster import Cluster
from .commands import program
from .paths import Unavailable
from .s3 import S3Server
from .state import Nodes

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """versitygw alone: no cluster, no root, up within a second."""
    try:
        _built(binaries.missing_tools([binaries.VERSITYGW]), "--s3-only")
        with s3.server() as server:
            yield server
    except Unavailable as error:
        _missing("an S3 server", error)


@pytest.fixture(scope="session")
def cluster_fake() -> Iterator[Cluster]:
    """A control plane, fake nodes and S3. What pods do is said by annotations: stages/outcomes.yaml."""
    yield from _cluster("fake")


@pytest.fixture(scope="module")
def cluster_kueue() -> Iterator[Cluster]:
    """As `cluster_fake`, with Kueue, and for nobody else: every Job passes Kueue's webhooks."""
    yield from _cluster("fake", kueue=True)


@pytest.fixture(scope="session")
def cluster_real() -> Iterator[Cluster]:
    """A control plane, one node with real containers, and S3. One a machine."""
    yield from _cluster("real")


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm program."""
    try:
        _built(binaries.missing_tools([binaries.HELM]), "--nodes none")
        return binaries.tool(binaries.HELM)
    except Unavailable as error:
        _missing("helm", error)


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The prometheus program; promtool comes with it."""
    try:
        packages.require(packages.PROMETHEUS)
        return Path(program("prometheus"))
    except Unavailable as error:
        _missing("Prometheus", error)


@pytest.fixture
def real_node_free() -> None:
    """For a test that starts a cluster with real nodes of its own: nobody has the machine's real node now."""
    try:
        if os.environ.get("MAPRUN_TEST_KUBECONFIG"):
            raise Unavailable("MAPRUN_TEST_KUBECONFIG names another cluster to test with")
        machine.require_root()
        _built(binaries.missing("both"), "--nodes both")
        machine.require_free()
    except Unavailable as error:
        _missing("the machine's real node", error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need the real node for themselves come first, before the session's own cluster takes it and keeps it.

    pytest-xdist (with --dist loadgroup) gives all users of the one real node to the same worker.
    """
    items.sort(key=lambda item: "real_node_free" not in getattr(item, "fixturenames", ()))
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if {"cluster_real", "real_node_free"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("real-node"))


def _cluster(kind: Nodes, kueue: bool = False) -> Iterator[Cluster]:
    existing = os.environ.get("MAPRUN_TEST_KUBECONFIG")
    try:
        if existing and kueue:
            raise Unavailable("MAPRUN_TEST_KUBECONFIG names another cluster to test with")
        if existing:
            yield _fitting(lifecycle.attach(Path(existing)), kind)
            return
        _built(binaries.missing(kind) + (binaries.missing_kueue() if kueue else []), f"--nodes {kind}")
        with lifecycle.started(kind) as cluster:
            if kueue:
                cluster.start_kueue()
            yield cluster
            processes = leftovers.processes_of(cluster)
    except Unavailable as error:
        _missing(f"a cluster with {kind} nodes{' and Kueue' if kueue else ''}", error)
    assert cluster.state_dir is not None
    left = leftovers.find(cluster.state_dir, processes, kind == "real")
    assert not left, f"the cluster left behind: {', '.join(left)}"


def _fitting(cluster: Cluster, kind: Nodes) -> Cluster:
    """Any cluster that is not ours counts as one with real nodes."""
    kinds = {"both": {"fake", "real"}, None: {"real"}}.get(cluster.nodes, {cluster.nodes})
    if kind not in kinds:
        raise Unavailable(f"the cluster that MAPRUN_TEST_KUBECONFIG names has no {kind} nodes")
    return cluster


def _built(missing: list[str], option: str) -> None:
    """A test run does not stop for minutes to build programs, unless it is CI's: there somebody must."""
    if missing and not IN_CI:
        names = ", ".join(missing)
        raise Unavailable(f"{names} not built yet: python -m tests.cluster build {option}")


def _missing(what: str, error: Unavailable) -> NoReturn:
    if IN_CI:
        raise error
    pytest.skip(f"needs {what}: {error}")
