"""A run that is over, with its plan and journal in a directory, ready to be exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal, JournalReader
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import PlanReader
from maprun.adapters.stores import Buckets, DirectoryBuckets
from maprun.adapters.turns import Turns
from maprun.core.intervals import IntervalSet
from maprun.core.progress import Progress
from maprun.core.results import Names
from maprun.errors import Failure, StatesError
from maprun.exporting import ResultsExporter
from maprun.model import MapRunSpec, RunRef
from maprun.records import ChildStatus, Exported, Outcome, Record, Redo, Redriven, Retry, RunStatus, Verdict

RUN = RunRef("default", "airports", "6a1f", 0.0)
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "p"}}
DONE = Verdict(RunStatus.SUCCEEDED, 9.0)
FAILED = Verdict(RunStatus.FAILED, 9.0, Failure(StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "…"))
ABORTED = Verdict(RunStatus.ABORTED, 9.0)


def writer(bucket: str = "results", **config: Any) -> dict[str, Any]:
    """A result writer into a bucket, with `writerConfig`."""
    return WRITER | {"parameters": {"bucket": bucket, "prefix": "p"}, "writerConfig": config}


def succeeded(child: int, output: bytes | None = None, *, attempt: int = 1, at: float = 1.0) -> Outcome:
    """A child's success; its output is its number unless given."""
    raw = msgspec.Raw(b"%d" % child if output is None else output)
    return Outcome(child, attempt, ChildStatus.SUCCEEDED, output=raw, started=at, stopped=at + 1)


def failed(child: int, *, retry: Retry | None = None, attempt: int = 1, at: float = 1.0) -> Outcome:
    """A child's failure with Boom."""
    failure = Failure("Boom", "why")
    return Outcome(child, attempt, ChildStatus.FAILED, failure=failure, started=at, stopped=at + 1, retry=retry)


def redriven(number: int, *children: int) -> Redriven:
    """A redrive of failed children."""
    again = Redo(IntervalSet(children).encode(), len(children))
    return Redriven(number, 20.0, {ChildStatus.FAILED: again} if children else {})


class Finished:
    """A run in a directory, ready to be exported."""

    def __init__(self, root: Path, children: int = 5) -> None:
        self.root, self.store = root, DirectoryStore(root / "state")
        plan = PlanWriter(self.store)
        for child in range(children):
            plan.add(1, b'{"n":%d}' % child, str(child))
        plan.seal()
        (root / "results").mkdir(parents=True)

    async def journal(self, *segments: Sequence[Record]) -> None:
        """Write outcomes and events, each list as a segment of its own."""
        journal = Journal(self.store, flush_seconds=0.0)
        async for _ in journal.open("w", 0.0):
            pass
        for segment in segments:
            await journal.append(segment)
        await journal.close()

    def exporter(
        self,
        *,
        buckets: Buckets | None = None,
        trouble: Callable[[str], None] = lambda message: None,
        turns: Turns | None = None,
        **fields: Any,
    ) -> ResultsExporter:
        """An exporter for a spec with `fields` over the default, which has a result writer."""
        spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}, "resultWriter": WRITER} | fields, MapRunSpec)
        return ResultsExporter(
            spec,
            Names(RUN, "local", "air"),
            history=JournalReader(self.store),
            plan=PlanReader(self.store),
            buckets=buckets or DirectoryBuckets(self.root),
            store=self.store,
            clock=lambda: 10.0,
            trouble=trouble,
            turns=turns,
        )

    async def export(self, exporter: ResultsExporter, verdict: Verdict = DONE) -> Exported:
        """What the exporter says; the files lie in the bucket then."""
        records = (record for _, _, record in JournalReader(self.store).records_from())
        return await exporter.export(Progress().with_records(records), verdict, PlanReader(self.store).view())

    async def round(self, verdict: Verdict, *segments: Sequence[Record], **fields: Any) -> Exported:
        """One round of the run, from its first record to its export; `fields` as those of `exporter`."""
        await self.journal(*segments, [verdict])
        exported = await self.exported(verdict, **fields)
        await self.journal([exported])
        return exported

    async def exported(self, verdict: Verdict = DONE, **fields: Any) -> Exported:
        """The same, for a spec with `fields`."""
        return await self.export(self.exporter(**fields), verdict)

    def contents(self, redrive: int = 0) -> dict[str, bytes]:
        """The result files of one round in the directory of the bucket, by name."""
        folder = self.root / "results" / "p" / "6a1f" / (f"Redrive-{redrive}" if redrive else "")
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}

    def files(self, redrive: int = 0) -> dict[str, Any]:
        """The same, each parsed as JSON."""
        return {name: json.loads(content) for name, content in self.contents(redrive).items()}
