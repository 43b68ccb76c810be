"""How the operator itself is doing: its event loop, its calls to the API server and to S3, its journals and watches.

Rule 1: `ports.Observer` for all adapters, from the event loop and from threads alike.
Rule 2: labels come from closed lists. A status that no standard knows counts as `other`: a run's S3 server may answer
        anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from maprun.ports import Observer

LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)  # seconds
API_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds; 30 is the timeout
FLUSH_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)  # seconds
S3_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)  # seconds; 60 is the timeout

NONE: Final = "none"  # value of the label `code` when no answer came
OTHER: Final = "other"
_CODES: Final = {0: NONE} | {int(status): str(int(status)) for status in HTTPStatus}
_TROUBLE: Final = (0, 429, 500, 503, 504)
# Statuses that are there from the start, for each verb and each operation that the operator uses.
API_CODES: Final = {
    "get": (200, 401, 403, 404),
    "list": (200, 401, 403),
    "watch": (200, 401, 403, 410),
    "create": (201, 401, 403, 409, 422),
    "update": (200, 401, 403, 404, 409),
    "patch": (200, 401, 403, 404, 409, 422),
    "delete": (200, 401, 403, 404, 409),
}
S3_CODES: Final = {
    "GetObject": (200, 206, 403, 404, 412),
    "PutObject": (200, 403, 409, 412),
    "ListObjectsV2": (200, 403, 404),
    "DeleteObject": (204, 403),
    "CreateMultipartUpload": (200, 403),
    "UploadPart": (200,),
    "CompleteMultipartUpload": (200,),
    "AbortMultipartUpload": (204,),
}
WATCHED: Final = ("jobs", "pods")


class Throttle(StrEnum):
    """Why a create had to wait, the values of the label `reason`."""

    TOO_MANY_REQUESTS = "too_many_requests"  # the API server answered 429
    QUOTA = "quota"  # a ResourceQuota of the namespace is used up
    OTHER = "other"


class Queue(StrEnum):
    """What waits inside the operator, the values of the label `queue`."""

    API_WRITES = "api_writes"  # writes that have not had their turn of the write budget
    JOURNAL_RECORDS = "journal_records"  # records that are not durable yet


class OperatorHealth(Observer):
    """Fulfils `ports.Observer`. Times in seconds; a status is that of HTTP, 0 when no answer came."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"maprun_{name}_total", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"maprun_{name}_seconds", text, labels, registry=registry, buckets=tuple(buckets))

        self._lag = histogram("event_loop_lag", "How late the event loop was for a task.", LAG_BUCKETS)
        self._api = _Calls(
            counter("api_requests", "Requests to the API server, by verb and status.", "verb", "code"),
            histogram("api_request_duration", "Time until the API server answered.", API_BUCKETS, "verb"),
            API_CODES,
        )
        self._s3 = _Calls(
            counter("s3_requests", "Requests to S3, by operation and status.", "operation", "code"),
            histogram("s3_request_duration", "Time until S3 answered.", S3_BUCKETS, "operation"),
            S3_CODES,
        )
        self._waited = counter("api_write_wait_seconds", "Time that writes waited for the write budget.")
        self._rate = Gauge("maprun_api_write_rate", "Writes a second that the budget allows.", registry=registry)
        queues = Gauge("maprun_queue_depth", "What waits inside the operator.", ["queue"], registry=registry)
        self._writes, self._queued = (queues.labels(queue.value) for queue in Queue)
        throttled = counter("throttled_creates", "Creates of Jobs that were refused for now.", "reason")
        self._throttled = {reason.value: throttled.labels(reason.value) for reason in Throttle}
        self._restarts = counter("watch_restarts", "Watches that broke and were begun again.", "resource")
        for resource in WATCHED:
            self._restarts.labels(resource)
        self._leader = Gauge("maprun_leader", "Whether this operator leads: 1 or 0.", registry=registry)
        self._transitions = counter("leader_transitions", "Times that this operator began to lead.")
        self._flushes = histogram("journal_flush", "Time until a journal segment was durable.", FLUSH_BUCKETS)
        self._flushed = counter("journal_records", "Records that became durable in a journal.")
        self._failed = counter("journal_errors", "Tries to write a journal segment that failed.")

    def reads(self, write_rate: Callable[[], float], writes_waiting: Callable[[], float]) -> None:
        """The write budget's present bound, and the writes that wait for it, are asked for at each scrape."""
        self._rate.set_function(write_rate)
        self._writes.set_function(writes_waiting)

    def leads(self, now: bool) -> None:
        """This operator leads from now on, or no longer."""
        self._leader.set(now)
        self._transitions.inc(now)

    def loop_lagged(self, seconds: float) -> None:
        """A task woke that much later than it should have."""
        self._lag.observe(seconds)

    def api_called(self, verb: str, status: int, seconds: float) -> None:
        """See `ports.Observer`."""
        self._api.count(verb, status, seconds if verb != "watch" else None)

    def write_waited(self, seconds: float) -> None:
        """See `ports.Observer`."""
        self._waited.inc(seconds)

    def write_throttled(self, reason: str) -> None:
        """See `ports.Observer`; an unknown reason counts as `other`."""
        (self._throttled.get(reason) or self._throttled[Throttle.OTHER]).inc()

    def watch_restarted(self, resource: str) -> None:
        """See `ports.Observer`."""
        self._restarts.labels(resource).inc()

    def journal_queued(self, records: int) -> None:
        """See `ports.Observer`."""
        self._queued.inc(records)

    def journal_flushed(self, seconds: float, records: int) -> None:
        """See `ports.Observer`."""
        self._flushes.observe(seconds)
        self._flushed.inc(records)

    def journal_failed(self) -> None:
        """See `ports.Observer`."""
        self._failed.inc()

    def s3_called(self, operation: str, status: int, seconds: float) -> None:
        """See `ports.Observer`."""
        self._s3.count(operation, status, seconds)


class _Calls:
    """Requests by what they do and how they were answered, and their durations. `known` is there from the start."""

    def __init__(self, requests: Counter, durations: Histogram, known: dict[str, tuple[int, ...]]) -> None:
        self._requests, self._durations = requests, durations
        self._bound: dict[tuple[str, str], Counter] = {}
        for what, statuses in known.items():
            for status in (*statuses, *_TROUBLE):
                self._bind(what, _CODES[status])
        # A watch is answered for minutes: its time says nothing.
        self._timed = {what: durations.labels(what) for what in known if what != "watch"}

    def count(self, what: str, status: int, seconds: float | None) -> None:
        code = _CODES.get(status, OTHER)
        (self._bound.get((what, code)) or self._bind(what, code)).inc()
        if seconds is not None:
            (self._timed.get(what) or self._durations.labels(what)).observe(seconds)

    def _bind(self, what: str, code: str) -> Counter:
        return self._bound.setdefault((what, code), self._requests.labels(what, code))
