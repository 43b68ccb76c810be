"""Writes the results of a finished run: from plan and journal to result files, manifest and output (design §5, Finish).

Rule 1: repeatable: a crash anywhere repeats it, with the same bytes under the same keys; the manifest comes last.
        Everything follows from the journal, also what a redrive changes.
Rule 2: memory follows the number of children by a few bytes each, never their outputs. But a part of a file is there as
        long as it is on its way: so a run writes in its turn, and pauses outside of it.
Rule 3: what the user can mend (bucket, permission) ends the run as `States.ResultWriterFailed`; an unreachable store is
        tried again for ever.
Rule 4: the output is made of the result when all files are written, so that a mistake in it costs no result.
Rule 5: a redrive has a folder and a manifest of its own. It writes what succeeded since the last export that did not
        fail; its manifest lists the files of before, too (§5.2).
Rule 6: an export that is stopped writes nothing more, but for what is on its way to the store just then. So nothing of
        a round lies where a later one writes, and nothing is written of a round that the engine does not know.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from maprun.adapters import parquet_writing
from maprun.adapters.patience import insist
from maprun.adapters.stores import Buckets
from maprun.adapters.threads import apart
from maprun.adapters.turns import EXPORTS, Turns
from maprun.core import arns, outputs, result_forms, results, selection
from maprun.core.finals import Finals, Place
from maprun.core.progress import Progress
from maprun.core.results import SUCCEEDED, Again, Names, ResultFile
from maprun.core.rounds import Rounds, rounds_of
from maprun.core.scheduling import PlanView
from maprun.core.status import in_status
from maprun.errors import Fenced, RunFailed, StatesError, StoreError, StoreUnavailable
from maprun.fields import PAYLOAD_LIMIT
from maprun.model import MapRunSpec, QueryLanguage
from maprun.model_writing import OutputType, ResultWriter, Transformation
from maprun.ports import Store
from maprun.records import NOTHING, Batch, Exported, Outcome, Record, RunStatus, Verdict

MANIFEST: Final = "manifest.json"
RETRY_SECONDS: Final = 5.0


class History(Protocol):
    """The journal, read for its outcomes. Synchronous."""

    def records_from(self, segment: int = 1) -> Iterator[tuple[int, int, Record]]:
        """The records from a segment on, in order, each with its segment's number and its line in it."""

    def segment(self, number: int) -> list[Record]:
        """The records of one segment; the last few read are kept."""


class Stopped(Exception):
    """Nobody waits for the export any more. Ends its thread, and nothing else."""


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
    """What a run came to: JSON, b"" for none; where the manifest lies in the bucket, "" without one; and the files of
    what succeeded.
    """

    value: bytes
    manifest: str = ""
    succeeded: tuple[ResultFile, ...] = ()


class ResultsExporter:
    """Fulfils `ports.Exporter` for one run. `store` is the run's own; `trouble` is told what holds the export up (""
    when it goes on); `turns` are shared by all runs (None: the run is alone).
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
        turns: Turns | None = None,
    ) -> None:
        self._spec, self._names, self._buckets, self._store = spec, names, buckets, store
        self._turns = turns or Turns(EXPORTS)
        self._history, self._plan = history, plan
        self._clock, self._trouble = clock, trouble
        self._stopped = threading.Event()
        self._form = result_forms.transformation(spec.result_writer)

    async def export(self, progress: Progress, verdict: Verdict, plan: PlanView) -> Exported:
        """Write what the spec asks for. Raises what the run's own store refuses, and `Fenced` when another operator
        redrives the run by now; for the bucket see Rule 3.
        """

        async def in_turn() -> Exported:
            async with self._turns.turn(self._names.run.namespace):
                return await apart(partial(self._export, progress.redrives, verdict, plan))

        try:
            return await insist(in_turn, self._trouble, "the results cannot be written yet", RETRY_SECONDS)
        except asyncio.CancelledError:  # the thread goes on
            self._stopped.set()
            raise

    def _export(self, redrive: int, verdict: Verdict, plan: PlanView) -> Exported:
        rounds = rounds_of(plan.children, self._history.records_from())
        if rounds.redrive != redrive:
            raise Fenced(f"results: redrive {rounds.redrive} was begun by another operator; this one stops")
        result = Result(b"")
        try:
            result = self._result(verdict, rounds)
            output = self._output(result.value) if verdict.status is RunStatus.SUCCEEDED else result.value
        except RunFailed as failed:
            return Exported(self._clock(), plan.children, NOTHING, failed.failure, result.manifest)
        if output and not in_status(output, result.manifest):
            self._check_stopped()
            self._store.write(results.output_key(redrive), [output], "application/json")
        succeeded: list[tuple[str, int]] = [(file.key, file.size) for file in result.succeeded]
        return Exported(
            self._clock(), plan.children, msgspec.Raw(output), manifest=result.manifest, succeeded=succeeded
        )

    def _result(self, verdict: Verdict, rounds: Rounds) -> Result:
        """Without a bucket a run that did not succeed has no result, as in AWS."""
        writer = self._spec.result_writer
        if writer and writer.resource:
            return self._exported(writer, rounds)
        return Result(self._inline(writer, rounds.finals) if verdict.status is RunStatus.SUCCEEDED else b"")

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
        records = (record for outcome in outcomes for record in self._entries(outcome, batches, finals))
        return self._bounded(result_forms.inline(result_forms.output_type(writer), records))

    def _entries(self, outcome: Outcome, batches: Iterator[Batch], finals: Finals) -> Iterator[bytes]:
        """What stands for one child in the result; `batches` are read on to its own where the input is told."""
        if self._form is Transformation.NONE:
            yield self._record(_batch(batches, outcome.child), outcome, finals)
        elif results.category(outcome) == SUCCEEDED:
            yield from result_forms.records_of(self._form, bytes(outcome.output))
        else:
            yield results.failed_entry(outcome)

    # ------------------------------------------------------------------------------------------------ into a bucket

    def _exported(self, writer: ResultWriter, rounds: Rounds) -> Result:
        arn = arns.map_run_arn(self._names.run, self._names.region, self._names.label)
        folder = results.folder(writer.prefix, self._names.run.uid, rounds.redrive)
        try:
            target = self._buckets.bucket(writer.bucket)
            files = {name: list(self._category(writer, target, folder, name, rounds)) for name in results.CATEGORIES}
            listed = files | {SUCCEEDED: rounds.before + files[SUCCEEDED]}
            manifest = results.manifest(writer.bucket, arn, listed)
            self._check_stopped()
            target.write(folder + MANIFEST, [manifest], results.MANIFEST_TYPE)
        except StateUnreadable as unreadable:
            raise unreadable.error from None
        except StoreUnavailable:
            raise
        except StoreError as error:
            form = "arguments" if self._spec.query_language is QueryLanguage.JSONATA else "parameters"
            raise RunFailed(StatesError.RESULT_WRITER_FAILED, f"spec.resultWriter.{form}: {error}") from None
        key = folder + MANIFEST
        return Result(results.exported_result(arn, writer.bucket, key), key, tuple(files[SUCCEEDED]))

    def _category(
        self, writer: ResultWriter, target: Store, folder: str, name: str, rounds: Rounds
    ) -> Iterator[ResultFile]:
        """Write the files of one category, one behind the other, each up to the size limit. What succeeded in a redrive
        has a file also when it is nothing, as recorded.
        """
        kind, limit = result_forms.output_type(writer, name), writer.writer_config.max_bytes_per_file
        files = _files(kind, _from_state(self._records(name, rounds)), limit)
        if name == SUCCEEDED and rounds.redrive:
            files = _at_least_one(kind, files)
        for number, chunks in enumerate(files):
            key = folder + result_forms.file_name(name, number, kind)
            yield ResultFile(key, target.write(key, self._going(chunks), results.DATA_TYPE))

    def _records(self, name: str, rounds: Rounds) -> Iterator[bytes]:
        if name == SUCCEEDED and self._form is not Transformation.NONE:
            for _, place in rounds.left(name):
                assert place is not None, "only a pending child has none"
                yield from result_forms.records_of(self._form, bytes(self._outcome(place).output))
            return
        batches = self._plan.batches()
        for child, place in rounds.left(name):
            yield self._record(_batch(batches, child), self._outcome(place) if place else None, rounds.finals)

    def _record(self, batch: Batch, outcome: Outcome | None, finals: Finals) -> bytes:
        redrives, first = finals.redrives(batch.index), finals.first(batch.index)
        again = Again(redrives, self._outcome(first).started) if redrives and first else None
        return results.record(self._names, batch, outcome, again)

    def _outcome(self, place: Place) -> Outcome:
        record = self._history.segment(place.segment)[place.line]
        assert isinstance(record, Outcome), "the index holds outcomes only"
        return record

    def _going(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks of a file, as long as the export goes on."""
        for chunk in chunks:
            yield chunk
            self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise Stopped


def _files(kind: OutputType, records: Iterator[bytes], limit: int) -> Iterator[Iterator[bytes]]:
    if kind is OutputType.PARQUET:
        return parquet_writing.files(records, limit)
    return result_forms.files(result_forms.LAYOUTS[kind], records, limit)


def _at_least_one(kind: OutputType, files: Iterator[Iterator[bytes]]) -> Iterator[Iterator[bytes]]:
    first = next(files, None)
    if first is None:
        yield iter([parquet_writing.empty() if kind is OutputType.PARQUET else result_forms.empty(kind)])
    else:
        yield first
        yield from files


def _batch(batches: Iterator[Batch], child: int) -> Batch:
    """The batch of a child that comes behind all that were asked for."""
    return next(batch for batch in batches if batch.index == child)


def _from_state(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records, with the errors of the run's own store told apart from those of the bucket."""
    try:
        yield from records
    except StoreError as error:
        raise StateUnreadable(error) from error
