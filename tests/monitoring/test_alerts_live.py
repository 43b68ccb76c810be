"""The alert rules in a real Prometheus: every series they ask for is there, all are evaluated, four really fire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.monitoring import promql
from tests.monitoring.prometheus_process import PrometheusProcess
from tests.monitoring.watched import RULES, RUNBOOKS, Watched, apply, open_space, rule_files
from tests.operator_process import OperatorProcess, eventually

EVERY: Final = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
SELECTORS: Final = sorted({(rule["alert"], each) for rule in EVERY for each in promql.selectors(rule["expr"])})
ELSEWHERE: Final = "monitored-elsewhere"


@pytest.mark.parametrize(("alert", "selector"), SELECTORS, ids=[f"{alert}: {each}" for alert, each in SELECTORS])
def test_every_series_that_an_alert_asks_for_is_there(alert: str, selector: str, live: Watched) -> None:
    assert live.prometheus.query(f"last_over_time({selector}[1h])"), alert


def test_every_rule_is_evaluated(live: Watched) -> None:
    def of_all(key: str) -> list[str]:
        groups = live.prometheus.get("rules", type="alert")["groups"]
        return [rule[key] for group in groups for rule in group["rules"]]

    eventually(lambda: "unknown" not in of_all("health"))
    assert len(of_all("health")) == 2 * len(EVERY)
    assert set(of_all("health")) == {"ok"}


def test_a_run_that_failed_is_told_and_leads_to_its_page(live: Watched) -> None:
    def told() -> list[dict[str, Any]]:
        return firing(live.prometheus, "MapRunFailed")

    eventually(told)
    assert {each["labels"]["namespace"] for each in told()} == {"media"}
    assert all(each["annotations"]["runbook_url"] == f"{RUNBOOKS}/MapRunFailed.md" for each in told())
    assert all(each["annotations"]["description"].startswith("1 map run(s) in namespace media") for each in told())


def test_a_run_that_waits_for_its_secret_is_told_and_no_other_is_stuck(live: Watched) -> None:
    eventually(lambda: firing(live.prometheus, "MapRunStuck"))
    told = [each["labels"] for each in firing(live.prometheus, "MapRunStuck")]
    assert {(each["held"], each["namespace"], each["reason"]) for each in told} == {
        ("outside", "media", "SecretNotFound")
    }


@pytest.mark.parametrize("alert", ["MapRunOperatorDown", "MapRunNoLeader", "MapRunJournalErrors"])
def test_nothing_else_is_told_of_operators_that_are_well(alert: str, live: Watched) -> None:
    assert not firing(live.prometheus, alert)


@pytest.fixture
def elsewhere(cluster_fake: Cluster, live: Watched) -> Iterator[Cluster]:
    """A namespace for an operator of its own."""
    open_space(cluster_fake, ELSEWHERE)
    yield cluster_fake
    cluster_fake.kubectl("delete", "namespace", ELSEWHERE, "--timeout=60s")


def test_an_operator_that_is_gone_is_told(elsewhere: Cluster, prometheus: Path, tmp_path: Path) -> None:
    options = [f"--namespace={ELSEWHERE}"]
    operator = OperatorProcess(tmp_path, elsewhere.kubeconfig, f"file://{tmp_path}/state", options)
    with operator, PrometheusProcess(prometheus, tmp_path, [operator.port], rule_files(tmp_path)) as watching:
        eventually(lambda: watching.query("count_over_time(maprun_build_info[1m]) >= 3"))
        assert not firing(watching, "MapRunOperatorDown")
        assert not firing(watching, "MapRunNoLeader")
        operator.kill()
        eventually(lambda: firing(watching, "MapRunOperatorDown"))
        assert not firing(watching, "MapRunNoLeader")


def test_an_operator_that_never_comes_to_lead_is_told(elsewhere: Cluster, prometheus: Path, tmp_path: Path) -> None:
    """Somebody holds its Lease for an hour."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    held = {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "acquireTime": now, "renewTime": now}
    place = {"namespace": ELSEWHERE, "name": "maprun"}
    apply(elsewhere, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": place, "spec": held})
    options = [f"--namespace={ELSEWHERE}", f"--lease={ELSEWHERE}/maprun"]
    operator = OperatorProcess(tmp_path, elsewhere.kubeconfig, f"file://{tmp_path}/state", options)
    with operator, PrometheusProcess(prometheus, tmp_path, [operator.port], rule_files(tmp_path)) as watching:
        eventually(lambda: firing(watching, "MapRunNoLeader"))
        assert not firing(watching, "MapRunOperatorDown")


def firing(prometheus: PrometheusProcess, alert: str) -> list[dict[str, Any]]:
    """What Prometheus tells of an alert, of the rules that fire at once."""
    return [
        each
        for each in prometheus.get("alerts")["alerts"]
        if (each["labels"]["alertname"], each["labels"].get("eager"), each["state"]) == (alert, "true", "firing")
    ]
