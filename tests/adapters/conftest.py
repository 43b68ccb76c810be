"""What several files here ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import Buckets
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server


@pytest.fixture(scope="module")
def cluster(cluster_fake: Cluster) -> Cluster:
    """The fake cluster, with the CRD."""
    return install(cluster_fake)


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> S3Server:
    """Its S3 server."""
    assert cluster.s3 is not None
    return cluster.s3


@pytest.fixture
def buckets(cluster_fake: Cluster) -> Iterator[Buckets]:
    """Buckets of the fake cluster's S3 server; they go with the test."""
    assert cluster_fake.s3 is not None
    with closing(Buckets(cluster_fake.s3)) as buckets:
        yield buckets
