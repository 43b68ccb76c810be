"""The parts that all scenarios share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.job_runs import install
from tests.cluster.cluster import Cluster
from tests.faults.parts import Parts, parts_of


@pytest.fixture(scope="session")
def parts(cluster_fake: Cluster) -> Iterator[Parts]:
    """A control plane with fake nodes, an S3 server, and the ways to both that can be broken."""
    with parts_of(install(cluster_fake)) as parts:
        yield parts
