"""An observer that writes down what it is told, for the tests of those who tell."""

from __future__ import annotations

from maprun.ports import Observer


class Counted(Observer):
    """What was told so far, in order, by method. Times are checked to be times, and left out."""

    def __init__(self) -> None:
        self.api: list[tuple[str, int]] = []
        self.s3: list[tuple[str, int]] = []
        self.waits: list[float] = []
        self.throttled: list[str] = []
        self.restarts: list[str] = []
        self.queued = 0
        self.most_queued = 0
        self.flushed: list[int] = []
        self.failed = 0

    def api_called(self, verb: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.api.append((verb, status))

    def write_waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def write_throttled(self, reason: str) -> None:
        self.throttled.append(reason)

    def watch_restarted(self, resource: str) -> None:
        self.restarts.append(resource)

    def journal_queued(self, records: int) -> None:
        self.queued += records
        self.most_queued = max(self.most_queued, self.queued)

    def journal_flushed(self, seconds: float, records: int) -> None:
        assert 0 <= seconds < 60
        self.flushed.append(records)

    def journal_failed(self) -> None:
        self.failed += 1

    def s3_called(self, operation: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.s3.append((operation, status))
