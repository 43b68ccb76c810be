"""What a fault is tried on: a real cluster and a real S3 server, the ways to them that can be broken, and for each
scenario a namespace and an operator of its own.

Rule 1: the operator reaches the API server and S3 only by the ways that the scenario chose; the test itself looks
        straight at both, so that it sees what really happened.
Rule 2: a scenario that ends well has ended with the proof (proof.py).
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from maprun.adapters.journal_reader import JournalReader
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import open_store
from maprun.records import Record
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Run,
    Seen,
    Space,
    access,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    watching,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.faults import proof
from tests.faults.proof import Files
from tests.faults.proxy import FaultProxy
from tests.faults.toxiproxy import Link, Toxiproxy
from tests.operator_process import SOURCES, OperatorProcess

ENDS_SECONDS: Final = 120.0
ITEMS: Final = 60
MODULE: Final = "tests.faults.operator_with_fuse"
PYTHONPATH: Final = f"{SOURCES}:{SOURCES.parent}"
# The first attempt of each child fails and the second succeeds: whatever a fault lost or repeated would show.
FLAKY: Final = {"failing-attempts": "1", "message": '{"done":true}', "duration": "0.3s"}
RETRY: Final = [{"errorEquals": ["States.ALL"], "intervalSeconds": 1, "maxAttempts": 2}]

Way = FaultProxy | Link | None
Story = Callable[[Run], Awaitable[None]]


async def redriven(run: Run) -> None:
    """Ask for the first redrive of a run that has ended, and wait until it has begun."""
    await run.ended(ENDS_SECONDS)
    await run.change(redrives=1)
    await run.until(lambda status: status["redriveCount"] == 1)


async def untouched(run: Run) -> None:
    """Its owner only waits."""


@dataclass
class Stage:
    """One scenario's own: a namespace, an operator that does not run yet, what was seen of its Jobs and pods."""

    parts: Parts
    space: Space
    operator: OperatorProcess
    jobs: Seen
    pods: Seen
    buckets: Buckets
    s3: S3Server
    state: str
    on_exit: Callable[[Callable[[], None]], object]

    async def create(self, items: int = ITEMS, pod: Json = FLAKY, bucket: str = "", **fields: Any) -> Run:
        """A run over a JSON file that writes its results."""
        data = self.buckets.make(data=[{"n": n} for n in range(items)])
        where = {"itemReader": reader(data, "data.json"), "resultWriter": writer(bucket or data), "s3": access(self.s3)}
        fields = {"maxConcurrency": 40, "label": "faults", "processor": {"retry": RETRY}, **fields}
        return await self.space.create(spec(pod=pod, **where, **fields))

    async def some(self, run: Run, count: int = 10) -> Json:
        """Wait until so many items have succeeded; the run is under way then."""
        status = await run.until(lambda status: status.get("itemCounts", {}).get("succeeded", 0) >= count, ENDS_SECONDS)
        assert verdict(status) == "Unknown", "the run ended before the fault"
        return status

    async def proved(
        self,
        run: Run,
        like: Files | None,
        items: int = ITEMS,
        *,
        well: bool = True,
        renewed: bool = False,
        round_: str = "",
    ) -> Json:
        """Wait for the end, and make the proof. `like`: the files of an undisturbed run of the same spec, but for the
        name of the `round_` of the results.
        """
        try:
            status = await run.ended(ENDS_SECONDS)
        except AssertionError as error:
            error.add_note(await self._there(run))
            raise
        assert (verdict(status) == "True") == well, condition(status)
        await until(lambda: self._gone(run), told=lambda: f"Jobs or pods are left:\n{self.operator.log}")
        results = self.buckets.results(status)
        proof.each_item_is_in_one_file(results, items)
        proof.counters_are_the_files(status, results)
        proof.nothing_that_succeeded_ran_again(self.pods, run)
        proof.each_attempt_is_counted_once(self.jobs, run, self.journal(run), renewed=renewed)
        if like is not None:
            proof.same_bytes(proof.neutral(results, run, round_), like)
        assert "Traceback" not in self.operator.log
        return status

    async def _there(self, run: Run) -> str:
        """The run's Jobs and pods as they are, and what the operator says, for whoever must find out why it hangs."""
        jobs = {each["metadata"]["name"]: each.get("status") for each in await run.jobs()}
        answer = json.loads(await self.space.client.request("GET", self.space.path("pods")))
        pods = {each["metadata"]["name"]: each["status"] for each in answer["items"]}
        return f"Jobs {json.dumps(jobs, indent=1)}\npods {json.dumps(pods, indent=1)}\n{self.operator.log}"

    async def _gone(self, run: Run) -> bool:
        """True when the watches have seen the end of each Job and pod, so that they have seen everything."""
        return not self.jobs.live(run) and not self.pods.live(run)

    async def crash(self, *steps: int) -> None:
        """One life of the operator for each of these steps (fuses.py), which ends behind it."""
        for step in steps:
            self.operator.fault = {"FAULT_STEP": f"{step}:1"}
            self.operator.start()
            await self.died()
        self.operator.fault = {}

    async def died(self) -> None:
        """Wait until the operator is killed by its fuse. The watches go on meanwhile."""

        async def dead() -> bool:
            return not self.operator.alive

        await until(dead, ENDS_SECONDS, lambda: f"the operator lives:\n{self.operator.log}")
        assert self.operator.exit_code == -signal.SIGKILL, self.operator.log

    async def ready(self) -> None:
        """Start the operator, and wait until it is ready."""
        await asyncio.to_thread(self.operator.start().await_ready)

    def journal(self, run: Run) -> list[Record]:
        """Every durable record of the run."""
        direct = self.parts.s3
        given = S3Access(direct.endpoint, direct.region, direct.access_key, direct.secret_key)
        store = open_store(f"{self.state}/{self.space.name}/{run.name}-{run.uid}", given)
        return [record for _, _, record in JournalReader(store).records_from()]


@dataclass
class Parts:
    """The cluster and the ways to it. `api` and `bucket` are HTTP proxies, `api_link` and `bucket_link` connections."""

    cluster: Cluster
    s3: S3Server
    api: FaultProxy
    bucket: FaultProxy
    api_link: Link
    bucket_link: Link
    _known: dict[tuple[str, ...], Files] = field(default_factory=dict)

    @asynccontextmanager
    async def stage(
        self,
        folder: Path,
        name: str,
        *,
        state: str = "directory",
        api: Way = None,
        s3: Way = None,
        options: Sequence[str] = (),
    ) -> AsyncIterator[Stage]:
        """The scenario `name`, on a namespace that is called after it. `state`: directory, S3, or a URL; `api` and
        `s3`: the operator's way there, straight by default; `options`: more of its command line.
        """
        name = f"faults-{name}"  # a word of its own, which nothing else in a file is called
        server = replace(self.s3, endpoint=_origin(s3, "http") or self.s3.endpoint)
        async with AsyncExitStack() as stack:
            buckets = stack.enter_context(closing(Buckets(self.s3)))
            state = {"directory": f"file://{folder}/state", "S3": f"s3://{buckets.make()}/state"}.get(state, state)
            operator = OperatorProcess(
                folder,
                self._kubeconfig(folder, api),
                state,
                [f"--namespace={name}", *options],
                server,
                {"PYTHONPATH": PYTHONPATH},
                module=MODULE,
            )
            (space,) = await stack.enter_async_context(spaces(self.cluster, name))
            await space.secret(secret_of(server))
            jobs = await stack.enter_async_context(watching(space.client, space.path("jobs", group="batch/v1")))
            pods = await stack.enter_async_context(watching(space.client, space.path("pods")))
            stack.callback(operator.kill)
            stack.callback(self.mend)
            yield Stage(self, space, operator, jobs, pods, buckets, server, state, stack.callback)
            await space.close()

    async def undisturbed(
        self,
        folder: Path,
        items: int = ITEMS,
        pod: Json = FLAKY,
        story: Story = untouched,
        *,
        well: bool = True,
        **fields: Any,
    ) -> Files:
        """The files of a run of this spec that nobody disturbs, as the proof compares them. `story` is what its owner
        does to it.
        """
        key = (str(items), json.dumps([pod, fields], sort_keys=True), story.__name__)
        if key not in self._known:
            own = folder / "undisturbed"
            own.mkdir()
            async with self.stage(own, f"undisturbed-{len(self._known)}") as at:
                at.operator.start()
                run = await at.create(items, pod, **fields)
                await story(run)
                status = await at.proved(run, None, items, well=well)
                self._known[key] = proof.neutral(at.buckets.results(status), run)
        return self._known[key]

    def mend(self) -> None:
        """No rule is left."""
        self.api.clear()
        self.bucket.clear()

    def _kubeconfig(self, folder: Path, way: Way) -> Path:
        """The admin's, by this way. A link's certificate is the API server's own."""
        origin = _origin(way, "https")
        if not origin:
            return self.cluster.kubeconfig
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = origin
        made = folder / "kubeconfig"
        made.write_text(json.dumps(config))
        return made


def _origin(way: Way, scheme: str) -> str:
    match way:
        case FaultProxy():
            return way.url
        case Link():
            return f"{scheme}://{way.address}"
        case None:
            return ""


@contextmanager
def parts_of(cluster: Cluster) -> Iterator[Parts]:
    """The ways to a cluster, for as long as the block lasts."""
    assert cluster.s3 is not None
    with ExitStack() as stack:
        toxic = stack.enter_context(closing(Toxiproxy()))
        api, bucket = (
            stack.enter_context(closing(FaultProxy(origin).start())) for origin in (cluster.server, cluster.s3.endpoint)
        )
        api_link = toxic.link("api", urlsplit(cluster.server).netloc)
        bucket_link = toxic.link("s3", urlsplit(cluster.s3.endpoint).netloc)
        yield Parts(cluster, cluster.s3, api, bucket, api_link, bucket_link)
