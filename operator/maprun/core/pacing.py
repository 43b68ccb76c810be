"""How fast to write to the API server: a token bucket whose rate adapts to what the server can take.

Rule 1: pure. Each function gets `now` in seconds of a monotonic clock; a `Pace` is immutable.
Rule 2: the rate rises by addition while it is what limits us, and falls by multiplication when the server says stop
(429) or answers slowly; it falls at most once a second, because all requests in flight tell of the same trouble.
Rule 3: `Retry-After` is obeyed by everybody, not only by the request that was told so.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

FIRST_RATE: Final = 100.0  # writes a second at the start; far above what a Job controller can follow
LEAST_RATE: Final = 1.0
MOST_RATE: Final = 1000.0
RISE: Final = 20.0  # writes a second more, each second
FALL: Final = 0.5
SLOW: Final = 2.0  # seconds; twice the API server's own objective for the latency of a write
BURST: Final = 0.25  # seconds of rate that may be saved up
FALL_INTERVAL: Final = 1.0


class Pace(msgspec.Struct, frozen=True):
    """State of the bucket: `tokens` at time `at`, refilled with `rate` a second; nothing is sent before
    `blocked_until`.

    `limiting` tells that the last write took the last token: then, and only then, is the rate what holds us back.
    """

    at: float
    rate: float = FIRST_RATE
    tokens: float = 1.0
    blocked_until: float = float("-inf")
    fell_at: float = float("-inf")
    limiting: bool = False

    def delay(self, now: float) -> float:
        """Seconds until a write may be sent; 0 when it may be sent now."""
        return max(0.0, (1.0 - self._tokens(now)) / self.rate, self.blocked_until - now)

    def sent(self, now: float) -> Pace:
        """A write is sent; `delay(now)` must have been 0."""
        left = max(0.0, self._tokens(now) - 1.0)
        return replace(self, at=now, tokens=left, limiting=left < 1.0)

    def answered(self, now: float, latency: float) -> Pace:
        """A write was answered, after `latency` seconds."""
        if latency > SLOW:
            return self._fallen(now)
        # Each answer adds its share, so that the answers of one second add RISE.
        return replace(self, rate=min(MOST_RATE, self.rate + RISE / self.rate)) if self.limiting else self

    def throttled(self, now: float, retry_after: float) -> Pace:
        """The server refused a write for now (429), asking for `retry_after` seconds of rest (0: not said)."""
        return replace(self._fallen(now), blocked_until=max(self.blocked_until, now + retry_after))

    def _tokens(self, now: float) -> float:
        return min(max(1.0, self.rate * BURST), self.tokens + max(0.0, now - self.at) * self.rate)

    def _fallen(self, now: float) -> Pace:
        if now - self.fell_at < FALL_INTERVAL:
            return self
        return replace(
            self, at=now, rate=max(LEAST_RATE, self.rate * FALL), tokens=min(1.0, self._tokens(now)), fell_at=now
        )
