"""Why a live run starts nothing although nothing is wrong, so that nobody is woken for it.

Rule 1: pure functions of a snapshot and the time: a scrape asks for them.
Rule 2: a reason holds only while it explains everything: one child that could start, and does not, and there is none.
"""

from __future__ import annotations

from enum import StrEnum

from maprun.core.status import Snapshot


class Rest(StrEnum):
    """Values of the label `reason`."""

    SUSPENDED = "suspended"  # spec.suspend
    CAPACITY = "capacity"  # a ceiling of the operator
    RETRIES = "retries"  # all children that wait do so for the time of their next attempt


def rests(at: Snapshot, waiting: int, now: float) -> dict[Rest, bool]:
    """Which of the reasons hold. `waiting`: children that wait for a start; `now` in seconds since the epoch."""
    return {
        Rest.SUSPENDED: at.suspended,
        Rest.CAPACITY: bool(at.capacity),
        Rest.RETRIES: 0 < waiting <= sum(each.at > now for each in tuple(at.progress.between.values())),
    }
