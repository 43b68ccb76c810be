"""Which Jobs of ours exist, and their pods: one watch of each for all runs, kept as small structs by run and attempt.

Rule 1: this is a cache of what the API server said, and nothing else; what it means is the launcher's business.
Rule 2: O(1) for each event.
Rule 3: an object that was deleted by us never comes back, whatever late events say; one that was created by us is not
missed by an older list. Resource versions are compared as numbers for that, which Kubernetes allows within one
resource type.
Rule 4: a run is known by its namespace and uid (`resources.run_key`): an object elsewhere that bears its uid in a label
is not its own, so that nobody makes outcomes for a run of another namespace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.watching import Follower
from maprun.core.children import RUN_UID_LABEL
from maprun.core.resources import JobView, PodView
from maprun.ports import UNOBSERVED, Observer
from maprun.records import Attempt

JOBS: Final = "/apis/batch/v1/{}jobs"
PODS: Final = "/api/v1/{}pods"


class Seen(msgspec.Struct):
    """What is known of one attempt: its Job, and its pods by uid (more than one after a replacement)."""

    job: JobView | None = None
    pods: dict[str, PodView] = {}

    @property
    def pod(self) -> PodView | None:
        """The pod that tells how the Job stands: one that succeeded, else the last one."""
        mine = [
            pod
            for pod in self.pods.values()
            if self.job is None or pod.metadata.labels.controller_uid in ("", self.job.metadata.uid)
        ]
        return max(
            mine,
            key=lambda pod: (pod.status.phase == "Succeeded", pod.metadata.creationTimestamp, pod.metadata.version),
            default=None,
        )


class Listener(Protocol):
    """A launcher, told about the attempts of its run."""

    def seen(self, attempt: Attempt, seen: Seen) -> None:
        """The attempt's Job exists, and it or its pod is new or changed."""

    def deleted(self, attempt: Attempt, seen: Seen) -> None:
        """The attempt's Job was deleted, and not by `forget`."""

    def vanished(self, attempt: Attempt) -> None:
        """The attempt's Job went away while nobody looked."""


class JobsWatch:
    """One for the whole operator. `namespaces`: watch only these; empty: all."""

    def __init__(self, client: ClusterClient, namespaces: Sequence[str] = (), observer: Observer = UNOBSERVED) -> None:
        self._runs: dict[str, dict[Attempt, Seen]] = {}
        self._listeners: dict[str, Listener] = {}
        self._gone: dict[str, str] = {}  # uid → namespace of Jobs that we deleted, until the watch has said so too
        self._followers: list[Follower[JobView] | Follower[PodView]] = []
        for part in [f"namespaces/{each}/" for each in namespaces] or [""]:
            namespace = part.split("/")[1] if part else ""
            self._followers += [
                Follower(client, JOBS.format(part), RUN_UID_LABEL, JobView, _Jobs(self, namespace), observer),
                Follower(client, PODS.format(part), RUN_UID_LABEL, PodView, _Pods(self, namespace), observer),
            ]

    async def start(self) -> None:
        """Begin to follow; returns when the first lists are complete. Waits as long as the API server does not
        answer.
        """
        for each in self._followers:
            each.start()
        await self.ready()

    async def ready(self) -> None:
        """Returns when every first list is complete."""
        for each in self._followers:
            await each.ready.wait()

    @property
    def incomplete(self) -> str:
        """Which first list is not complete, in words; "" when all are."""
        missing = sorted({each.resource for each in self._followers if not each.ready.is_set()})
        return f"the list of {' and '.join(missing)} is not complete yet" if missing else ""

    @property
    def dead(self) -> str:
        """Which task has ended that must go on, and why, in words; "" when none has."""
        return "; ".join(each.dead for each in self._followers if each.dead)

    async def close(self) -> None:
        """Stop following."""
        for each in self._followers:
            await each.close()

    @property
    def runs(self) -> Mapping[str, Mapping[Attempt, Seen]]:
        """What there is of every run, by its key: a live view."""
        return self._runs

    def listen(self, run: str, listener: Listener) -> dict[Attempt, Seen]:
        """Tell `listener` about the run from now on; returns what there is already."""
        self._listeners[run] = listener
        return dict(self._runs.get(run, {}))

    def unlisten(self, run: str) -> None:
        """Tell nobody any more."""
        self._listeners.pop(run, None)

    def get(self, run: str, attempt: Attempt) -> Seen | None:
        """What is known of an attempt."""
        return self._runs.get(run, {}).get(attempt)

    def forget(self, job: JobView) -> None:
        """We deleted this Job: late events about it mean nothing."""
        run = job.metadata.run
        seen = self.get(run, job.attempt)
        if seen is not None and seen.job is not None and seen.job.metadata.uid == job.metadata.uid:
            self._gone[job.metadata.uid] = job.metadata.namespace
            self._drop(run, job.attempt)

    def put_job(self, job: JobView) -> None:
        """A Job as an answer or an event showed it; an older one than known is ignored."""
        attempt = job.metadata.attempt
        if attempt is None or job.metadata.uid in self._gone:
            return
        seen = self._entry(job.metadata.run, attempt)
        if seen.job is not None and seen.job.metadata.version >= job.metadata.version:
            return  # a late event, about this Job or about one that had its name before
        seen.job = job
        self._tell(job.metadata.run, attempt, seen)

    def put_pod(self, pod: PodView) -> None:
        """A pod as an answer or an event showed it."""
        labels = pod.metadata.labels
        attempt = pod.metadata.attempt
        if attempt is None or labels.controller_uid in self._gone:
            return
        seen = self._entry(pod.metadata.run, attempt)
        seen.pods[pod.metadata.uid] = pod
        self._tell(pod.metadata.run, attempt, seen)

    def remove_job(self, job: JobView) -> None:
        """The Job was deleted, as its last event says."""
        attempt = job.metadata.attempt
        run = job.metadata.run
        if job.metadata.uid in self._gone:
            del self._gone[job.metadata.uid]
            return
        seen = self.get(run, attempt) if attempt else None
        if attempt is None or seen is None or seen.job is None or seen.job.metadata.uid != job.metadata.uid:
            return
        seen.job = job
        self._drop(run, attempt)
        if run in self._listeners:
            self._listeners[run].deleted(attempt, seen)

    def remove_pod(self, pod: PodView) -> None:
        """The pod was deleted. What it ended with is kept as long as its Job is there."""
        attempt = pod.metadata.attempt
        run = pod.metadata.run
        seen = self.get(run, attempt) if attempt else None
        if attempt is None or seen is None:
            return
        if seen.job is not None and pod.finished:
            self.put_pod(pod)
            return
        seen.pods.pop(pod.metadata.uid, None)
        if seen.job is not None:
            self._tell(run, attempt, seen)
        elif not seen.pods:
            self._drop(run, attempt)

    def replace_jobs(self, jobs: Sequence[JobView], version: int, namespace: str) -> None:
        """All Jobs of `namespace` ("": of all) as of `version`; what is missing went away unseen."""
        listed = {job.metadata.uid for job in jobs}
        self._gone = {uid: where for uid, where in self._gone.items() if uid in listed or namespace not in ("", where)}
        for run, attempts in list(self._runs.items()):
            for attempt, seen in list(attempts.items()):
                job = seen.job
                if (
                    job is None
                    or job.metadata.uid in listed
                    or job.metadata.version > version
                    or namespace not in ("", job.metadata.namespace)
                ):
                    continue
                self._drop(run, attempt)
                if run in self._listeners:
                    self._listeners[run].vanished(attempt)
        for job in jobs:
            self.put_job(job)

    def replace_pods(self, pods: Sequence[PodView], version: int, namespace: str) -> None:
        """All pods of `namespace` as of `version`. A pod that is missing and had ended is kept with its Job."""
        listed = {pod.metadata.uid for pod in pods}
        for attempts in list(self._runs.values()):
            for seen in list(attempts.values()):
                for pod in [each for uid, each in seen.pods.items() if uid not in listed]:
                    if pod.metadata.version <= version and namespace in ("", pod.metadata.namespace):
                        self.remove_pod(pod)
        for pod in pods:
            self.put_pod(pod)

    def _entry(self, run: str, attempt: Attempt) -> Seen:
        return self._runs.setdefault(run, {}).setdefault(attempt, Seen())

    def _drop(self, run: str, attempt: Attempt) -> None:
        attempts = self._runs[run]
        del attempts[attempt]
        if not attempts:
            del self._runs[run]

    def _tell(self, run: str, attempt: Attempt, seen: Seen) -> None:
        listener = self._listeners.get(run)
        if listener is not None and seen.job is not None:
            listener.seen(attempt, seen)


class _Jobs:
    """The Jobs' side of the watch."""

    def __init__(self, watch: JobsWatch, namespace: str) -> None:
        self._watch = watch
        self._namespace = namespace

    def replaced(self, views: Sequence[JobView], version: int) -> None:
        self._watch.replace_jobs(views, version, self._namespace)

    def changed(self, view: JobView, deleted: bool) -> None:
        (self._watch.remove_job if deleted else self._watch.put_job)(view)


class _Pods:
    """The pods' side of the watch."""

    def __init__(self, watch: JobsWatch, namespace: str) -> None:
        self._watch = watch
        self._namespace = namespace

    def replaced(self, views: Sequence[PodView], version: int) -> None:
        self._watch.replace_pods(views, version, self._namespace)

    def changed(self, view: PodView, deleted: bool) -> None:
        (self._watch.remove_pod if deleted else self._watch.put_pod)(view)
