"""The alert rules: promtool takes them, they fire when they should and only then, and each leads to its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.monitoring.watched import RULES, RUNBOOKS
from tools.dashboard.__main__ import REPOSITORY

Json = dict[str, Any]

UNIT_TESTS: Final = Path(__file__).with_name("rules_test.yaml")
PAGES: Final = REPOSITORY / "docs" / "runbooks"
PLACE: Final = "RUNBOOKS"
ALERTS: Final = ("Failed", "Stuck", "Backlog", "OperatorDown", "NoLeader", "JournalErrors", "Throttled")
HEADINGS: Final = ("## Diagnosis", "## Mitigation")
ALERTNAME: Final = re.compile(r'alertname="(\w+)"')
TOOL_SECONDS: Final = 120

EVERY: Final[list[Json]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
NAMES: Final = [f"MapRun{name}" for name in ALERTS]

each_rule = pytest.mark.parametrize("rule", EVERY, ids=lambda rule: f"{rule['alert']} {rule['labels']}")
each_alert = pytest.mark.parametrize("alert", NAMES)


@pytest.mark.parametrize("base", [PLACE, RUNBOOKS], ids=["as they are", "as the chart writes them"])
def test_promtool_takes_them(base: str, prometheus: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES.read_text().replace(PLACE, base))
    assert f"{len(EVERY)} rules found" in promtool(
        prometheus, "check", "rules", "--lint=all", "--lint-fatal", str(file)
    )


def test_they_fire_when_they_should_and_only_then(prometheus: Path) -> None:
    promtool(prometheus, "test", "rules", str(UNIT_TESTS))


def test_these_are_the_alerts() -> None:
    assert sorted({rule["alert"] for rule in EVERY}) == sorted(NAMES)


@each_alert
def test_an_alert_is_tested_for_firing_and_for_not_firing(alert: str) -> None:
    checks = [each for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for each in checks_of(test, alert)]
    assert any(checks), "fires somewhere"
    assert not all(checks), "is silent somewhere"


@each_rule
def test_a_rule_says_what_whoever_is_woken_needs(rule: Json) -> None:
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert not notes["summary"].endswith(".")
    assert len(notes["description"]) > 100
    assert notes["runbook_url"] == f"{PLACE}/{rule['alert']}.md"
    assert not set(re.findall(r"\$labels\.(\w+)", str(notes))) - labels_of(rule["expr"])


@each_alert
def test_an_alert_has_its_page(alert: str) -> None:
    text = (PAGES / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n\n**Meaning.** ")
    assert "\n**Impact.** " in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(HEADINGS)
    assert f"[{alert}]({alert}.md)" in (PAGES / "README.md").read_text()


def test_there_is_no_page_without_an_alert() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == sorted([*NAMES, "README"])


def promtool(prometheus: Path, *arguments: str) -> str:
    """What promtool says; fails with it when it finds something wrong."""
    command = [str(prometheus.with_name("promtool")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def checks_of(test: Json, alert: str) -> list[bool]:
    """What a unit test expects of an alert, moment by moment: True where it fires."""
    told = [each for each in test.get("alert_rule_test", ()) if each["alertname"] == alert]
    asked = [each for each in test.get("promql_expr_test", ()) if ALERTNAME.findall(each["expr"]) == [alert]]
    return [bool(each.get("exp_alerts")) for each in told] + [bool(each.get("exp_samples")) for each in asked]


def labels_of(expression: str) -> set[str]:
    """Labels that the answers of a rule have: those of its outer sum, or maximum."""
    found = re.search(r"(?:sum|max) by \(([\w, ]+)\)", expression)
    return set(found[1].split(", ")) if found else set()
