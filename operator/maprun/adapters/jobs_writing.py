"""Creating and deleting the Jobs of one run, behind the operator's write budget, until the API server has taken each.

Rule 1: removals go before creations, so that what is finished makes room first.
Rule 2: a create that got no answer is sent again; the name is deterministic, so the second one meets the first as
"already exists". Once the Job has shown itself it is not sent again: the second one may come behind its removal.
Rule 3: nothing is given up that waiting may mend: quota, a missing right, a full server, an older Job of the same
name. What the user must change ends the run (`refused`), and what one child can never get is told of that child
(`rejected`).
Rule 4: while the API server takes no Job, one create is left to find out when it does again (`held`); whatever else
certainly does not exist is given back. What may exist, because an answer was lost, is never given back: withdrawn, it
is looked for, and removed or known not to exist. Else its Job could outlive the run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.pacing import WriteBudget
from maprun.core import children
from maprun.core.resources import JobView, Thing
from maprun.errors import Failure, StatesError
from maprun.model import RunRef
from maprun.records import Attempt, Batch

WORKERS: Final = 16  # writes of one run at once; the budget bounds those of all
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
NAME_TAKEN_PAUSE: Final = 1.0

Make = Callable[[Attempt, Batch], children.JobParts]
"""What is to be created for an attempt; always the same, but for the labels that the run has at that moment."""


class Owner(Protocol):
    """Who is told what came of it."""

    def created(self, job: JobView) -> None:
        """The attempt's Job exists."""

    def rejected(self, attempt: Attempt, failure: Failure) -> None:
        """This attempt can never be created."""

    def removed(self, attempt: Attempt, job: JobView | None) -> None:
        """The attempt's Job does not exist any more, or its creation was withdrawn in time."""

    def told(self) -> None:
        """`waiting` or `refused` changed."""

    def broke(self, error: BaseException) -> None:
        """A defect of our own stopped a write."""


class JobsWriter:
    """The writes of one run, of what `make` gives. `waiting` and `refused` are as in `Observation`."""

    def __init__(self, run: RunRef, make: Make, client: ClusterClient, budget: WriteBudget, owner: Owner) -> None:
        self._run, self._make, self._client, self._budget, self._owner = run, make, client, budget, owner
        self._jobs = f"/apis/batch/v1/namespaces/{run.namespace}/jobs"
        self._secrets = f"/api/v1/namespaces/{run.namespace}/secrets"
        self._queue: deque[Attempt] = deque()
        self._batches: dict[Attempt, Batch] = {}  # of what is queued, or will be after a pause
        self._removals: deque[tuple[Attempt, JobView]] = deque()
        self._creating: set[Attempt] = set()  # sent, or waiting for the budget
        self._withdrawn: set[Attempt] = set()
        self._recalled: set[Attempt] = set()  # of what is being created: given back when it is refused
        self._doubtful: set[Attempt] = set()  # of what is not created yet: its Job may exist
        self._probe: Attempt | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._held = False  # creates wait for `_resume`
        self._pause = 0.0
        self._closed = False
        self.waiting = ""
        self.refused: Failure | None = None

    def create(self, attempt: Attempt, batch: Batch) -> None:
        """Begin to create the attempt's Job."""
        self._queue.append(attempt)
        self._batches[attempt] = batch
        self._pump()

    def creating(self, attempt: Attempt) -> bool:
        """True while the create is queued or under way."""
        return attempt in self._batches or attempt in self._creating

    def exists(self, attempt: Attempt) -> None:
        """Its Job is there: a create whose answer was lost has taken effect, and is not sent again. Behind the Job's
        removal it would run the child once more.
        """
        if self.creating(attempt):
            self._over(attempt)

    def withdraw(self, attempt: Attempt) -> None:
        """Do not create it after all; `removed` follows, or `created` where it was too late."""
        if attempt in self._batches and attempt not in self._doubtful:
            self._give_back(attempt)
        elif self.creating(attempt):
            self._withdrawn.add(attempt)

    def recall(self, attempt: Attempt) -> None:
        """As `withdraw`, but where its Job exists or may exist it is left alone."""
        if attempt in self._batches and attempt not in self._doubtful:
            self._give_back(attempt)
        elif self.creating(attempt):
            self._recalled.add(attempt)

    @property
    def pending(self) -> frozenset[int]:
        """The children whose create is queued or under way."""
        return frozenset(attempt.child for attempt in (*self._batches, *self._creating))

    @property
    def held(self) -> bool:
        """True while the API server takes no Job, and one create finds out when it does."""
        return self._probe is not None and self.creating(self._probe)

    def remove(self, attempt: Attempt, job: JobView) -> None:
        """Begin to delete the attempt's Secret and Job."""
        self._removals.append((attempt, job))
        self._pump()

    async def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        while not self._closed and len(self._tasks) < WORKERS and (step := self._step()) is not None:
            task = self._loop.create_task(step)
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._owner.broke(error)
        self._pump()

    def _step(self) -> Coroutine[Any, Any, None] | None:
        if self._removals:
            return self._remove(*self._removals.popleft())
        while self._queue and not self._held:
            attempt = self._queue.popleft()
            batch = self._batches.pop(attempt, None)
            if batch is not None:
                self._creating.add(attempt)
                return self._create(attempt, batch)
        return None

    async def _create(self, attempt: Attempt, batch: Batch) -> None:
        if attempt in self._withdrawn:
            return await self._adopt(attempt, batch)
        parts = self._make(attempt, batch)
        try:
            if parts.secret is not None and not await self._create_secret(parts.secret):
                return self._name_is_taken(attempt, batch)
            answer = await self._send("POST", self._jobs, parts.job)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                return await self._adopt(attempt, batch)
            return self._put_off(attempt, batch, error)
        return self._created(attempt, msgspec.json.decode(answer, type=JobView))

    async def _create_secret(self, secret: dict[str, Any]) -> bool:
        """False when another run's Secret has the name. Ours may be there already: its content is the same."""
        try:
            await self._send("POST", self._secrets, secret)
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
            known = await self._client.request("GET", f"{self._secrets}/{secret['metadata']['name']}")
            return msgspec.json.decode(known, type=Thing).metadata.labels.run_uid == self._run.uid
        return True

    async def _adopt(self, attempt: Attempt, batch: Batch) -> None:
        """A Job of this name exists: ours from an earlier try, or one of another run that must go first."""
        try:
            answer = await self._send("GET", f"{self._jobs}/{children.job_name(self._run.name, attempt)}")
        except ApiError as error:
            if error.status == 404:
                self._doubtful.discard(attempt)
                return self._later(0.0, attempt, batch)
            return self._put_off(attempt, batch, error)
        job = msgspec.json.decode(answer, type=JobView)
        if (
            job.metadata.labels.run_uid != self._run.uid
            or job.metadata.attempt != attempt
            or job.metadata.deletionTimestamp
        ):
            self._doubtful.discard(attempt)
            return self._name_is_taken(attempt, batch)
        return self._created(attempt, job)

    def _created(self, attempt: Attempt, job: JobView) -> None:
        self._over(attempt)
        if not self.held:
            self._pause = 0.0
            self._wait_for("")
        self._owner.created(job)

    def _over(self, attempt: Attempt) -> None:
        """Nothing more is to be done for its creation."""
        self._batches.pop(attempt, None)
        for attempts in (self._creating, self._withdrawn, self._recalled, self._doubtful):
            attempts.discard(attempt)
        if not self._batches and not self._creating:
            self._wait_for("")

    def _give_back(self, attempt: Attempt) -> None:
        self._over(attempt)
        self._owner.removed(attempt, None)

    def _name_is_taken(self, attempt: Attempt, batch: Batch) -> None:
        name = children.job_name(self._run.name, attempt)
        self._wait_for(f"The name {name} is taken by an object of another run, or by one that is being deleted.")
        self._later(NAME_TAKEN_PAUSE, attempt, batch)

    def _put_off(self, attempt: Attempt, batch: Batch, error: ApiError) -> None:
        """What a refused create means: the first line that applies."""
        if attempt not in self._creating:  # its Job has shown itself
            return None
        if not 400 <= error.status < 500:
            self._doubtful.add(attempt)
        if error.status in (400, 422):
            self._hold(LONGEST_PAUSE, "")
            self.refused = Failure(
                StatesError.RUNTIME,
                f"The API server refuses the Job made of spec.itemProcessor.jobTemplate: {error.message}",
            )
            self._owner.told()
        elif error.status == 413:
            self._over(attempt)
            return self._owner.rejected(
                attempt,
                Failure(
                    StatesError.JOB_REFUSED, f"The Job of this child is too large for the API server: {error.message}"
                ),
            )
        elif error.status == 429:
            self._wait_for("The API server asks to send less; creating Jobs more slowly.")
        elif error.status != 409:  # a conflict is only a race for a quota's counter
            self._hold(self._pause * 2, f"The API server does not take the Job: {error.message}")
            if attempt not in self._doubtful:
                return self._not_now(attempt, batch)
        return self._later(0.0, attempt, batch)

    def _not_now(self, attempt: Attempt, batch: Batch) -> None:
        """No Job is taken for now: one create goes on trying."""
        if self.held and attempt != self._probe:
            self._recalled.add(attempt)
        else:
            self._probe = attempt
        self._later(0.0, attempt, batch)
        for other in [each for each in self._batches if each != self._probe]:
            self.recall(other)

    def _hold(self, pause: float, why: str) -> None:
        """No creates for a while; those in flight that fail for the same reason do not make it longer."""
        if not self._held:
            self._held = True
            self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, pause))
            self._loop.call_later(self._pause, self._resume)
        self._wait_for(why)

    def _resume(self) -> None:
        self._held = False
        self._pump()

    def _later(self, pause: float, attempt: Attempt, batch: Batch) -> None:
        """Queue the create again, first in line, after a pause."""
        if (attempt in self._withdrawn or attempt in self._recalled) and attempt not in self._doubtful:
            self._give_back(attempt)
        elif attempt in self._creating:  # else its Job has shown itself
            self._creating.discard(attempt)
            self._batches[attempt] = batch
            self._loop.call_later(pause, self._again, attempt)

    def _again(self, attempt: Attempt) -> None:
        if attempt in self._batches:
            self._queue.appendleft(attempt)
            self._pump()

    async def _remove(self, attempt: Attempt, job: JobView) -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            if job.metadata.labels.input == "Secret":
                await self._delete(f"{self._secrets}/{job.metadata.name}", options)
            await self._delete(
                f"{self._jobs}/{job.metadata.name}", {**options, "preconditions": {"uid": job.metadata.uid}}
            )
        except ApiError as error:
            self._wait_for(f"A finished Job cannot be deleted: {error.message}")
            self._loop.call_later(max(FIRST_PAUSE, error.retry_after), self.remove, attempt, job)
        else:
            self._owner.removed(attempt, job)

    async def _delete(self, path: str, options: dict[str, Any]) -> None:
        try:
            await self._send("DELETE", path, options)
        except ApiError as error:
            if error.status not in (404, 409):  # 409: another object has the name by now
                raise

    async def _send(self, verb: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """One write, or one look that is tried as often, when it is this run's turn."""
        return await self._budget.call(lambda: self._client.request(verb, path, body), self._run.uid)

    def _wait_for(self, why: str) -> None:
        if why != self.waiting:
            self.waiting = why
            self._owner.told()
