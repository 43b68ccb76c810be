"""A working day of MapRun in a nutshell: a real operator that drives runs of every fate, and a Prometheus that watches.

Rule 1: the runs are there for what they show: one that goes well, from S3, retries, failures, timeouts, lost attempts,
        one that is redriven again and again, one that is suspended, one that waits for its Secret, one that failed and
        one that succeeded before anybody looked. The others live longer than any test.
Rule 2: there are two operators, as where the state is in S3: both are scraped, and one of them leads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from maprun.model import API_VERSION, KIND
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import SECRET, Buckets, access, reader, secret_of, spec
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.monitoring.prometheus_process import PrometheusProcess
from tests.operator_process import OperatorProcess, eventually
from tools.dashboard.__main__ import REPOSITORY

Json = dict[str, Any]

RULES: Final = REPOSITORY / "charts" / "maprun" / "files" / "rules.yaml"
RUNBOOKS: Final = "https://git.example.com/maprun/docs/runbooks"
SPACES: Final = ("etl", "media")
ENDED: Final = {("etl", "nightly"): "Succeeded", ("media", "broken"): "Failed"}
TOLERANT: Final = {"toleratedFailurePercentage": 100}
OOM: Final = {"outcome": "fail", "reason": "OOMKilled", "exit-code": "137", "duration": "0.7s"}
BUSY: Final = {"outcome": "fail", "message": '{"errorType": "ServiceBusy", "errorMessage": "try later"}'}
NODE_GONE: Final = {"outcome": "fail", "reason": "ContainerStatusUnknown", "exit-code": "137", "duration": "1s"}
FLAKY: Final = {"failing-attempts": "1", "duration": "2.5s"}
SEEN: Final = (
    "sum(maprun_map_runs_finished_total) >= 2",
    "sum(maprun_map_runs_open) >= 9",
    "sum(maprun_map_runs_redriven_total) > 0",
    'sum(maprun_run_resting{reason="suspended"}) > 0',
    "count(maprun_leader) == 2",
    "sum(maprun_leader) == 1",
    "sum(maprun_map_runs_waiting) >= 1",
    'sum(maprun_attempts_failed_total{error="States.Timeout"}) > 0',
    "sum(maprun_attempts_lost_total) > 0",
    "sum(maprun_retries_total) > 0",
    "sum(maprun_executions_succeeded_total) > 20",
    "min(count_over_time(maprun_build_info[1m])) > 10",
)
RETRY: Final = [{"errorEquals": ["States.ALL"], "intervalSeconds": 1, "maxAttempts": 3}]


@dataclass(frozen=True)
class Watched:
    """What is there to be asked."""

    cluster: Cluster
    operator: OperatorProcess
    prometheus: PrometheusProcess


@contextmanager
def watched(cluster: Cluster, program: Path, folder: Path, *, eager: bool = True) -> Iterator[Watched]:
    """Runs under way on the cluster, scraped for some seconds, with the alert rules as they are, and also as they fire
    at once, unless not `eager`.
    """
    assert cluster.s3 is not None
    install(cluster)
    with ExitStack() as stack:
        buckets = stack.enter_context(closing(Buckets(cluster.s3)))
        for name in SPACES:
            open_space(cluster, name)
            stack.callback(cluster.kubectl, "delete", "namespace", name, "--wait=false")
            apply(cluster, _secret(name, cluster.s3))
        state = f"s3://{buckets.make()}/state"
        own = [f"--s3-endpoint={cluster.s3.endpoint}", f"--lease={SPACES[0]}/maprun", "--cluster-ceiling=200"]
        options = [*(f"--namespace={name}" for name in SPACES), *own]
        operator = stack.enter_context(OperatorProcess(folder, cluster.kubeconfig, state, options, cluster.s3))
        (folder / "standby").mkdir()
        standby = stack.enter_context(operator.twin(folder / "standby"))
        for name in SPACES:  # by their operator, which alone takes its finalizers off
            stack.callback(cluster.kubectl, "delete", "mapruns", "--all", f"--namespace={name}", "--timeout=60s")
        ports = [operator.port, standby.port]
        prometheus = PrometheusProcess(program, folder, ports, rule_files(folder)[: 1 + eager])
        stack.enter_context(prometheus)
        eventually(lambda: prometheus.query("maprun_build_info"))
        apply(cluster, *runs(cluster.s3, buckets))
        eventually(lambda: not _missing(prometheus), 90.0, lambda: f"{_missing(prometheus)}:\n{operator.log[-4000:]}")
        yield Watched(cluster, operator, prometheus)


def runs(s3: S3Server, buckets: Buckets) -> list[Json]:
    """The MapRuns."""
    orders = buckets.make(orders=[{"order": number} for number in range(1_500)])
    return [
        _run(
            "etl",
            "orders",
            spec(pod={"duration": "1.2s"}, itemReader=reader(orders, "orders.json"), s3=access(s3)),
            maxConcurrency=8,
        ),
        _run("etl", "invoices", _inline(300, FLAKY, retry=RETRY), maxConcurrency=6),
        _run("etl", "nightly", _inline(12, {}), maxConcurrency=4),
        _run("media", "transcode", _inline(400, {"duration": "7s"}), maxConcurrency=12),
        _run("media", "thumbnails", _inline(400, OOM), maxConcurrency=2, **TOLERANT),
        _run("media", "captions", _inline(250, BUSY | {"duration": "2s"}), maxConcurrency=2, **TOLERANT),
        _run("media", "previews", _slow(), maxConcurrency=3, **TOLERANT),
        _run("media", "spot", _inline(100, NODE_GONE), maxConcurrency=2, **TOLERANT),
        _run("media", "again", _inline(30, BUSY | {"duration": "1s"}), maxConcurrency=2, redrives=50, **TOLERANT),
        _run("media", "held", _inline(60, {}), suspend=True),
        _run("media", "broken", _inline(6, BUSY), maxConcurrency=2),
        _run("media", "archive", spec(itemReader=reader(orders, "orders.json"), s3=access(s3, "nobodys"))),
    ]  # fmt: skip


def rule_files(folder: Path) -> Sequence[Path]:
    """The alert rules as a user loads them, and again so that they fire at once."""
    text = RULES.read_text().replace("RUNBOOKS", RUNBOOKS)
    eager = yaml.safe_load(text)
    for group in eager["groups"]:
        group["name"] += ".eager"
        for rule in group["rules"]:
            rule["for"] = "0s"
            rule["labels"]["eager"] = "true"
    files = folder / "rules.yaml", folder / "eager.yaml"
    for file, content in zip(files, (text, yaml.safe_dump(eager)), strict=True):
        file.write_text(content)
    return files


def open_space(cluster: Cluster, name: str) -> None:
    """Make the namespace, and wait until pods can be made in it."""
    cluster.kubectl("create", "namespace", name)
    account = ("get", "serviceaccount", "default", f"--namespace={name}")
    eventually(lambda: cluster.kubectl(*account, check=False).returncode == 0)


def apply(cluster: Cluster, *objects: Json) -> None:
    """`kubectl apply` them."""
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def _run(namespace: str, name: str, body: Json, **fields: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": body | fields,
    }


def _inline(items: int, pod: Json, **processor: Any) -> Json:
    return spec(list(range(items)), pod=pod, processor=processor)


def _slow() -> Json:
    """Children that exceed their time. It is the Job's: a fake node has no kubelet that ends a pod."""
    body = _inline(200, {"outcome": "hang"})
    body["itemProcessor"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] = 4
    return body


def _secret(namespace: str, s3: S3Server) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": SECRET},
        "stringData": secret_of(s3),
    }


def _missing(prometheus: PrometheusProcess) -> list[str]:
    """What is still to be seen of that which the runs are there for, and for long enough that it has a rate."""
    return [each for each in SEEN if not prometheus.query(each)]
