"""Points in time as AWS prints them.

Rule 1: times are seconds since the epoch everywhere; they become text only at the edge.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso(seconds: float) -> str:
    """ISO 8601 in UTC to the millisecond, zeros at the end cut: `2026-09-23T22:58:45.09Z`, `2026-…:45Z` (§5.4)."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    text = (_EPOCH + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds:03}".rstrip("0") + "Z" if milliseconds else f"{text}Z"
