"""Whatever a journal may hold, a look at its run can be told: in a status that the API server takes, and in events."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import events, rendering, status
from maprun.core.intervals import IntervalSet
from maprun.core.rendering import STATUS_LIMIT, render
from maprun.core.status import MESSAGE_SHOWN, Snapshot
from maprun.core.tallies import Tally
from maprun.errors import Failure, Reason, StatesError
from maprun.model_status import MapRunStatus
from maprun.records import (
    ChildStatus,
    Exported,
    Outcome,
    Record,
    Redo,
    Redriven,
    Retry,
    RunStatus,
    Suspended,
    Verdict,
)
from tests.unit.looks import snapshot

CHILDREN = 8
TIMES = st.floats(0, 10**6).map(lambda at: round(at, 3))
WORDS = st.text(max_size=300) | st.sampled_from(["\x00" * 2_000, "中" * 2_000, '"' * 2_000])
FAILURES = st.builds(
    Failure,
    st.sampled_from([*StatesError]) | WORDS,
    WORDS | st.just("The specified tolerated failure threshold was exceeded"),
    WORDS,
)
SETS = st.sets(st.integers(0, CHILDREN - 1)).map(lambda chosen: IntervalSet(chosen).encode())
ENDS = st.sampled_from([status for status in ChildStatus if status is not ChildStatus.LOST])
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Outcome,
        st.integers(0, CHILDREN - 1),
        st.integers(1, 6),
        ENDS,
        st.integers(1, 3),
        failure=st.none() | FAILURES,
        retry=st.none() | st.builds(Retry, st.integers(-1, 2), TIMES),
    ),
    st.builds(
        Verdict,
        st.sampled_from([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ABORTED]),
        TIMES,
        st.none() | FAILURES,
        st.sampled_from(["", Reason.ABORTED, Reason.TIMED_OUT, Reason.INVALID_JOB_TEMPLATE]),
    ),
    st.builds(
        Exported,
        TIMES,
        st.integers(0, CHILDREN),
        st.sampled_from([b"", b"[1]", b'"' + b"x" * 8_190 + b'"', b"[" + b"1e15," * 1_600 + b"1]"]).map(msgspec.Raw),
        st.none() | FAILURES,
        st.sampled_from(["", "k" * 512, "k" * 1_024, "\x01" * 1_024]),
    ),
    st.builds(
        Redriven,
        st.integers(1, 5),
        TIMES,
        st.dictionaries(ENDS, st.builds(Redo, SETS, st.integers(0, 20))),
        st.none() | SETS,
        st.booleans(),
    ),
    st.builds(Suspended, TIMES, st.booleans()),
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "suspend": st.booleans(),
        "abort": st.booleans(),
        "redrives": st.integers(0, 3),
        "timeoutSeconds": st.integers(1, 10**6),
        "maxConcurrency": st.integers(0, 9),
        "toleratedFailureCount": st.integers(0, 9),
        "resultWriter": st.just({"resource": "s3:putObject", "parameters": {"bucket": "b" * 63}}),
    },
)


@st.composite
def looks(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Two looks at one run, one after the other."""
    records = draw(st.lists(RECORDS, max_size=12))
    until = draw(st.integers(0, len(records)))

    def look(seen: list[Record]) -> Snapshot:
        at = snapshot(
            seen,
            children=draw(st.integers(0, CHILDREN)),
            sealed=draw(st.booleans()),
            active=draw(st.integers(0, CHILDREN)),
            trouble=draw(WORDS),
            capacity=draw(WORDS),
            now=draw(TIMES),
            **draw(SPECS),
        )
        return msgspec.structs.replace(at, redoing=Tally(draw(st.integers(0, 3)), draw(st.integers(0, 9))))

    return look(records[:until]), look(records)


@given(looks())
def test_a_status_can_be_made_of_any_progress_is_valid_and_small(pair: tuple[Snapshot, Snapshot]) -> None:
    rendered = render(pair[1], 7, render(pair[0], 6))
    assert len(msgspec.json.encode(rendered)) <= STATUS_LIMIT
    msgspec.convert(rendered, MapRunStatus)
    for counts in (status.item_counts(pair[1]), status.execution_counts(pair[1])):
        apart = ("total", "resultsWritten", "failuresNotRedrivable")
        assert sum(count for state, count in counts.items() if state not in apart) == counts["total"]


@given(looks())
def test_events_can_be_made_of_any_two_looks_and_are_apart(pair: tuple[Snapshot, Snapshot]) -> None:
    for told in (
        list(events.events(*pair, 7)),
        list(events.events(None, pair[1], 7)),
        list(events.looked(pair[1], 7, asked=True)),
    ):
        assert len({(event.round, event.key) for event in told}) == len(told)
        assert all(event.turn in events.TURNS and len(event.message) <= MESSAGE_SHOWN for event in told)


@given(looks())
def test_a_run_that_has_not_ended_has_no_end(pair: tuple[Snapshot, Snapshot]) -> None:
    rendered = render(pair[1], 7)
    assert ("completionTime" in rendered) is pair[1].ended
    assert pair[1].ended or rendered.keys().isdisjoint({"output", "outputLocation", "resultWriterDetails"})
    assert (rendered["conditions"][0]["status"] == "Unknown") is not pair[1].ended
    assert set(rendering.PASSING).isdisjoint(render(snapshot([]), 1))
