"""docs/security.md: the tests that it names are there, and so are the settings."""

from __future__ import annotations

import re
from typing import Final

import pytest
import yaml

from tests.cluster.paths import REPOSITORY

PAGE: Final = (REPOSITORY / "docs/security.md").read_text()
NAMED: Final = sorted(set(re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", PAGE)))
VALUES: Final = sorted(set(re.findall(r"`((?:s3|networkPolicy|admissionPolicy)\.\w[\w.]*)", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_is_there(name: str) -> None:
    path = name if "/" in name else f"tests/adapters/{name}"
    assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_the_chart_that_is_named_is_there(name: str) -> None:
    value = yaml.safe_load((REPOSITORY / "charts/maprun/values.yaml").read_text())
    for part in name.split("."):
        assert part in value
        value = value[part]


def test_the_page_names_what_it_must() -> None:
    """The patterns above still find something."""
    assert len(NAMED) >= 8
    assert len(VALUES) >= 4
