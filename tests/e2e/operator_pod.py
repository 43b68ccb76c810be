"""The operator as pods with rights of their own: what it logs, and what the API server refuses.

Rule 1: with the rights of the chart nothing is refused. One refusal is a failure, in the operator's log or in the API
        server's audit log.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Final

from tests.cluster import Cluster, images
from tests.e2e import contract, real_runs
from tests.e2e.real_runs import Json, Project

REFUSED: Final = re.compile(r"forbidden|\b403\b|permission|Traceback", re.IGNORECASE)
ACCOUNT: Final = "system:serviceaccount:maprun:maprun"


def log_of(operator: Project) -> str:
    """The logs of the operator's pods as they are now. In them nothing was refused."""
    log = operator.kubectl("logs", "--selector=app.kubernetes.io/name=maprun", "--tail=-1")
    assert not REFUSED.search(log), log
    return log


def refusals(cluster: Cluster) -> Counter[str]:
    """What the API server refused to the operator, `VERB RESOURCE NAMESPACE`, and how often."""
    return Counter(told(event) for event in asked(cluster) if event["responseStatus"]["code"] in (401, 403))


def nothing_refused(cluster: Cluster, before: Counter[str], but: Collection[str] = ()) -> None:
    """The operator asked for something, and no more of it was refused than `before`, but for these requests in words
    (each the beginning of one)."""
    assert asked(cluster), "the audit log has the operator's requests"
    refused = {words: times for words, times in (refusals(cluster) - before).items() if not words.startswith((*but,))}
    assert not refused, refused


def asked(cluster: Cluster) -> list[Json]:
    """The operator's requests, from the API server's audit log."""
    events = map(json.loads, cluster.audit_log.read_text().splitlines()) if cluster.audit_log.exists() else ()
    return [event for event in events if event["user"]["username"] == ACCOUNT]


def told(event: Json) -> str:
    """A request in words."""
    what = event.get("objectRef", {})
    return " ".join((event["verb"], what.get("resource", event["requestURI"]), what.get("namespace", "")))


def start_rarer(cluster: Cluster) -> Project:
    """Runs with an input in a Secret, an output from a log, and a pod that does not start, whose events are read."""
    rarer = Project(cluster, "rarer").create()
    rarer.run("stuck", input=[1], itemProcessor={"jobTemplate": contract.without_volume()})
    count = real_runs.template(images.BUSYBOX, ["sh", "-c", "wc -c < $MAPRUN_INPUT"])
    rarer.run("large", input=["x" * 100_000], itemProcessor={"jobTemplate": count, "output": {"from": "Logs"}})
    return rarer
