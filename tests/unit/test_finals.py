"""Where each child's outcome stands through the rounds of a run.

That the fold agrees is a law of test_run_machine.py.
"""

from __future__ import annotations

import pytest

from maprun.core.finals import Finals, Place
from maprun.errors import Failure
from maprun.records import ChildStatus, Exported, Outcome, Record, Redo, Redriven, Retry

FAILED = ChildStatus.FAILED
GOOD = Outcome(0, 1, ChildStatus.SUCCEEDED)
BAD = [Outcome(child, 1, FAILED) for child in (1, 2, 3)]
FIRST: list[Record] = [GOOD, *BAD, Exported(9.0, 5)]
AGAIN = Redriven(1, 10.0, redo={FAILED: Redo("1-2", 2)})


def finals(*records: Record) -> Finals:
    """Of five children; each record stands in a line of its own, counted from 0."""
    made = Finals(5)
    for line, record in enumerate(records):
        match record:
            case Outcome():
                made.add(Place(7, line), record)
            case Redriven():
                made.redriven(record)
            case Exported():
                made.exported(record)
    return made


def placed(made: Finals) -> dict[int, int]:
    """The lines at which the children's outcomes stand."""
    found = {child: place for name in ("FAILED", "SUCCEEDED") for child, place in made.of(name)}
    return {child: place.line for child, place in sorted(found.items()) if place}


@pytest.mark.parametrize(
    ("records", "lines"),
    [
        pytest.param(FIRST, {0: 0, 1: 1, 2: 2, 3: 3}, id="the first life"),
        pytest.param([*FIRST, AGAIN], {0: 0, 1: 1, 2: 2, 3: 3}, id="until it ends again, the earlier outcome stands"),
        pytest.param(
            [*FIRST, AGAIN, Outcome(1, 2, FAILED), Outcome(4, 1, FAILED)],
            {0: 0, 1: 6, 2: 2, 3: 3, 4: 7},
            id="the first outcome of the redrive takes its place",
        ),
        pytest.param(
            [*FIRST, AGAIN, Outcome(1, 2, ChildStatus.SUCCEEDED), Outcome(1, 3, FAILED)],
            {0: 0, 1: 6, 2: 2, 3: 3},
            id="and stays there",
        ),
        pytest.param([*FIRST, AGAIN, Outcome(1, 1, FAILED)], {0: 0, 1: 1, 2: 2, 3: 3}, id="an old attempt is settled"),
        pytest.param(
            [*FIRST, AGAIN, Outcome(3, 2, ChildStatus.SUCCEEDED)],
            {0: 0, 1: 1, 2: 2, 3: 3},
            id="a child that was not chosen stays as it is",
        ),
        pytest.param(
            [*FIRST, AGAIN, Exported(20.0, 5), Outcome(1, 2, ChildStatus.SUCCEEDED)],
            {0: 0, 1: 1, 2: 2, 3: 3},
            id="behind the export nothing is open",
        ),
    ],
)
def test_an_outcome_stands_where(records: list[Record], lines: dict[int, int]) -> None:
    assert placed(finals(*records)) == lines
    assert [place.line for place in finals(*records).all()] == list(lines.values())


def test_add_tells_what_is_final() -> None:
    made = Finals(2)
    assert not made.add(Place(1, 0), Outcome(0, 1, FAILED, retry=Retry(0, 5.0)))
    assert made.add(Place(1, 1), Outcome(0, 2, FAILED))
    assert not made.add(Place(1, 2), Outcome(0, 3, FAILED))
    assert not made.add(Place(1, 3), Outcome(2, 1, FAILED)), "no child of the plan"


def test_redrives_are_counted_when_they_ran_the_child() -> None:
    retried = Outcome(1, 2, FAILED, retry=Retry(0, 5.0))
    made = finals(*FIRST, AGAIN, retried, Outcome(1, 3, FAILED), Exported(20.0, 5), AGAIN, Outcome(1, 4, FAILED))
    assert [made.redrives(child) for child in range(5)] == [0, 2, 0, 0, 0]


def test_the_first_outcome_ever_is_kept() -> None:
    made = finals(*FIRST, AGAIN, Outcome(1, 2, FAILED), Outcome(4, 1, FAILED), Exported(20.0, 5), AGAIN)
    assert [made.first(child) for child in range(5)] == [Place(7, line) for line in (0, 1, 2, 3, 7)]
    assert Finals(1).first(0) is None


def test_what_an_export_wrote_is_written() -> None:
    again = Outcome(1, 2, ChildStatus.SUCCEEDED)
    assert [finals(*FIRST, AGAIN, again).written(child) for child in range(5)] == [True, False, False, False, False]
    assert not finals(GOOD).written(0)


def test_what_an_export_failed_to_write_is_not_written() -> None:
    refused = Exported(9.0, 5, failure=Failure("States.ResultWriterFailed"))
    assert not finals(GOOD, refused, AGAIN).written(0)
    assert finals(GOOD, Exported(9.0, 5), AGAIN, refused).written(0)
