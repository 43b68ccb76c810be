"""What a candidate does next, given a Lease's record, since when it has been seen so, and the time."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.leading import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    Acquire,
    Lost,
    Record,
    Renew,
    Seen,
    Step,
    Wait,
    decide,
    held,
    released,
    seen_next,
)

ME: Final = "a"
MINE: Final = Record("a", 10, "then", "now", 3)
ANOTHERS: Final = Record("b", 10, "then", "now", 3)
NOBODYS: Final = Record("", 1, "then", "now", 3)
LATE: Final = 1_000.0


def seen(record: Record, since: float = LATE, there: bool = True) -> Seen:
    return Seen(record, since, there)


def years_off(record: Record) -> Record:
    """The record as a node writes it whose clock is wrong."""
    return msgspec.structs.replace(record, acquire_time="1970-01-01T00:00:00Z", renew_time="2070-01-01T00:00:00Z")


DECISIONS = [
    ("a Lease that was never there is made", Seen(), None, 0.0, Acquire()),
    ("one that says nothing is taken", seen(Record()), None, LATE, Acquire()),
    ("a released one is taken at once", seen(NOBODYS), None, LATE, Acquire()),
    ("another's is waited for", seen(ANOTHERS), None, LATE + 4, Wait(LATE + 10)),
    ("until it ran out", seen(ANOTHERS), None, LATE + 9.9, Wait(LATE + 10)),
    ("then it is taken", seen(ANOTHERS), None, LATE + 10, Acquire()),
    ("whatever its times of day say", seen(years_off(ANOTHERS)), None, LATE + 4, Wait(LATE + 10)),
    ("its own duration counts", seen(Record("b", 60)), None, LATE + 4, Wait(LATE + 60)),
    ("ours where it has none", seen(Record("b")), None, LATE, Wait(LATE + LEASE_SECONDS)),
    ("a deleted one is left to its holder", seen(ANOTHERS, there=False), None, LATE + 4, Wait(LATE + 10)),
    ("until it ran out all the same", seen(ANOTHERS, there=False), None, LATE + 10, Acquire()),
    ("a deleted one that nobody held is made", seen(NOBODYS, there=False), None, LATE, Acquire()),
    ("ours is taken where the answer was lost", seen(MINE), None, LATE, Acquire()),
    ("the leader renews", seen(MINE), LATE + 7, LATE + 2, Renew()),
    ("makes it anew when it was deleted", seen(MINE, there=False), LATE + 7, LATE + 2, Renew()),
    ("gives up in time", seen(MINE), LATE + 7, LATE + 7, Lost("it has not been renewed for 7 seconds")),
    ("also when it was deleted", seen(MINE, there=False), 7.0, LATE, Lost("it has not been renewed for 7 seconds")),
    ("gives way to another", seen(ANOTHERS), LATE + 7, LATE + 2, Lost("b holds it now")),
    ("and to whoever took it away", seen(NOBODYS), LATE + 7, LATE + 2, Lost("nobody holds it now")),
]


@pytest.mark.parametrize(
    ("at", "until", "now", "step"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS]
)
def test_the_next_step(at: Seen, until: float | None, now: float, step: Step) -> None:
    assert decide(ME, at, until, now) == step


LOOKS = [
    ("it is new", Seen(), ANOTHERS, Seen(ANOTHERS, 50, True)),
    ("it has not changed", seen(ANOTHERS, 40), ANOTHERS, seen(ANOTHERS, 40)),
    ("it was renewed", seen(ANOTHERS, 40), years_off(ANOTHERS), seen(years_off(ANOTHERS), 50)),
    ("it is gone", seen(ANOTHERS, 40), None, seen(ANOTHERS, 40, there=False)),
    ("it is still gone", seen(ANOTHERS, 40, there=False), None, seen(ANOTHERS, 40, there=False)),
    ("it is back as it was", seen(ANOTHERS, 40, there=False), ANOTHERS, seen(ANOTHERS, 40)),
    ("it was never there", Seen(), None, Seen()),
]


@pytest.mark.parametrize(("before", "found", "after"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS])
def test_a_look(before: Seen, found: Record | None, after: Seen) -> None:
    assert seen_next(before, found, 50) == after


WRITTEN = [
    ("the first time", Record(), Record(ME, LEASE_SECONDS, "t", "t", 0)),
    ("after another", ANOTHERS, Record(ME, LEASE_SECONDS, "t", "t", 4)),
    ("after a release", NOBODYS, Record(ME, LEASE_SECONDS, "t", "t", 4)),
    ("a renewal", MINE, Record(ME, LEASE_SECONDS, "then", "t", 3)),
]


@pytest.mark.parametrize(("before", "after"), [row[1:] for row in WRITTEN], ids=[row[0] for row in WRITTEN])
def test_what_is_written(before: Record, after: Record) -> None:
    assert held(ME, before, "t") == after


def test_what_is_released_is_free_for_all() -> None:
    left = released(MINE, "t")
    assert left == Record("", 1, "then", "t", 3)
    assert decide("b", seen(left), None, LATE) == Acquire()


@given(
    renewed=st.floats(0, 1e6),
    delay=st.floats(0, 60),
    now=st.floats(0, 2e6),
    skew=st.floats(-1e6, 1e6),
)
def test_while_the_holder_leads_nobody_else_takes_the_lease(
    renewed: float, delay: float, now: float, skew: float
) -> None:
    """The other one sees the renewal later than it began, on a clock that shows anything."""
    leads = not isinstance(decide("b", seen(ANOTHERS), renewed + RENEW_SECONDS, now), Lost)
    other = decide(ME, seen(ANOTHERS, renewed + delay + skew), None, now + skew)
    assert not (leads and isinstance(other, Acquire))
