"""Everything that comes out when only the image is named, word by word, so that a change of it is seen in a review.

To renew it, after a change that is wanted: `RENEW_SNAPSHOTS=1 pytest tests/chart/test_snapshot.py`, then look at the
diff. The resource definition is left out: it has a file of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.chart.rendering import template, with_image

SNAPSHOT: Final = Path(__file__).parent / "snapshots" / "defaults.yaml"
RENEW: Final = "RENEW_SNAPSHOTS"


def test_the_defaults_are_those_of_the_snapshot(helm: Path) -> None:
    documents = template(helm, with_image({})).split("---\n")
    text = "---\n".join(each for each in documents if "kind: CustomResourceDefinition" not in each)
    if os.environ.get(RENEW):
        SNAPSHOT.write_text(text)
        pytest.fail(f"{SNAPSHOT.name} was renewed; run it again without {RENEW}")
    assert text == SNAPSHOT.read_text(), f"if that is wanted: {RENEW}=1 pytest {Path(__file__).name}"
