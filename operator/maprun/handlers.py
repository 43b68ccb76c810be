"""The kopf edge: one daemon for each MapRun, the probes, and the operator's start and stop.

Rule 1: nothing but wiring. kopf watches the resources and keeps one daemon for each; what a run does is in
        supervising.py.
Rule 2: kopf writes nothing into the resources but its finalizer, and that only while a run goes on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import kopf
from prometheus_client import CollectorRegistry

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.loop_lag import LoopLag
from maprun.adapters.objects import served
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.probes import Probes
from maprun.adapters.telemetry import Telemetry
from maprun.model import GROUP, PLURAL, VERSION
from maprun.settings import OperatorSettings
from maprun.supervising import Shared, Supervisor, check_state, ended

FINALIZER: Final = f"{GROUP}/operator"
EXIT_SECONDS: Final = 2.0  # what a run takes to stop; kopf looks at one that takes longer only much later
STOP_SECONDS: Final = 10.0  # then kopf cancels it
SILENCE_SECONDS: Final = 60.0  # without an answer of the API server, until /readyz says so
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("maprun")


def main(settings: OperatorSettings) -> None:
    """Run the operator until SIGTERM or SIGINT. Raises `MapRunError` with what keeps it from starting."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(worth_telling)
    # Most objects here live shortly and hold no cycles: looking for those among all that stays costs 4 % of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with suppress(asyncio.CancelledError):
        uvloop.run(operate(settings))
    log.info("the operator has stopped; its children go on, and the next operator takes them over")


async def operate(settings: OperatorSettings) -> None:
    """The operator, as one coroutine."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    observer = telemetry.health
    client = await ClusterClient.connect(settings.kubeconfig, settings.context, observer)
    watch = JobsWatch(client, settings.namespaces, observer)
    budget = WriteBudget(observer=observer)
    observer.reads(write_rate=lambda: budget.rate, writes_waiting=lambda: budget.waiting)
    shared = Shared(settings, client, watch, budget, telemetry)
    ready, lag = asyncio.Event(), LoopLag(observer.loop_lagged)
    probes = Probes(
        registry,
        healthy=lambda: unhealthy(watch, lag),
        ready=lambda: unready(watch, client.calls.silence, started=ready.is_set()),
    )
    try:
        with _cancelled_by_signals():
            await asyncio.to_thread(check_state, settings, observer)
            lag.start()
            await probes.start(settings.port)
            await watch.start()
            if settings.namespaces:  # kopf, which then may not watch CRDs, looks for the kind only once
                await served(client)
        log.info("the operator is ready on port %d; it keeps its state in %s", settings.port, settings.state)
        await kopf.operator(
            registry=registry_for(shared),
            settings=kopf_settings(settings),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
            # Nobody is told it; but kopf would make one of the user's name, and a container's user has none.
            identity="maprun",  # type: ignore[arg-type]  # its type, a str with another name, is private to kopf
            ready_flag=ready,
        )
    finally:
        await probes.close()
        await lag.close()
        await watch.close()
        await client.close()


def worth_telling(record: logging.LogRecord) -> bool:
    """False for what kopf says of a request that it repeats by itself, as with each start beside a new CRD."""
    return not (record.name.startswith("kopf") and "failed; will retry" in record.getMessage())


def unhealthy(watch: JobsWatch, lag: LoopLag) -> str:
    """Why a new process would do better than this one; "" when it would not.

    That the API server or S3 is away is no such reason: a restart brings neither back, and this process goes on by
    itself when they are. A loop that hangs does not answer the probe at all.
    """
    told = "; ".join(filter(None, (watch.dead, lag.dead)))
    if told:  # the kubelet keeps the sentence to itself
        log.error("unhealthy: %s", told)
    return told


def unready(watch: JobsWatch, silence: float, *, started: bool) -> str:
    """Why the operator cannot do its work right now; "" when it can. `silence`: seconds without an API server."""
    checks = (
        watch.incomplete,
        "" if started else "the operator is starting",
        f"the API server has not answered for {silence:.0f} seconds" if silence >= SILENCE_SECONDS else "",
    )
    return "; ".join(filter(None, checks))


def registry_for(shared: Shared) -> kopf.OperatorRegistry:
    """kopf's registry: the daemon of each run that has not ended, and word of each change to it."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        """The cluster, credentials and counters of all other calls; kopf asks again when they are refused."""
        lent = await shared.client.lend()
        return kopf.AiohttpSession(server=lent.server, aiohttp_session=lent.session)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(memo: kopf.Memo, **_: Any) -> None:
        if "supervisor" in memo:
            memo.supervisor.changed()

    @kopf.daemon(
        *(GROUP, VERSION, PLURAL),
        registry=registry,
        when=lambda body, **_: not ended(body),
        cancellation_timeout=STOP_SECONDS,
    )
    async def run(body: kopf.Body, memo: kopf.Memo, stopped: kopf.DaemonStopped, **_: Any) -> None:
        memo.supervisor = Supervisor(shared, body)
        await _until_stopped(memo.supervisor.run(), body, stopped)

    return registry


async def _until_stopped(work: Coroutine[Any, Any, None], body: kopf.Body, stopped: kopf.DaemonStopped) -> None:
    """Do the work, but cancel it when kopf says stop. It also says so when the run has ended: that is all but done."""

    async def stop() -> None:
        _ = await stopped.wait()

    working, stopping = asyncio.create_task(work), asyncio.create_task(stop())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done() or ended(body):
            await working
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def kopf_settings(own: OperatorSettings) -> kopf.OperatorSettings:
    """kopf without its habits: no events of its own, no annotations, no waiting for a run that stops at once; and in
    namespaces of its own no look at what belongs to the cluster: namespaces and CRDs.
    """
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = bool(own.namespaces)
    settings.posting.enabled = False
    settings.persistence.finalizer = FINALIZER
    settings.background.instant_exit_timeout = EXIT_SECONDS
    return settings


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """A signal cancels the current task: an operator that cannot start can be stopped. Later kopf sees to signals."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "called from a coroutine"
    for each in SIGNALS:
        loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
