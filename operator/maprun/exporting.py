"""Writes the results of a finished run: from plan and journal to result files, manifest and output (design §5, Finish).

Rule 1: repeatable: a crash anywhere repeats it, with the same bytes under the same keys; the manifest comes last.
Rule 2: memory follows the number of children by a few bytes each, never their outputs.
Rule 3: what the user can mend (bucket, permission) ends the run as `States.ResultWriterFailed`; an unreachable store is
        tried again for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from maprun.adapters.stores import Buckets
from maprun.core import arns, results
from maprun.core.finals import Finals, Place
from maprun.core.progress import Progress
from maprun.core.results import Names, ResultFile
from maprun.core.scheduling import PlanView
from maprun.core.status import OUTPUT_SHOWN
from maprun.errors import Failure, StatesError, StoreError, StoreUnavailable
from maprun.model import MapRunSpec, ResultWriter
from maprun.ports import Store
from maprun.records import Batch, Exported, Outcome, Record, Verdict

OUTPUT_KEY: Final = "output.json"  # in the run's own store, when the output is too large for the status
RETRY_SECONDS: Final = 5.0


class History(Protocol):
    """The journal, read for its outcomes. Synchronous."""

    def records_from(self, segment: int = 1) -> Iterator[tuple[int, int, Record]]:
        """The records from a segment on, in order, each with its segment's number and its line in it."""

    def segment(self, number: int) -> list[Record]:
        """The records of one segment; the last few read are kept."""


class StateUnreadable(Exception):
    """The run's own store failed in the middle of a file: not the fault of the bucket that is written to."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


class Batches(Protocol):
    """The plan, read from the start."""

    def batches(self) -> Iterator[Batch]:
        """All durable batches in order."""


class ResultsExporter:
    """Fulfils `ports.Exporter` for one run. `store` is the run's own; `trouble` is told what holds the export up (""
    when it goes on).
    """

    def __init__(
        self,
        spec: MapRunSpec,
        names: Names,
        *,
        history: History,
        plan: Batches,
        buckets: Buckets,
        store: Store,
        clock: Callable[[], float],
        trouble: Callable[[str], None] = lambda _: None,
        file_limit: int = results.FILE_LIMIT,
    ) -> None:
        self._spec, self._names, self._buckets, self._store = spec, names, buckets, store
        self._history, self._plan = history, plan
        self._clock, self._trouble, self._file_limit = clock, trouble, file_limit

    async def export(self, progress: Progress, verdict: Verdict, plan: PlanView) -> Exported:
        """Write what the spec asks for. Raises what the run's own store refuses; for the bucket see Rule 3."""
        work = partial(self._export, verdict, plan)
        while True:
            try:
                exported = await asyncio.to_thread(work)
            except StoreUnavailable as error:
                self._trouble(f"the results cannot be written yet: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._trouble("")
                return exported

    def _export(self, verdict: Verdict, plan: PlanView) -> Exported:
        finals = Finals(plan.children)
        for segment, line, record in self._history.records_from():
            if isinstance(record, Outcome):
                finals.add(Place(segment, line), record)
        writer = self._spec.result_writer
        output = self._files(writer, finals) if writer else self._inline(verdict, finals)
        if isinstance(output, Failure):
            return Exported(self._clock(), plan.children, failure=output)
        return Exported(self._clock(), plan.children, msgspec.Raw(output))

    def _inline(self, verdict: Verdict, finals: Finals) -> bytes | Failure:
        """Without a writer a failed run has no output, as in AWS."""
        if verdict.failure:
            return b""
        output = results.inline_output(self._outcome(place) for place in finals.all())
        if isinstance(output, bytes) and len(output) > OUTPUT_SHOWN:
            self._store.write(OUTPUT_KEY, [output], "application/json")
        return output

    def _files(self, writer: ResultWriter, finals: Finals) -> bytes | Failure:
        bucket, arn = writer.parameters.bucket, arns.map_run_arn(self._names.run, self._names.region, self._names.label)
        folder = results.folder(writer.parameters.prefix, self._names.run.uid)
        try:
            target = self._buckets.bucket(bucket)
            files = {name: list(self._category(target, folder, name, finals)) for name in results.CATEGORIES}
            manifest = results.manifest(bucket, arn, files)
            target.write(folder + "manifest.json", [manifest], results.MANIFEST_TYPE)
        except StateUnreadable as unreadable:
            raise unreadable.error from None
        except StoreUnavailable:
            raise
        except StoreError as error:
            return Failure(StatesError.RESULT_WRITER_FAILED, f"spec.resultWriter.parameters: {error}")
        return results.exported_output(arn, bucket, folder + "manifest.json")

    def _category(self, target: Store, folder: str, name: str, finals: Finals) -> Iterator[ResultFile]:
        """Write the files of one category, one behind the other, each up to the size limit."""
        records = _from_state(self._records(name, finals))
        number = 0
        while (first := next(records, None)) is not None:
            key = f"{folder}{name}_{number}.json"
            yield ResultFile(
                key, target.write(key, results.array_file(records, first, self._file_limit), results.DATA_TYPE)
            )
            number += 1

    def _records(self, name: str, finals: Finals) -> Iterator[bytes]:
        batches = self._plan.batches()
        for child, place in finals.of(name):
            batch = next(batch for batch in batches if batch.index == child)
            yield results.record(self._names, batch, self._outcome(place) if place else None)

    def _outcome(self, place: Place) -> Outcome:
        record = self._history.segment(place.segment)[place.line]
        assert isinstance(record, Outcome), "the index holds outcomes only"
        return record


def _from_state(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records, with the errors of the run's own store told apart from those of the bucket."""
    try:
        yield from records
    except StoreError as error:
        raise StateUnreadable(error) from error
