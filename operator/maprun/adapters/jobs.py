"""Attempts as Jobs: the launcher of one run (`ports.Launcher`), on top of the watch that all runs share.

Rule 1: what is running is what the API server shows. Remembered is only what it cannot show: creates and deletes that
are under way, and outcomes that were read and not reaped yet.
Rule 2: an attempt is active from `launch` until its outcome is known, or it is given back: its Job was never created,
and it may be launched again.
Rule 3: an outcome that was told stays told until it is reaped, even when somebody deletes the Job in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_reading import JobsReader
from maprun.adapters.jobs_starting import Starts
from maprun.adapters.jobs_watch import JobsWatch, Seen
from maprun.adapters.jobs_writing import JobsWriter
from maprun.adapters.pacing import WriteBudget
from maprun.core import children, outcomes, starting
from maprun.core.resources import JobView, PodView, run_key
from maprun.core.scheduling import Observation
from maprun.errors import Failure
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, Batch, ChildStatus, Outcome

SETTLE: Final = 1.0  # seconds that the pod's watch may be behind the Job's


class Ended(msgspec.Struct, frozen=True):
    """An outcome that waits to be reaped, and the Job it came from; None when the Job was never made."""

    outcome: Outcome
    job: JobView | None


class JobsLauncher:
    """The launcher of one run; `labels` gives those of its resource now. `watch` and `budget` are shared by all runs.
    Make it inside a running event loop.
    """

    def __init__(
        self,
        run: RunRef,
        spec: MapRunSpec,
        watch: JobsWatch,
        client: ClusterClient,
        budget: WriteBudget,
        patience: float = starting.PATIENCE,
        labels: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        def make(attempt: Attempt, batch: Batch) -> children.JobParts:
            return children.job_for(run, spec, attempt, batch, labels=labels())

        self._watch, self._key = watch, run_key(run.namespace, run.uid)
        self._contract = outcomes.Contract(children.main_container(spec), spec.item_processor.output.from_)
        self._writer = JobsWriter(run, make, client, budget, self)
        self._reader = JobsReader(run, client)
        self._loop = asyncio.get_running_loop()
        self._active: dict[int, int] = {}
        self._ended: dict[Attempt, Ended] = {}
        self._stopping: set[Attempt] = set()
        self._reads: dict[Attempt, asyncio.Task[None]] = {}
        self._starts = Starts(self._reader, patience, self._give_up, self.told)
        self._news = asyncio.Event()
        self._broken: BaseException | None = None

    async def open(self) -> None:
        """Learn what exists already."""
        await self._watch.ready()
        for attempt, seen in self._watch.listen(self._key, self).items():
            if seen.job is not None:
                self.seen(attempt, seen)

    def observe(self) -> Observation:
        """The present state. Raises what stopped a write, if that was a defect of our own."""
        self._news.clear()
        if self._broken is not None:
            raise self._broken
        finished = tuple(ended.outcome for ended in self._ended.values())
        writer = self._writer
        waiting = writer.waiting or self._starts.waiting
        return Observation(dict(self._active), finished, waiting, writer.refused, writer.pending, writer.held)

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        """Begin to create the attempt's Job."""
        self._active[attempt.child] = attempt.number
        self._writer.create(attempt, batch)

    def cancel(self, attempt: Attempt) -> None:
        """Begin to delete a running attempt's Job."""
        self._stop(attempt)

    def withdraw(self, attempt: Attempt) -> None:
        """Give the attempt back, unless its Job exists or may exist."""
        self._writer.recall(attempt)

    def reap(self, attempt: Attempt) -> None:
        """Begin to delete a finished attempt's Job."""
        self._stop(attempt)

    async def changed(self) -> None:
        """Returns when there is news since the last `observe`."""
        await self._news.wait()

    async def close(self) -> None:
        """Stop watching and writing; the Jobs stay."""
        self._watch.unlisten(self._key)
        self._starts.close()
        reads = list(self._reads.values())
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, self._writer.close(), return_exceptions=True)

    # What the watch tells (`jobs_watch.Listener`).

    def seen(self, attempt: Attempt, seen: Seen) -> None:
        """Judge an attempt anew."""
        if seen.job is None or attempt in self._ended or attempt in self._stopping:
            return
        self._writer.exists(attempt)
        if self._active.get(attempt.child, 0) < attempt.number:  # an earlier one may still wait to be judged
            self._active[attempt.child] = attempt.number
            self._news.set()
        job, pod = seen.job, seen.pod
        if outcomes.needs_log(pod, self._contract) and pod is not None:
            self._read(attempt, self._judge_with_log(attempt, job, pod))
        elif outcomes.needs_pod(job, pod):
            self._read(attempt, self._judge_with_pods(attempt, seen))
        elif (outcome := outcomes.outcome_of(job, pod, None, self._contract)) is not None:
            self._finish(attempt, outcome, job)
        else:
            self._starts.follow(attempt, seen)

    def deleted(self, attempt: Attempt, seen: Seen) -> None:
        """Somebody else deleted the Job."""
        if seen.job is not None and attempt not in self._ended and attempt not in self._stopping:
            self._finish(
                attempt,
                outcomes.lost(seen.job, seen.pod, self._contract, "The Job was deleted, and not by MapRun."),
                seen.job,
            )

    def vanished(self, attempt: Attempt) -> None:
        """The Job went away while nobody looked: as far as we can tell the attempt does not exist."""
        if attempt not in self._ended and attempt not in self._stopping and not self._writer.creating(attempt):
            self._starts.over(attempt)
            self._inactive(attempt)

    # What the writer tells (`jobs_writing.Owner`).

    def created(self, job: JobView) -> None:
        """The Job exists; or it exists although it was withdrawn."""
        self._watch.put_job(job)
        if job.attempt in self._stopping:
            self._writer.remove(job.attempt, job)

    def rejected(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt can never be created."""
        self._finish(attempt, Outcome(attempt.child, attempt.number, ChildStatus.FAILED, failure=failure), None)

    def removed(self, attempt: Attempt, job: JobView | None) -> None:
        """The Job is gone, as we wished."""
        if job is not None:
            self._watch.forget(job)
        self._stopping.discard(attempt)
        self._ended.pop(attempt, None)
        self._starts.over(attempt)
        self._inactive(attempt)

    def told(self) -> None:
        """The writer waits for something else now."""
        self._news.set()

    def broke(self, error: BaseException) -> None:
        """A defect; `observe` raises it."""
        self._broken = error
        self._news.set()

    def _stop(self, attempt: Attempt) -> None:
        if attempt in self._stopping:
            return
        self._stopping.add(attempt)
        seen = self._watch.get(self._key, attempt)
        ended = self._ended.get(attempt)
        job = seen.job if seen and seen.job else ended.job if ended else None
        if job is not None:
            self._writer.remove(attempt, job)
        elif self._writer.creating(attempt):
            self._writer.withdraw(attempt)
        else:
            self.removed(attempt, None)

    def _finish(self, attempt: Attempt, outcome: Outcome, job: JobView | None) -> None:
        self._starts.over(attempt)
        self._ended[attempt] = Ended(outcome, job)
        self._inactive(attempt)

    def _inactive(self, attempt: Attempt) -> None:
        if self._active.get(attempt.child) == attempt.number:
            del self._active[attempt.child]
        self._news.set()

    def _give_up(self, attempt: Attempt) -> None:
        """The pod could not start for too long."""
        seen = self._watch.get(self._key, attempt)
        if seen is None or seen.job is None or seen.pod is None or attempt in self._stopping:
            return
        trouble = starting.start_trouble(seen.pod)
        if trouble is not None:
            outcome = starting.start_failed(seen.job, seen.pod, self._contract, trouble, self._starts.image_works)
            self._finish(attempt, outcome, seen.job)

    def _read(self, attempt: Attempt, reading: Coroutine[Any, Any, None]) -> None:
        if attempt in self._reads:
            reading.close()
            return
        task = self._loop.create_task(reading)
        self._reads[attempt] = task
        task.add_done_callback(lambda done: self._was_read(attempt, done))

    def _was_read(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        del self._reads[attempt]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broke(error)

    async def _judge_with_log(self, attempt: Attempt, job: JobView, pod: PodView) -> None:
        log = await self._reader.log(pod.metadata.name, self._contract.main)
        if log is None:
            outcome = outcomes.lost(
                job, pod, self._contract, "The child succeeded, but its log was gone before the output was read."
            )
        else:
            outcome = outcomes.outcome_of(job, pod, log, self._contract) or outcomes.lost(
                job, pod, self._contract, "The log cannot be read."
            )
        self._conclude(attempt, outcome, job)

    async def _judge_with_pods(self, attempt: Attempt, seen: Seen) -> None:
        """The Job has ended, but we do not know how its pod did: give the pod's watch a moment, then ask."""
        await asyncio.sleep(SETTLE)
        if seen.pod is None or not seen.pod.finished:
            for each in await self._reader.pods(attempt):
                seen.pods[each.metadata.uid] = each
        job, pod = seen.job, seen.pod
        if job is None or attempt in self._ended or attempt in self._stopping:
            return
        if outcomes.needs_log(pod, self._contract) and pod is not None:
            await self._judge_with_log(attempt, job, pod)
        elif (outcome := outcomes.outcome_of(job, pod, None, self._contract)) is not None:
            self._conclude(attempt, outcome, job)

    def _conclude(self, attempt: Attempt, outcome: Outcome, job: JobView) -> None:
        if attempt not in self._ended and attempt not in self._stopping:
            self._finish(attempt, outcome, job)
