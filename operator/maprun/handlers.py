"""The kopf edge: one daemon for each MapRun, the probes, and the operator's start and stop.

Rule 1: nothing but wiring. kopf watches the resources and keeps one daemon for each; what a run does is in
        supervising.py.
Rule 2: kopf writes nothing into the resources but its finalizer, and that only while a run goes on, and only by rights
        on the whole cluster.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NoReturn

import kopf
from prometheus_client import CollectorRegistry

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.leases import Election
from maprun.adapters.loop_lag import LoopLag
from maprun.adapters.objects import served
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.probes import OK, Probes
from maprun.adapters.sharing import Capacities
from maprun.adapters.telemetry import Telemetry
from maprun.adapters.telemetry_health import OperatorHealth
from maprun.core import lifecycle
from maprun.model import GROUP, PLURAL, VERSION
from maprun.preparing import Shared, check_state
from maprun.settings import OperatorSettings
from maprun.supervising import Supervisor
from maprun.tidying import Tidying

EXIT_SECONDS: Final = 12.0  # more than all of it takes; kopf looks at a run that takes longer only much later
STOP_SECONDS: Final = 10.0  # then kopf cancels it
LISTED: Final = 50  # runs of one answer at the start: what an ended one leaves is small, but it comes whole
THREADS: Final = 32  # that wait for the state store; Python's own number is 6 in a pod with 2 processors
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
    """The operator, as one coroutine. With a Lease it stands by until it leads, and releases the Lease in the end."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "store"))
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    observer = telemetry.health
    client = await ClusterClient.connect(settings.kubeconfig, settings.context, observer)
    watch = JobsWatch(client, settings.namespaces, observer)
    election = Election(client, settings.lease, observer.leads, end_at_once) if settings.lease else None
    ready, lag = asyncio.Event(), LoopLag(observer.loop_lagged)
    probes = Probes(
        registry,
        healthy=lambda: unhealthy(watch, lag, election),
        ready=lambda: unready(watch, client.calls.silence, election, started=ready.is_set()),
        role=lambda: election.role if election else OK,
    )
    try:
        _cancel_by_signals()
        await asyncio.to_thread(check_state, settings, observer)
        lag.start()
        await probes.start(settings.port)
        if settings.namespaces:  # kopf, which then may not watch CRDs, looks for the kind only once
            await served(client)
        log.info("the operator is ready on port %d; it keeps its state in %s", settings.port, settings.state)
        await _lead(election, client, observer)
        await _drive(settings, client, watch, telemetry, ready, election.uid if election else "")
    finally:
        if election:  # all engines have stopped: whoever waits for the Lease waits no longer than it must
            await election.close()
        await probes.close()
        await lag.close()
        await watch.close()
        await client.close()


async def _lead(election: Election | None, client: ClusterClient, observer: OperatorHealth) -> None:
    """Returns when this operator leads; from then on it may change things only as long as it does."""
    if election is None:
        observer.leads(True)
    else:
        client.fence.guard = election.guard
        await election.lead()


async def _drive(
    settings: OperatorSettings,
    client: ClusterClient,
    watch: JobsWatch,
    telemetry: Telemetry,
    ready: asyncio.Event,
    installation: str,
) -> None:
    """Drive all runs until a signal comes; returns when every engine has stopped."""
    budget = WriteBudget(observer=telemetry.health)
    telemetry.health.reads(write_rate=lambda: budget.rate, writes_waiting=lambda: budget.waiting)
    capacities = Capacities(settings.namespace_ceiling, settings.cluster_ceiling, lambda: watch.runs)
    telemetry.shares(capacities)
    shared = Shared(settings, client, watch, budget, telemetry, installation, capacities)
    await watch.start()
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


def end_at_once() -> NoReturn:
    """Another operator may lead from now on: no request, no clean-up, no word to the children."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(1)


def worth_telling(record: logging.LogRecord) -> bool:
    """False for what kopf says of a request that it repeats by itself, as with each start beside a new CRD."""
    return not (record.name.startswith("kopf") and "failed; will retry" in record.getMessage())


def unhealthy(watch: JobsWatch, lag: LoopLag, election: Election | None = None) -> str:
    """Why a new process would do better than this one; "" when it would not.

    That the API server or S3 is away is no such reason: a restart brings neither back, and this process goes on by
    itself when they are. A loop that hangs does not answer the probe at all.
    """
    told = "; ".join(filter(None, (watch.dead, lag.dead, election.dead if election else "")))
    if told:  # the kubelet keeps the sentence to itself
        log.error("unhealthy: %s", told)
    return told


def unready(watch: JobsWatch, silence: float, election: Election | None = None, *, started: bool) -> str:
    """Why the operator cannot do its work right now; "" when it can. `silence`: seconds without an API server.

    A standby has no watches yet, and nothing to do but wait for the lead.
    """
    stands_by = election is not None and election.waits
    checks = (
        "" if stands_by else watch.incomplete,
        "" if stands_by or started else "the operator is starting",
        election.trouble if election else "",
        f"the API server has not answered for {silence:.0f} seconds" if silence >= SILENCE_SECONDS else "",
    )
    return "; ".join(filter(None, checks))


def registry_for(shared: Shared) -> kopf.OperatorRegistry:
    """kopf's registry: the daemon of each run that is to be driven, word of each change, and the tidying."""
    registry = kopf.OperatorRegistry()
    tidying = Tidying(shared)
    _add_edges(registry, shared, tidying)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, memo: kopf.Memo, **_: Any) -> None:
        body: dict[str, Any] = event["object"]  # type: ignore[assignment]  # kopf's TypedDict of any object
        _tidy(tidying, body, deleted=event["type"] == "DELETED")
        if "supervisor" in memo:
            memo.supervisor.changed()
        elif not lifecycle.wanted(body):
            lifecycle.trim(body)  # kopf keeps it as long as the resource is there

    @kopf.daemon(
        *(GROUP, VERSION, PLURAL),
        registry=registry,
        when=lambda body, **_: lifecycle.wanted(body),
        cancellation_timeout=STOP_SECONDS,
    )
    async def run(body: kopf.Body, memo: kopf.Memo, stopped: kopf.DaemonStopped, **_: Any) -> None:
        """Ends only when it is stopped, or its run is gone: kopf never starts one again that ended by itself."""
        memo.supervisor = Supervisor(shared, body)
        try:
            unseen = await memo.supervisor.serve_until(stopped.wait())
        finally:
            del memo["supervisor"]
        if unseen:
            log.info("%s/%s was deleted, as its status tells", body.metadata.namespace, body.metadata.name)
            tidying.deleted(body)
        elif "deletionTimestamp" in body.metadata:
            await tidying.at_once(body)

    if shared.settings.namespaces:
        _without_finalizer(registry)
    return registry


def _add_edges(registry: kopf.OperatorRegistry, shared: Shared, tidying: Tidying) -> None:
    """What kopf asks for when it begins and when it ends."""

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        """The cluster, credentials and counters of all other calls; kopf asks again when they are refused."""
        lent = await shared.client.lend()
        return kopf.AiohttpSession(server=lent.server, aiohttp_session=lent.session)

    @kopf.on.startup(registry=registry)
    async def start(**_: Any) -> None:
        tidying.start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await tidying.close()


def _without_finalizer(registry: kopf.OperatorRegistry) -> None:
    """A namespace that is deleted takes the Role in it along, mostly before its runs: then nobody may take a finalizer
    off, and the namespace would stay for ever. Here the watch alone tells of a deletion. (kopf has no public word for
    this: each daemon has a finalizer.)
    """
    daemons = registry._spawning._handlers
    daemons[:] = [dataclasses.replace(each, requires_finalizer=False) for each in daemons]


def _tidy(tidying: Tidying, body: dict[str, Any], *, deleted: bool) -> None:
    """Word of a change for the tidying, and for kopf: by the mark it stops a daemon, or does not begin one."""
    if deleted:
        lifecycle.mark_deleted(body)
        tidying.deleted(body)
    else:
        tidying.seen(body)


def kopf_settings(own: OperatorSettings) -> kopf.OperatorSettings:
    """kopf without its habits: no events of its own, no annotations, no waiting for a run that stops at once; and in
    namespaces of its own no look at what belongs to the cluster: namespaces and CRDs.
    """
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = bool(own.namespaces)
    settings.posting.enabled = False
    settings.persistence.finalizer = lifecycle.FINALIZER
    settings.background.instant_exit_timeout = EXIT_SECONDS
    settings.watching.chunk_size = LISTED
    return settings


def _cancel_by_signals() -> None:
    """A signal cancels the current task: an operator that cannot start, or stands by, can be stopped. Then kopf sees to
    signals.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "called from a coroutine"
    for each in SIGNALS:
        loop.add_signal_handler(each, task.cancel)
