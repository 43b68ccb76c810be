"""How long the operator's event loop is held up while a large plan is made: `python -m bench.readers.lag --help`.

A whole engine runs on the event loop, with the real planning process; its children succeed at once, so many at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from bench.readers import data
from bench.readers.__main__ import SELECTOR
from maprun.adapters.stores import BucketsRef
from maprun.core.scheduling import Observation
from maprun.core.status import Snapshot
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, Batch, ChildStatus, Outcome
from maprun.running import Home, engine_for

PROBE: Final = 0.005  # seconds between two looks at the clock
RUN: Final = RunRef("default", "bench", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 1_790_000_000.0)
READ: Final = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}


class Children:
    """A launcher whose attempts take 50 ms each and succeed."""

    def __init__(self) -> None:
        self.active: dict[int, int] = {}
        self.finished: dict[Attempt, Outcome] = {}
        self.news = asyncio.Event()

    async def open(self) -> None: ...

    def observe(self) -> Observation:
        self.news.clear()
        return Observation(dict(self.active), tuple(self.finished.values()))

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        self.active[attempt.child] = attempt.number
        asyncio.get_running_loop().call_later(0.05, self._end, attempt)

    def _end(self, attempt: Attempt) -> None:
        if self.active.pop(attempt.child, None):
            now = time.time()
            self.finished[attempt] = Outcome(
                attempt.child, attempt.number, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1"), started=now, stopped=now
            )
            self.news.set()

    def cancel(self, attempt: Attempt) -> None:
        self.active.pop(attempt.child, None)

    def withdraw(self, attempt: Attempt) -> None: ...

    def reap(self, attempt: Attempt) -> None:
        self.finished.pop(attempt, None)

    async def changed(self) -> None:
        await self.news.wait()

    async def close(self) -> None: ...


class Ended:
    """A reporter that knows when the plan was complete."""

    def __init__(self) -> None:
        self.planned = asyncio.Event()
        self.last: Snapshot | None = None

    def launched(self, attempt: Attempt) -> None: ...

    def recorded(self, outcome: Outcome) -> None: ...

    def progressed(self, snapshot: Snapshot) -> None:
        self.last = snapshot
        if snapshot.plan.seal:
            self.planned.set()

    async def finished(self, snapshot: Snapshot) -> None: ...


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.readers.lag", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the CSV file (default 1,000,000)")
    parser.add_argument("--live", type=int, default=100, help="children at once (default 100)")
    parser.add_argument("--batch", type=int, default=100, help="items in each (default 100)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maprun-bench-") as folder:
        path = Path(folder) / "data" / "rows.csv"
        path.parent.mkdir()
        data.write(path, options.rows)
        uvloop.run(_measure(Path(folder), path, options))


async def _measure(root: Path, path: Path, options: argparse.Namespace) -> None:
    call = {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": path.name}, "readerConfig": READ}
    fields: dict[str, Any] = {"itemReader": call, "itemSelector": SELECTOR, "maxConcurrency": options.live}
    batcher = {"itemBatcher": {"maxItemsPerBatch": options.batch}} if options.batch > 1 else {}
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}, **fields, **batcher}, MapRunSpec)
    (root / "state").mkdir()
    home = Home(f"file://{root}/state", BucketsRef().access, BucketsRef(root=str(root)))
    reporter = Ended()
    engine = engine_for(RUN, spec, lambda: spec, home, Children(), reporter, ceiling=options.live)
    began = time.perf_counter()
    running = asyncio.create_task(engine.run())
    lags: list[float] = []
    while not reporter.planned.is_set() and not running.done():
        before = time.perf_counter()
        await asyncio.sleep(PROBE)
        lags.append(time.perf_counter() - before - PROBE)
    seconds = time.perf_counter() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert reporter.last
    done = reporter.last.progress.finished.children
    lags.sort()
    print(f"{options.rows} rows planned in {seconds:.1f} s; meanwhile {done} children ended, {options.live} at once")
    shares = ((f"p{share}", lags[min(len(lags) - 1, int(len(lags) * share / 100))]) for share in (50, 90, 99, 99.9))
    print("lag of the event loop: " + ", ".join(f"{name} {1000 * lag:.1f} ms" for name, lag in shares), end="")
    print(f", longest {1000 * lags[-1]:.1f} ms, of {len(lags)} looks")


if __name__ == "__main__":
    main()
