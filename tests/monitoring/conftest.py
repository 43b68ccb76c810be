"""One watched operator for all tests here: what a query or an alert finds is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.monitoring.watched import Watched, watched


@pytest.fixture(scope="package")
def live(cluster_fake: Cluster, prometheus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Runs under way, and the Prometheus that scrapes their operator."""
    with watched(cluster_fake, prometheus, tmp_path_factory.mktemp("watched")) as live:
        yield live
