"""What several files here ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.adapters.operator_runs import Buckets
from tests.cluster import Cluster


@pytest.fixture
def buckets(cluster_fake: Cluster) -> Iterator[Buckets]:
    """Buckets of the fake cluster's S3 server; they go with the test."""
    assert cluster_fake.s3 is not None
    with closing(Buckets(cluster_fake.s3)) as buckets:
        yield buckets
