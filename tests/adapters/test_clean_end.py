"""What is left of a run that is deleted, expires, or is left behind: nothing, and nobody waits for it for long."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from maprun.adapters.cluster import ApiError
from maprun.adapters.s3_access import S3Access
from maprun.adapters.state_removal import MARK
from maprun.adapters.stores import open_store
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import Buckets, Json, Run, Space, spaces, spec, until, verdict
from tests.adapters.service_account import bind, kubeconfig
from tests.chart.rendering import render
from tests.cluster import s3 as s3_servers
from tests.cluster.cluster import Cluster
from tests.cluster.processes import Supervisor
from tests.cluster.s3 import S3Server
from tests.operator_process import SOURCES, OperatorProcess, free_port

HANG: Final = {"outcome": "hang"}
LARGE: Final = "x" * 40_000  # an item that rides in a Secret
HELD_SECONDS: Final = 20.0  # for which a deletion may wait for the operator, at most
NAMESPACE_SECONDS: Final = 90.0  # its controller looks again only after pauses of its own
GONE_SECONDS: Final = 60.0  # the garbage collector takes half a minute to notice a new CRD
SOON: Final = 15.0


@dataclass
class Place:
    """A namespace, the operator of it, and its state."""

    space: Space
    operator: OperatorProcess
    state: str
    access: S3Access

    def keys(self) -> list[str]:
        """All keys of the state."""
        store = open_store(self.state, self.access)
        return [info.key for info in store.list() if not info.key.startswith("start-check/")]

    def of(self, run: Run) -> list[str]:
        """The keys that belong to a run."""
        return [key for key in self.keys() if run.uid in key]

    async def stateless(self, *runs: Run) -> None:
        """Wait until nothing of these runs is in the state."""

        async def gone() -> bool:
            keys = await asyncio.to_thread(self.keys)
            return not any(run.uid in key for run in runs for key in keys)

        await until(gone, SOON, lambda: str(self.keys()))

    async def nothing_left(self, *runs: Run) -> None:
        """Wait until the runs and all that belonged to them is gone."""
        for run in runs:
            await until(run.gone, HELD_SECONDS)
            for kind, group in (("jobs", "batch/v1"), ("pods", ""), ("secrets", "")):
                path = self.space.path(kind, group=group)
                await until(lambda path=path, run=run: self._none(path, run), GONE_SECONDS, lambda kind=kind: kind)
        await self.stateless(*runs)

    async def _none(self, path: str, run: Run) -> bool:
        selector = {"labelSelector": f"maprun.dev/run-uid={run.uid}"}
        return b'"items":[]' in await self.space.client.request("GET", path, params=selector)


def server_of(cluster: Cluster) -> S3Server:
    assert cluster.s3 is not None
    return cluster.s3


def own_access(server: S3Server) -> S3Access:
    return S3Access(server.endpoint, server.region, server.access_key, server.secret_key)


@asynccontextmanager
async def place(
    cluster: Cluster,
    name: str,
    folder: Path,
    state: str,
    options: Sequence[str] = (),
    server: S3Server | None = None,
    *,
    everywhere: bool = False,
) -> AsyncIterator[Place]:
    """The operator is ready. It puts a finalizer on live runs when it drives those of all namespaces."""
    server = server or server_of(cluster)
    async with AsyncExitStack() as stack:
        (space,) = await stack.enter_async_context(spaces(install(cluster), name))
        own = [] if everywhere else [f"--namespace={name}"]
        operator = OperatorProcess(folder, cluster.kubeconfig, state, [*own, *options], server)
        stack.callback(operator.kill)
        operator.start().await_ready()
        yield Place(space, operator, state, own_access(server))
        assert "Traceback" not in operator.log
        with suppress(ApiError):
            await space.close()


@pytest.fixture(params=["directory", "S3"])
def state(request: pytest.FixtureRequest, cluster_fake: Cluster, tmp_path: Path) -> str:
    if request.param == "directory":
        return f"file://{tmp_path}/state"
    with closing(Buckets(server_of(cluster_fake))) as buckets:
        return f"s3://{buckets.make()}/some/prefix"


async def test_live_finished_and_suspended_runs_leave_nothing(
    cluster_fake: Cluster, tmp_path: Path, state: str
) -> None:
    name = f"clean-{'s3' if state.startswith('s3') else 'directory'}"
    async with place(cluster_fake, name, tmp_path, state) as at:
        live = await at.space.create(spec([LARGE] * 4, pod=HANG, maxConcurrency=2))
        held = await at.space.create(spec([1, 2], suspend=True))
        done = await at.space.create(spec([1, 2]))
        stays = await at.space.create(spec([1, 2]))
        await live.until(lambda status: status.get("itemCounts", {}).get("running") == 2)
        await held.until(lambda status: reason(status) == "Suspended")
        await asyncio.gather(done.ended(), stays.ended())
        assert all(at.of(run) for run in (live, held, done, stays))
        await asyncio.gather(*(run.delete() for run in (live, held, done)))
        await at.nothing_left(live, held, done)
        assert at.of(stays)
    if state.startswith("file://"):
        left = [path.name for path in Path(state.removeprefix("file://")).glob("*/*")]
        assert left == [f"{stays.name}-{stays.uid}"], "empty directories go, too"


def reason(status: Json) -> str:
    return str(next((each["reason"] for each in status.get("conditions", []) if each["type"] == "Succeeded"), ""))


async def test_a_run_that_goes_without_its_finalizer_is_driven_no_longer(cluster_fake: Cluster, tmp_path: Path) -> None:
    """Its last event has no time of deletion: it was deleted as soon as it was made, or somebody took the finalizer."""
    async with place(cluster_fake, "clean-sudden", tmp_path, f"file://{tmp_path}/state") as at:
        live = await at.space.create(spec([1, 2], pod=HANG))
        await live.until(lambda status: status.get("itemCounts", {}).get("running") == 2)
        sudden = []
        for _ in range(5):
            sudden.append(await at.space.create(spec([1, 2], pod=HANG)))
            await sudden[-1].delete()
        await live.space.client.request(
            "PATCH", live.path, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
        )
        await live.delete()

        async def nothing_driven() -> bool:
            metrics = await asyncio.to_thread(at.operator.metrics)
            return not sum(value for name, value in metrics.items() if name.startswith("maprun_map_runs_open"))

        await until(nothing_driven, SOON)
        await at.nothing_left(live, *sudden)
        assert await nothing_driven()


# -------------------------------------------------------------------------------------------------- a store that hangs


@dataclass
class Frozen:
    """An S3 server of its own that can be stopped in the midst of everything: connections stay, nothing is answered."""

    server: S3Server
    pid: int

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Frozen]:
    supervisor = Supervisor(tmp_path / "s3")
    try:
        server = s3_servers.start(supervisor, free_port())
        process = supervisor.process("versitygw")
        assert process is not None
        frozen = Frozen(server, process.pid)
        yield frozen
        frozen.thaw()
    finally:
        supervisor.stop("versitygw", grace_seconds=0.5)


async def test_a_namespace_is_deleted_while_the_state_store_hangs(
    cluster_fake: Cluster, tmp_path: Path, freezable: Frozen
) -> None:
    with closing(Buckets(freezable.server)) as buckets:
        state = f"s3://{buckets.make()}"
    async with place(cluster_fake, "clean-frozen", tmp_path, state, server=freezable.server, everywhere=True) as at:
        runs = [await at.space.create(spec(list(range(9)), pod=HANG, maxConcurrency=1)) for _ in range(8)]
        done = await at.space.create(spec([1]))
        for run in runs:
            await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
        await done.ended()
        freezable.freeze()
        began = time.monotonic()
        await at.space.close()
        for run in runs:
            await until(run.gone, NAMESPACE_SECONDS)
        held = time.monotonic() - began
        await until(lambda: namespace_gone(at.space), NAMESPACE_SECONDS)
        print(f"runs gone after {held:.1f} s, the namespace after {time.monotonic() - began:.1f} s")
        assert held < HELD_SECONDS + SOON  # the namespace's controller takes its time before it begins
        freezable.thaw()
        await until(lambda: stateless(at), 200)


async def test_a_namespace_goes_with_its_live_runs_where_the_operators_rights_go_with_it(
    cluster_fake: Cluster, helm: Path, tmp_path: Path
) -> None:
    """With `namespaces` in the chart's values the operator has a Role in each, and nothing beyond."""
    async with spaces(install(cluster_fake), "clean-home", "clean-team") as (home, team):
        made = render(helm, {"namespaces": [home.name, team.name]})
        own = [each for kind in ("Role", "RoleBinding") for each in made.of(kind)]
        own = [each for each in own if each["metadata"]["namespace"] in (home.name, team.name)]
        for each in own:
            for subject in each.get("subjects", ()):
                subject["namespace"] = home.name
        bind(cluster_fake, home.name, own)
        config = kubeconfig(cluster_fake, home.name, tmp_path)
        options = [f"--namespace={space.name}" for space in (home, team)]
        folder = tmp_path / "state" / team.name
        with OperatorProcess(tmp_path, config, f"file://{folder.parent}", options):
            runs = [await team.create(spec([1, 2], pod=HANG, maxConcurrency=1)) for _ in range(3)]
            for run in runs:
                await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
                assert not (await run.get())["metadata"].get("finalizers")
            await runs[0].delete()
            await until(runs[0].gone, SOON)
            await until(lambda: _none(folder, runs[0]), GONE_SECONDS)
            await team.close()
            await until(lambda: namespace_gone(team), NAMESPACE_SECONDS)


async def _none(folder: Path, run: Run) -> bool:
    return not any(run.uid in each.name for each in folder.iterdir())


async def namespace_gone(space: Space) -> bool:
    try:
        await space.client.request("GET", f"/api/v1/namespaces/{space.name}")
    except ApiError as error:
        return error.status == 404
    return False


async def stateless(at: Place) -> bool:
    return not await asyncio.to_thread(at.keys)


# ----------------------------------------------------------------------------------------------------------------- ttl


async def test_finished_runs_expire(cluster_fake: Cluster, tmp_path: Path) -> None:
    async with place(cluster_fake, "clean-ttl", tmp_path, f"file://{tmp_path}/state") as at:
        at_once = await at.space.create(spec([1], ttlSecondsAfterFinished=0))
        later = await at.space.create(spec([1], ttlSecondsAfterFinished=3600))
        never = await at.space.create(spec([1]))
        flaky = await at.space.create(
            spec([1, 2], pod={"outcome": "fail"}, processor={"retry": []}, ttlSecondsAfterFinished=3600)
        )
        await at.nothing_left(at_once)
        await asyncio.gather(later.ended(), never.ended(), flaky.ended())
        await later.change(ttlSecondsAfterFinished=1)
        await at.nothing_left(later)
        # Over already when the next operator comes, and one whose redrive is asked for in the same moment.
        at.operator.kill()
        await never.change(ttlSecondsAfterFinished=1)
        await flaky.change(ttlSecondsAfterFinished=1, redrives=1)
        at.operator.start().await_ready()
        await at.nothing_left(never)
        await flaky.until(lambda status: status.get("redriveCount") == 1 or verdict(status) == "Unknown", SOON)
        await at.nothing_left(flaky)


# --------------------------------------------------------------------------------------------------------------- sweep


async def without_operator(at: Place, *runs: Run) -> None:
    """Delete runs while no operator runs: somebody takes the finalizer away."""
    at.operator.kill()
    for run in runs:
        await run.delete()
        with suppress(ApiError):
            body = {"metadata": {"finalizers": None}}
            await at.space.client.request("PATCH", run.path, body, content_type="application/merge-patch+json")
        await until(run.gone)


async def test_what_a_dead_operator_left_is_swept(cluster_fake: Cluster, tmp_path: Path, state: str) -> None:
    name = f"sweep-{'s3' if state.startswith('s3') else 'directory'}"
    async with place(cluster_fake, name, tmp_path, state, [f"--lease={name}/maprun"]) as at:
        live = await at.space.create(spec([1, 2], pod=HANG, maxConcurrency=1))
        done, stays, others = [await at.space.create(spec([1])) for _ in range(3)]
        await live.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
        await asyncio.gather(*(run.ended() for run in (done, stays, others)))
        store = open_store(state, at.access)
        mark = next(key for key in at.of(others) if key.endswith(f"/{MARK}"))
        store.write(mark, [b"another-lease"], "text/plain")
        await without_operator(at, live, done, others)
        kept = at.of(stays)
        assert at.of(live)
        assert at.of(done)
        at.operator.start().await_ready()
        await at.stateless(live, done)
        assert at.of(stays) == kept
        assert at.of(others), "another installation's"
        assert verdict(await (await at.space.create(spec([1]))).ended()) == "True"


async def test_without_a_lease_nothing_is_marked_nor_swept(cluster_fake: Cluster, tmp_path: Path) -> None:
    async with place(cluster_fake, "sweep-alone", tmp_path, f"file://{tmp_path}/state") as at:
        run = await at.space.create(spec([1]))
        await run.ended()
        assert not any(key.endswith(MARK) for key in at.of(run))
        await without_operator(at, run)
        at.operator.start().await_ready()
        assert verdict(await (await at.space.create(spec([1]))).ended()) == "True"
        assert at.of(run)


async def test_state_is_kept_when_the_operator_is_told_so(cluster_fake: Cluster, tmp_path: Path) -> None:
    options = ["--keep-state", "--lease=clean-kept/maprun"]
    async with place(cluster_fake, "clean-kept", tmp_path, f"file://{tmp_path}/state", options) as at:
        live = await at.space.create(spec([1, 2], pod=HANG, maxConcurrency=1))
        done = await at.space.create(spec([1]))
        await live.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
        await done.ended()
        kept = {run.uid: at.of(run) for run in (live, done)}
        assert not any(key.endswith(MARK) for keys in kept.values() for key in keys)
        for run in (live, done):
            await run.delete()
            await until(run.gone, HELD_SECONDS)
        assert verdict(await (await at.space.create(spec([1]))).ended()) == "True"
        assert all(set(kept[run.uid]) <= set(at.of(run)) for run in (live, done))


# --------------------------------------------------------------------------------------------------------------- leave


def leave(cluster: Cluster, *options: str) -> tuple[int, str, str]:
    """`maprun leave`: its exit code, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAPRUN_", "KUBE"))}
    done = subprocess.run(
        [sys.executable, "-m", "maprun", "leave", f"--kubeconfig={cluster.kubeconfig}", *options],
        env=environment | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def test_leaving_stops_the_operator_and_lets_go_of_its_runs(cluster_fake: Cluster, tmp_path: Path) -> None:
    options = ["--lease=leaving/maprun"]
    async with place(cluster_fake, "leaving", tmp_path, f"file://{tmp_path}/state", options, everywhere=True) as at:
        live = [await at.space.create(spec([1, 2], pod=HANG, maxConcurrency=1)) for _ in range(3)]
        done = await at.space.create(spec([1]))
        for run in live:
            await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
        await done.ended()
        assert all([await finalizers(run) for run in live])
        code, printed, errors = await asyncio.to_thread(leave, cluster_fake, "--namespace=leaving", *options)
        assert (code, errors) == (0, "")
        assert "took Lease leaving/maprun from " in printed
        assert "took the operator's finalizer off all MapRuns that were not done, 3 in number" in printed
        assert not at.operator.alive
        assert at.operator.exit_code == 1
        assert not any([await finalizers(run) for run in live])
        # Whoever comes now waits, and adds no finalizer; what is deleted goes at once, with its Jobs.
        at.operator.start()
        await until(lambda: _says(at.operator, "standby"), SOON)
        await live[0].delete()
        await until(live[0].gone, 5)
        assert not await finalizers(live[1])
        code, printed, errors = await asyncio.to_thread(leave, cluster_fake, "--namespace=leaving", *options)
        assert (code, errors) == (0, "")
        assert "no MapRun had the operator's finalizer" in printed


async def finalizers(run: Run) -> list[str]:
    return list((await run.get())["metadata"].get("finalizers", []))


async def _says(operator: OperatorProcess, word: str) -> bool:
    status, text = await asyncio.to_thread(operator.get, "/readyz")
    return status == 200 and word in text


def test_leaving_where_there_is_nothing_is_no_mistake(cluster_fake: Cluster) -> None:
    install(cluster_fake)
    code, printed, errors = leave(cluster_fake, "--namespace=default")
    assert (code, printed, errors) == (0, "no MapRun had the operator's finalizer\n", "")


def test_leaving_where_no_api_server_answers_is_told(tmp_path: Path) -> None:
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(SOURCES)}
    command = [sys.executable, "-m", "maprun", "leave", f"--kubeconfig={tmp_path}/none"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no usable configuration for a cluster" in done.stderr
    assert "Traceback" not in done.stderr
