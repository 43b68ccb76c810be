"""Writes the results of a finished run: from plan and journal to result files, manifest and output (design §5, Finish).

Rule 1: repeatable: a crash anywhere repeats it, with the same bytes under the same keys; the manifest comes last.
Rule 2: memory follows the number of children by a few bytes each, never their outputs.
Rule 3: what the user can mend (bucket, permission) ends the run as `States.ResultWriterFailed`; an unreachable store is
        tried again for ever.
Rule 4: the output is made of the result when all files are written, so that a mistake in it costs no result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from maprun.adapters import parquet_writing
from maprun.adapters.stores import Buckets
from maprun.core import arns, outputs, result_forms, results, selection
from maprun.core.finals import Finals, Place
from maprun.core.progress import Progress
from maprun.core.results import SUCCEEDED, Names, ResultFile
from maprun.core.scheduling import PlanView
from maprun.core.status import OUTPUT_SHOWN
from maprun.errors import RunFailed, StatesError, StoreError, StoreUnavailable
from maprun.model import PAYLOAD_LIMIT, MapRunSpec, OutputType, QueryLanguage, ResultWriter, Transformation
from maprun.ports import Store
from maprun.records import NOTHING, Batch, Exported, Outcome, Record, Verdict

OUTPUT_KEY: Final = "output.json"  # in the run's own store, when the output is too large for the status
MANIFEST: Final = "manifest.json"
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


class Result(NamedTuple):
    """What a run came to: JSON, b"" for none; and where the manifest lies in the bucket, "" without one."""

    value: bytes
    manifest: str = ""


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
    ) -> None:
        self._spec, self._names, self._buckets, self._store = spec, names, buckets, store
        self._history, self._plan = history, plan
        self._clock, self._trouble = clock, trouble
        self._form = result_forms.transformation(spec.result_writer)

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
        result = Result(b"")
        try:
            result = self._result(verdict, finals)
            output = result.value if verdict.failure else self._output(result.value)
        except RunFailed as failed:
            return Exported(self._clock(), plan.children, NOTHING, failed.failure, result.manifest)
        if len(output) > OUTPUT_SHOWN:
            self._store.write(OUTPUT_KEY, [output], "application/json")
        return Exported(self._clock(), plan.children, msgspec.Raw(output), manifest=result.manifest)

    def _result(self, verdict: Verdict, finals: Finals) -> Result:
        """Without a bucket a failed run has no result, as in AWS."""
        writer = self._spec.result_writer
        if writer and writer.resource:
            return self._exported(writer, finals)
        return Result(b"") if verdict.failure else Result(self._inline(writer, finals))

    def _output(self, result: bytes) -> bytes:
        """The run's output. `RunFailed` also when it has become larger than a payload may be."""
        run = self._names.run
        context = selection.context_for(run, self._spec, run.created, self._names.region)
        return self._bounded(outputs.output_of(self._spec, context, result))

    def _bounded(self, payload: bytes | None) -> bytes:
        if payload is None or len(payload) > PAYLOAD_LIMIT:
            raise results.too_large(self._names.run)
        return payload

    # -------------------------------------------------------------------------------------------- without a bucket

    def _inline(self, writer: ResultWriter | None, finals: Finals) -> bytes:
        batches = self._plan.batches()
        outcomes = (self._outcome(place) for place in finals.all())
        records = (record for outcome in outcomes for record in self._entries(outcome, batches))
        return self._bounded(result_forms.inline(result_forms.output_type(writer), records))

    def _entries(self, outcome: Outcome, batches: Iterator[Batch]) -> Iterator[bytes]:
        """What stands for one child in the result; `batches` are read on to its own where the input is told."""
        if self._form is Transformation.NONE:
            yield results.record(self._names, _batch(batches, outcome.child), outcome)
        elif results.category(outcome) == SUCCEEDED:
            yield from result_forms.records_of(self._form, bytes(outcome.output))
        else:
            yield results.failed_entry(outcome)

    # ------------------------------------------------------------------------------------------------ into a bucket

    def _exported(self, writer: ResultWriter, finals: Finals) -> Result:
        arn = arns.map_run_arn(self._names.run, self._names.region, self._names.label)
        folder = results.folder(writer.prefix, self._names.run.uid)
        try:
            target = self._buckets.bucket(writer.bucket)
            files = {name: list(self._category(writer, target, folder, name, finals)) for name in results.CATEGORIES}
            manifest = results.manifest(writer.bucket, arn, files)
            target.write(folder + MANIFEST, [manifest], results.MANIFEST_TYPE)
        except StateUnreadable as unreadable:
            raise unreadable.error from None
        except StoreUnavailable:
            raise
        except StoreError as error:
            form = "arguments" if self._spec.query_language is QueryLanguage.JSONATA else "parameters"
            raise RunFailed(StatesError.RESULT_WRITER_FAILED, f"spec.resultWriter.{form}: {error}") from None
        return Result(results.exported_result(arn, writer.bucket, folder + MANIFEST), folder + MANIFEST)

    def _category(
        self, writer: ResultWriter, target: Store, folder: str, name: str, finals: Finals
    ) -> Iterator[ResultFile]:
        """Write the files of one category, one behind the other, each up to the size limit."""
        kind, limit = result_forms.output_type(writer, name), writer.writer_config.max_bytes_per_file
        records = _from_state(self._records(name, finals))
        for number, chunks in enumerate(_files(kind, records, limit)):
            key = folder + result_forms.file_name(name, number, kind)
            yield ResultFile(key, target.write(key, chunks, results.DATA_TYPE))

    def _records(self, name: str, finals: Finals) -> Iterator[bytes]:
        if name == SUCCEEDED and self._form is not Transformation.NONE:
            for _, place in finals.of(name):
                assert place is not None, "only a pending child has none"
                yield from result_forms.records_of(self._form, bytes(self._outcome(place).output))
            return
        batches = self._plan.batches()
        for child, place in finals.of(name):
            yield results.record(self._names, _batch(batches, child), self._outcome(place) if place else None)

    def _outcome(self, place: Place) -> Outcome:
        record = self._history.segment(place.segment)[place.line]
        assert isinstance(record, Outcome), "the index holds outcomes only"
        return record


def _files(kind: OutputType, records: Iterator[bytes], limit: int) -> Iterator[Iterator[bytes]]:
    if kind is OutputType.PARQUET:
        return parquet_writing.files(records, limit)
    return result_forms.files(result_forms.LAYOUTS[kind], records, limit)


def _batch(batches: Iterator[Batch], child: int) -> Batch:
    """The batch of a child that comes behind all that were asked for."""
    return next(batch for batch in batches if batch.index == child)


def _from_state(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records, with the errors of the run's own store told apart from those of the bucket."""
    try:
        yield from records
    except StoreError as error:
        raise StateUnreadable(error) from error
