"""Planning a run: dataset → selected items → batches → plan, once, in a process of its own (design §5).

Rule 1: a plan is a function of dataset and spec. Started again after a crash, planning goes on behind what is durable,
        or fails when the dataset is no longer the same. So does a redrive, behind a failure of the round before.
Rule 2: whatever is wrong with the user's input becomes the plan's durable `failure`, so that a restart ends the same
        way.
Rule 3: an unreachable store is never a failure of the run; but it is waited for outside (run_state.py), where that
        costs no process.
Rule 4: the process gets its request, credentials with it, on standard input alone, and ends when that is closed: it
        cannot outlive its parent. On standard output it writes one JSON line for each thing worth telling.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

import maprun
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import Round
from maprun.adapters.s3_access import S3Access
from maprun.adapters.sources import Resume, open_source
from maprun.adapters.stores import Buckets, BucketsRef, open_store
from maprun.core.batching import Batched, batching
from maprun.core.columns import Items
from maprun.core.inputs import inputs
from maprun.core.scheduling import PlanView
from maprun.errors import Fenced, MapRunError, RunFailed, StoreError, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.ports import UNOBSERVED, Observer

MODULE: Final = "maprun.planning"  # what the process runs
TAIL: Final = 4_000  # bytes of the process's standard error that our log quotes

log = logging.getLogger("maprun")

_encode = msgspec.json.encode


class PlanRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to plan. `store` is the URL of the run's own store, reached by `access`; `buckets` is where datasets lie.

    `spec` is resolved. `context` is the context object (`$$`) without `Map`. `local` is the value read from a ConfigMap
    or Secret, for a reader of those. `redrive` and `plan` say whose plan it is (adapters/plans.py, `Round`).
    """

    store: str
    spec: MapRunSpec
    context: dict[str, Any]
    access: S3Access = S3Access()
    buckets: BucketsRef = BucketsRef()
    local: bytes | None = None
    redrive: int = 0
    plan: int = 0

    def __repr__(self) -> str:
        return f"PlanRequest({self.store})"


class PlannerDied(MapRunError):
    """The planning process ended without a result. Running it again goes on behind what is durable."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the process's output: a new view, or the error that ends planning.

    `s3` are the requests since the line before, as `Observer.s3_called` gets them.
    """

    view: PlanView | None = None
    unavailable: str = ""
    fenced: str = ""
    store_error: str = ""
    s3: list[tuple[str, int, float]] = []


def plan_run(request: PlanRequest, emit: Callable[[PlanView], None], observer: Observer = UNOBSERVED) -> PlanView:
    """Plan to the end, well or badly, from wherever the plan stands; returns the ended view. Blocks.

    `emit` gets the view after each new segment, and the ended one. Raises `Fenced`, `StoreUnavailable` when a store
    cannot be reached: called again, it goes on behind what is durable; and `StoreError` when the run's own store
    refuses.
    """
    store = open_store(request.store, request.access, observer)
    buckets = request.buckets.open(observer)
    with closing(PlanWriter(store, at=Round(request.redrive, request.plan))) as writer:
        return _planned(request, buckets, writer, emit)


def _planned(request: PlanRequest, buckets: Buckets, writer: PlanWriter, emit: Callable[[PlanView], None]) -> PlanView:
    if not (writer.view.seal or writer.view.failure):
        try:
            _read(request, buckets, writer, emit)
        except RunFailed as failed:
            writer.fail(failed.failure)
    emit(writer.view)
    return writer.view


def _read(request: PlanRequest, buckets: Buckets, writer: PlanWriter, emit: Callable[[PlanView], None]) -> None:
    """Items to batches until the source ends; then the seal. What is wrong comes behind all batches before it."""
    resume = Resume(writer.view.items, writer.resume, writer.source)
    source = open_source(request.spec, buckets, request.context, resume, request.local)
    writer.source = source.fingerprint
    encoded = inputs(request.spec, request.context)
    batches = batching(request.spec.item_batcher, resume.item)
    with closing(source.blocks):
        for block in source.blocks:
            items, wrong = encoded(Items(block.first, block.values, block.keys, block.uri))
            _write(writer, batches.add(items, block.behind), emit)
            if wrong:
                raise wrong
    _write(writer, batches.finish(), emit)
    writer.seal()


def _write(writer: PlanWriter, batches: Iterator[Batched], emit: Callable[[PlanView], None]) -> None:
    for batch in batches:
        if writer.add(batch.items, batch.input, batch.behind):
            emit(writer.view)


class PlannerProcess:
    """Runs `plan_run` in a process of its own. `observer` is told of the process's requests to S3."""

    def __init__(self, observer: Observer = UNOBSERVED) -> None:
        self._observer = observer

    async def run(self, request: PlanRequest) -> AsyncGenerator[PlanView]:
        """The views of the growing plan; the last has `seal` or `failure`. Closing the iterator kills the process.

        Raises `Fenced`, `StoreUnavailable`, `StoreError`, and `PlannerDied`. The end of the process's standard error
        goes into our log and nowhere else: it may show what a server answered, which is not for the run's readers.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", MODULE),
            stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 20, env=_environment(), start_new_session=True,
        )  # fmt: skip
        tail = asyncio.create_task(_tail(process.stderr))
        try:
            await _ask(process, request)
            async for line in _lines(process):
                view = self._told(line)
                if view:
                    yield view
                    if view.seal or view.failure:
                        return
            code = await process.wait()
            log.error("planning ended with exit code %d: %s", code, _hidden(await tail, request))
            raise PlannerDied(f"planning ended with exit code {code}; the log tells more")
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
            tail.cancel()

    def _told(self, line: _Line) -> PlanView | None:
        for request in line.s3:
            self._observer.s3_called(*request)
        if line.fenced:
            raise Fenced(line.fenced)
        if line.unavailable:
            raise StoreUnavailable(line.unavailable)
        if line.store_error:
            raise StoreError(line.store_error)
        return line.view


def _environment() -> dict[str, str]:
    """Ours, and this very package where the process looks first."""
    here = str(Path(maprun.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


async def _ask(process: Process, request: PlanRequest) -> None:
    """Send the request; standard input stays open, as the sign that we live."""
    assert process.stdin
    with suppress(ConnectionError):  # the process died already: its exit code tells more
        process.stdin.write(_encode(request) + b"\n")
        await process.stdin.drain()


async def _lines(process: Process) -> AsyncIterator[_Line]:
    assert process.stdout
    async for line in process.stdout:
        if line.endswith(b"\n"):  # else the process was killed while it wrote
            yield msgspec.json.decode(line, type=_Line)


async def _tail(stream: asyncio.StreamReader | None) -> str:
    assert stream
    tail = b""
    while chunk := await stream.read(1 << 16):
        tail = (tail + chunk)[-TAIL:]
    return tail.decode(errors="replace").strip()


def _hidden(text: str, request: PlanRequest) -> str:
    """The text without the credentials that the process knew."""
    for access in (request.access, request.buckets.access):
        for secret in filter(None, (access.secret_access_key, access.session_token, access.access_key_id)):
            text = text.replace(secret, "…")
    return text


def main() -> None:
    """The process: one request in, lines out."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=PlanRequest)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    teller = _Teller()
    try:
        plan_run(request, lambda view: teller.say(view=view), teller)
    except Fenced as error:
        teller.say(fenced=str(error))
    except StoreUnavailable as error:
        teller.say(unavailable=str(error))
    except StoreError as error:
        teller.say(store_error=str(error))


class _Teller(Observer):
    """Writes lines to standard output, each with what was observed since the one before."""

    def __init__(self) -> None:
        self._s3: list[tuple[str, int, float]] = []

    def s3_called(self, operation: str, status: int, seconds: float) -> None:
        self._s3.append((operation, status, round(seconds, 6)))

    def say(self, **line: Any) -> None:
        told = self._s3[:]  # a segment may be written on another thread, and observed, meanwhile
        del self._s3[: len(told)]
        sys.stdout.buffer.write(_encode(_Line(**line, s3=told)) + b"\n")
        sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    """Standard input ends when the parent is gone, however it went.

    Read past Python's buffer, whose lock this thread would hold while the interpreter shuts down.
    """
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
