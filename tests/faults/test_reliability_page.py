"""docs/reliability.md and the scenarios are one."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.cluster.paths import REPOSITORY
from tests.faults.scenarios import BY_NAME, table, tested

PAGE = REPOSITORY / "docs/reliability.md"


def test_every_scenario_has_its_test() -> None:
    for file in sorted(Path(__file__).parent.glob("test_*_faults.py")):
        importlib.import_module(f"tests.faults.{file.stem}")
    assert tested == BY_NAME.keys()


def test_the_page_shows_every_scenario_and_no_other() -> None:
    assert table() in PAGE.read_text()
    assert PAGE.read_text().count("\n| ") == len(BY_NAME) + 1, "a row that no scenario stands behind"
