"""Two operators and one Lease on a real API server: one leads, the other follows when it stops, dies, hangs or is cut
off; no item is lost, none runs again, the results are the same.

How long each takeover took is printed: `pytest -s` shows it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.adapters.operator_runs import Buckets, Json, Run, Seen, secret_of, spaces, until, verdict, watching
from tests.adapters.test_operator_kill import (
    Scene,
    assert_each_attempt_had_one_job,
    assert_whole,
    neutral,
    state_of,
    undisturbed,
)
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.operator_process import OperatorProcess, eventually

__all__ = ["undisturbed"]  # a fixture

LEASE: Final = "operator"
TAKEOVER_SECONDS: Final = 20.0  # after a death: the Lease runs out after 10
RELEASED_SECONDS: Final = 5.0  # less than it takes to run out
ENDS_SECONDS: Final = 120.0
AWAY_SECONDS: Final = 20.0
STANDBY_ENDS_SECONDS: Final = 3.0


@dataclass
class Pair:
    """Two operators of one namespace with one state; each is a ServiceAccount of its own in the audit log."""

    cluster: Cluster
    scene: Scene
    operators: dict[str, OperatorProcess]

    @property
    def lease(self) -> Json:
        got = self.cluster.kubectl("get", "lease", LEASE, "-n", self.scene.space.name, "-o", "json").stdout
        spec: Json = json.loads(got)["spec"]
        return spec

    def start(self) -> tuple[str, str]:
        """Start both; returns who leads and who stands by."""
        for operator in self.operators.values():
            operator.start()
        leader = self.leader()
        other = self.other(leader)
        eventually(lambda: self.says(other, "standby: "), told=lambda: self.operators[other].log)
        return leader, other

    def other(self, name: str) -> str:
        return next(each for each in self.operators if each != name)

    def leads(self, name: str) -> bool:
        return self.operators[name].metrics().get("maprun_leader") == 1

    def says(self, name: str, text: str) -> bool:
        status, told = self.operators[name].get("/readyz")
        return status == 200 and text in told

    def leader(self) -> str:
        """Wait until one leads; returns its name."""
        eventually(lambda: any(map(self.leads, self.operators)), told=self.logs)
        (name,) = filter(self.leads, self.operators)
        return name

    def took_over(self, name: str, began: float, seconds: float, how: str) -> None:
        """Wait until it leads, and print how long that took."""
        eventually(lambda: self.leads(name), seconds, self.logs)
        print(f"after {how} the other one led within {time.monotonic() - began:.2f} s")

    def logs(self) -> str:
        return "\n".join(f"{name}:\n{operator.log}" for name, operator in self.operators.items())

    def writes(self, name: str, since: datetime) -> list[str]:
        """What an operator asked the API server to change since then."""
        events = map(json.loads, self.cluster.audit_log.read_text().splitlines())
        user = f"system:serviceaccount:{self.scene.space.name}:{name}"
        return [
            f"{event['verb']} {event['requestURI']}"
            for event in events
            if event["user"]["username"] == user
            and event["verb"] not in ("get", "list", "watch")
            and datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since
        ]

    def assert_nothing_broke(self) -> None:
        assert "Traceback" not in self.logs()


def account(cluster: Cluster, namespace: str, name: str, folder: Path) -> Path:
    """A kubeconfig of a new ServiceAccount that may do everything."""
    cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
    bound = f"--serviceaccount={namespace}:{name}"
    cluster.kubectl("create", "clusterrolebinding", f"{namespace}-{name}", "--clusterrole=cluster-admin", bound)
    token = cluster.kubectl("create", "token", name, "-n", namespace, "--duration=1h").stdout.strip()
    config = json.loads(cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def pair(
    cluster: Cluster, server: S3Server, name: str, folder: Path, kind: str = "directory", watched: bool = True
) -> AsyncIterator[Pair]:
    """Nothing runs yet. `watched`: every Job that is ever made is seen."""
    state, options = state_of(kind, folder, server), [f"--namespace={name}", f"--lease={name}/{LEASE}"]
    async with AsyncExitStack() as stack:
        (space,) = await stack.enter_async_context(spaces(cluster, name))
        await space.secret(secret_of(server))
        jobs, buckets = space.path("jobs", group="batch/v1"), stack.enter_context(closing(Buckets(server)))
        seen = await stack.enter_async_context(watching(space.client, jobs)) if watched else Seen()
        operators = {}
        for each in ("first", "second"):
            own = folder / each
            own.mkdir()
            operators[each] = OperatorProcess(own, account(cluster, name, each, own), state, options, server)
            stack.callback(operators[each].kill)
        made = Pair(cluster, Scene(space, operators["first"], seen, buckets, server), operators)
        yield made
        made.assert_nothing_broke()
        await space.close()


async def under_way(run: Run, succeeded: int = 10) -> None:
    await run.until(lambda status: status.get("itemCounts", {}).get("succeeded", 0) > succeeded)


async def ended_whole(at: Pair, run: Run, undisturbed: dict[str, str]) -> None:
    status = await run.ended(ENDS_SECONDS)
    assert_whole(at.scene, run, status)
    assert neutral(at.scene.results(status), run) == undisturbed


STOPS = [
    pytest.param(signal.SIGKILL, TAKEOVER_SECONDS, -signal.SIGKILL, "S3", id="SIGKILL"),
    pytest.param(signal.SIGTERM, RELEASED_SECONDS, 0, "directory", id="SIGTERM"),
]


@pytest.mark.parametrize(("sign", "seconds", "code", "kind"), STOPS)
async def test_the_other_one_takes_over(
    cluster: Cluster,
    server: S3Server,
    tmp_path: Path,
    undisturbed: dict[str, str],
    sign: signal.Signals,
    seconds: float,
    code: int,
    kind: str,
) -> None:
    async with pair(cluster, server, f"leader-{sign.name.lower()}", tmp_path, kind) as at:
        leader, other = at.start()
        run = await at.scene.create(maxConcurrency=40)
        await under_way(run)
        began = time.monotonic()
        send(at.operators[leader], sign)
        at.took_over(other, began, seconds, sign.name)
        eventually(lambda: not at.operators[leader].alive)
        assert at.operators[leader].exit_code == code
        await ended_whole(at, run, undisturbed)
        assert_each_attempt_had_one_job(at.scene, run)
        assert at.lease["leaseTransitions"] == 1


def send(operator: OperatorProcess, sign: signal.Signals) -> None:
    assert operator._process is not None
    operator._process.send_signal(sign)


@pytest.mark.parametrize("kind", ["directory", "S3"])
async def test_one_that_stood_still_while_another_took_over_changes_nothing_and_ends(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str], kind: str
) -> None:
    async with pair(cluster, server, f"leader-paused-{kind.lower()}", tmp_path, kind) as at:
        leader, other = at.start()
        run = await at.scene.create(maxConcurrency=40)
        await under_way(run)
        began = time.monotonic()
        send(at.operators[leader], signal.SIGSTOP)
        try:
            at.took_over(other, began, TAKEOVER_SECONDS, "SIGSTOP")
            wrote = at.writes(leader, datetime.fromtimestamp(0, UTC))
            assert any("/jobs" in each for each in wrote), "the audit log knows what it did before"
        finally:
            awake = datetime.now(UTC)
            send(at.operators[leader], signal.SIGCONT)
        eventually(lambda: not at.operators[leader].alive, told=at.logs)
        assert at.operators[leader].exit_code == 1
        await ended_whole(at, run, undisturbed)
        assert_each_attempt_had_one_job(at.scene, run)
        assert at.writes(leader, awake) == []
        assert at.operators[leader].log.count("lost the lead by Lease") == 1
        assert at.operators[leader].log.splitlines()[-1].endswith("; ending at once")


async def test_the_lead_goes_to_and_fro_in_one_run(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    async with pair(cluster, server, "leader-to-and-fro", tmp_path) as at:
        leader, other = at.start()
        run = await at.scene.create(maxConcurrency=3)
        await under_way(run, 0)
        for _ in range(5):
            began = time.monotonic()
            at.operators[leader].terminate()
            at.took_over(other, began, RELEASED_SECONDS, "SIGTERM")
            at.operators[leader].start()
            eventually(lambda name=leader: at.says(name, "standby: "), told=at.logs)  # type: ignore[misc]
            leader, other = other, leader
        assert verdict(await run.status()) in ("", "Unknown"), "the run ended before the last change"
        assert at.lease["leaseTransitions"] == 5
        await run.change(maxConcurrency=40)
        await ended_whole(at, run, undisturbed)
        assert_each_attempt_had_one_job(at.scene, run)


async def test_two_that_were_killed_go_on_when_they_are_started_again(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    async with pair(cluster, server, "leader-both-killed", tmp_path) as at:
        at.start()
        run = await at.scene.create(maxConcurrency=40)
        await under_way(run)
        for operator in at.operators.values():
            operator.kill()
        at.start()
        await ended_whole(at, run, undisturbed)
        assert_each_attempt_had_one_job(at.scene, run)


async def test_without_an_api_server_nobody_leads_and_afterwards_one_does(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    async with pair(cluster, server, "leader-cut-off", tmp_path, watched=False) as at:
        leader, other = at.start()
        run = await at.scene.create(maxConcurrency=40)
        await under_way(run)
        cluster.kill("kube-apiserver")
        began = time.monotonic()
        try:
            eventually(lambda: not at.operators[leader].alive, AWAY_SECONDS, at.logs)
            assert at.operators[leader].exit_code == 1
            at.operators[leader].start()  # as the kubelet does
            eventually(lambda: time.monotonic() - began > AWAY_SECONDS, AWAY_SECONDS)
            assert at.operators[other].alive
            assert not at.leads(other)
        finally:
            cluster.start("kube-apiserver")
        at.leader()
        await ended_whole(at, run, undisturbed)


async def test_a_lease_that_is_deleted_by_hand_is_made_anew_and_nobody_notices(
    cluster: Cluster, server: S3Server, tmp_path: Path
) -> None:
    async with pair(cluster, server, "leader-deleted", tmp_path) as at:
        leader, other = at.start()
        mine = at.lease["holderIdentity"]
        cluster.kubectl("delete", "lease", LEASE, "-n", "leader-deleted")
        await until(lambda: holds(at, mine), TAKEOVER_SECONDS, at.logs)
        assert at.leads(leader)
        assert at.says(other, mine)


async def holds(at: Pair, name: str) -> bool:
    found = at.cluster.kubectl("get", "lease", LEASE, "-n", at.scene.space.name, "-o", "json", check=False)
    return found.returncode == 0 and json.loads(found.stdout)["spec"]["holderIdentity"] == name


async def test_a_lease_that_somebody_else_takes_ends_the_leader_and_is_respected(
    cluster: Cluster, server: S3Server, tmp_path: Path
) -> None:
    async with pair(cluster, server, "leader-taken", tmp_path) as at:
        leader, other = at.start()
        taken = json.dumps({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3}})
        cluster.kubectl("patch", "lease", LEASE, "-n", "leader-taken", "--type=merge", "-p", taken)
        eventually(lambda: not at.operators[leader].alive, told=at.logs)
        assert at.operators[leader].exit_code == 1
        assert "somebody holds it now; ending at once" in at.operators[leader].log
        eventually(lambda: at.leads(other), TAKEOVER_SECONDS, at.logs)
        assert "standby: somebody leads by Lease leader-taken/operator" in at.operators[other].log


async def test_a_standby_is_ready_and_ends_at_once_and_its_leader_does_not_notice(
    cluster: Cluster, server: S3Server, tmp_path: Path
) -> None:
    async with pair(cluster, server, "leader-standby", tmp_path) as at:
        leader, other = at.start()
        mine = at.lease["holderIdentity"]
        assert at.operators[other].get("/readyz") == (200, f"standby: {mine} leads by Lease leader-standby/operator\n")
        assert at.operators[other].get("/healthz") == (200, "ok\n")
        assert at.operators[other].metrics()["maprun_leader"] == 0
        assert at.operators[leader].get("/readyz") == (200, "leads by Lease leader-standby/operator\n")
        assert at.operators[leader].metrics()["maprun_leader_transitions_total"] == 1
        assert at.operators[other].terminate() < STANDBY_ENDS_SECONDS
        assert at.operators[other].exit_code == 0
        assert at.leads(leader)
        assert at.lease["holderIdentity"] == mine


async def test_a_namespace_that_is_not_there_is_told(cluster: Cluster, server: S3Server, tmp_path: Path) -> None:
    operator = OperatorProcess(tmp_path, cluster.kubeconfig, f"file://{tmp_path}/state", ["--lease=leader-none/a"])
    try:
        operator.start()
        told: Callable[[], tuple[int, str]] = lambda: operator.get("/readyz")  # noqa: E731
        eventually(lambda: told()[0] == 503 and "Lease leader-none/a cannot be used: 404" in told()[1])
    finally:
        operator.kill()
