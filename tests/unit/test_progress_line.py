"""From a snapshot to the line that people see, and when it is written; and the summary of an ended run."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.cli import summary
from maprun.cli.progress_line import Look, Pace, bar, duration, look, pieces, text
from maprun.cli.screen import LogView, Screen
from maprun.core.progress import Progress, Tally
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.errors import TOLERANCE_CAUSE, Failure, StatesError
from maprun.model import MapRunSpec, RunRef
from maprun.records import (
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    PlanSeal,
    Record,
    Redo,
    Redriven,
    Retry,
    RunStatus,
    Suspended,
    Verdict,
)

RUN = RunRef("local", "airports", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 100.0)
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "p"}}
LOOK = Look("airports", 30, 120, False, 20, 2, 3, 15.0, 6.0)


def spec(**more: object) -> MapRunSpec:
    return msgspec.convert({"itemProcessor": {"jobTemplate": {}}, **more}, MapRunSpec)


def snapshot(
    *records: Record,
    children: int = 10,
    sealed: bool = True,
    active: int = 0,
    now: float = 100.0,
    **spec_fields: object,
) -> Snapshot:
    seal = PlanSeal(children, children, 1) if sealed else None
    progress = Progress().with_records([Opened("w", 100.0), *records])
    return Snapshot(
        RUN, spec(**spec_fields), "local", PlanView(children, children, seal), progress, Tally(active, active), 20, now
    )


def succeeded(*children: int) -> list[Record]:
    return [Outcome(child, 1, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1")) for child in children]


def failed(child: int, error: str = "Boom", cause: str = "why", status: ChildStatus = ChildStatus.FAILED) -> Record:
    return Outcome(child, 1, status, failure=Failure(error, cause))


def retried(child: int) -> Record:
    return Outcome(child, 1, ChildStatus.FAILED, failure=Failure("Busy"), retry=Retry(0, 101.0))


AGAIN = {ChildStatus.FAILED: Redo("2-3", 2)}
ENDED: list[Record] = [*succeeded(0, 1), failed(2), failed(3), Verdict(RunStatus.FAILED, 102.0), Exported(103.5, 10)]


@pytest.mark.parametrize(
    ("at", "line"),
    [
        pytest.param(
            snapshot(children=0, sealed=False), "airports  0/0+  0 %  0 running  0 failed  0.0/s", id="before the plan"
        ),
        pytest.param(
            snapshot(*succeeded(0), children=100, sealed=False, active=20),
            "airports  1/100+  1 %  20 running  0 failed  0.0/s",
            id="while the dataset is being read, the total is marked as growing",
        ),
        pytest.param(
            snapshot(*succeeded(0, 1), failed(2), failed(3, status=ChildStatus.TIMED_OUT), active=4),
            "airports  4/10  40 %  4 running  2 failed  0.0/s",
            id="timed out children count as failed",
        ),
        pytest.param(
            snapshot(retried(0), active=1),
            "airports  0/10  0 %  1 running  0 failed  1 retried  0.0/s",
            id="a retry is told",
        ),
        pytest.param(
            snapshot(*succeeded(*range(10)), active=3),
            "airports  10/10  100 %  0 running  0 failed  0.0/s",
            id="all done",
        ),
        pytest.param(
            snapshot(
                *ENDED,
                Redriven(1, 110.0, AGAIN),
                Outcome(3, 2, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1")),
                active=1,
            ),
            "airports redrive 1  3/10  30 %  1 running  0 failed  0.0/s",
            id="a redrive counts on from what had succeeded",
        ),
        pytest.param(
            snapshot(*succeeded(0), Suspended(101.0, on=True)),
            "airports  1/10  10 %  0 running  0 failed  0.0/s  suspended",
            id="held",
        ),
    ],
)
def test_the_line_of_a_snapshot(at: Snapshot, line: str) -> None:
    assert text(look(at, Pace())) == line


def test_rate_and_time_left_follow_the_last_ten_seconds() -> None:
    pace = Pace()
    assert look(snapshot(children=200, now=100.0), pace).left is None
    seen = look(snapshot(*succeeded(*range(50)), children=200, now=105.0), pace)
    assert (seen.rate, seen.left) == (10.0, 15.0)
    assert text(seen).endswith("10.0/s  15 s left")
    for now in range(106, 130):
        seen = look(snapshot(*succeeded(*range(50)), children=200, now=float(now)), pace)
    assert (seen.rate, seen.left) == (0.0, None)


def test_the_rate_of_a_redrive_is_its_own() -> None:
    pace = Pace()
    assert look(snapshot(*ENDED, now=105.0), pace).done == 4
    seen = look(snapshot(*ENDED, Redriven(1, 106.0, AGAIN), now=106.0), pace)
    assert (seen.done, seen.rate, seen.left) == (2, 0.0, None)
    seen = look(snapshot(*ENDED, Redriven(1, 106.0, AGAIN), *again(3), now=108.0), pace)
    assert (seen.done, seen.rate) == (3, 0.5)


def again(*children: int) -> list[Record]:
    return [Outcome(child, 2, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1")) for child in children]


def test_what_holds_a_run_up_is_told() -> None:
    assert text(msgspec.structs.replace(LOOK, trouble="the disk is full")).endswith("6 s left  the disk is full")


@pytest.mark.parametrize(
    ("width", "line"),
    [
        pytest.param(
            200, f"airports  {'━' * 30}  30/120  20 running  2 failed  3 retried  15.0/s  6 s left", id="wide"
        ),
        pytest.param(
            80, f"airports  {'━' * 11}  30/120  20 running  2 failed  3 retried  15.0/s  6 s left", id="80 columns"
        ),
        pytest.param(70, "airports  30/120  20 running  2 failed  3 retried  15.0/s  6 s left", id="no room for a bar"),
        pytest.param(30, "airports  30/120  20 running  ", id="cut"),
    ],
)
def test_the_bar_takes_the_room_that_is_left(width: int, line: str) -> None:
    assert "".join(words for words, _ in pieces(LOOK, width)) == line


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.floats(0, 1e9), st.integers(1, 300))
def test_a_line_is_never_wider_than_the_screen(done: int, more: int, rate: float, width: int) -> None:
    shown = msgspec.structs.replace(LOOK, done=done, total=done + more, rate=rate, left=more / rate if rate else None)
    assert len("".join(words for words, _ in pieces(shown, width))) <= width


@given(st.floats(0, 1), st.integers(0, 60))
def test_a_bar_has_its_width_and_is_full_only_at_the_end(share: float, width: int) -> None:
    (full, _), (rest, _) = bar(share, width)
    assert len(full) + len(rest) == width
    assert share == 1 or not width or len(full) < width


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (3.25, "3.2 s"),
        (60, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3600, "1 h 00 min"),
        (7_620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_log_gets_a_line_each_ten_percent_and_at_most_one_a_second() -> None:
    lines: list[str] = []
    now = [0.0]
    view = LogView(lines.append, lambda: now[0])
    for step in range(101):
        now[0] = step * 0.2
        view.show(msgspec.structs.replace(LOOK, done=step, total=100))
    view.close(msgspec.structs.replace(LOOK, done=100, total=100))
    view.close(msgspec.structs.replace(LOOK, done=100, total=100))
    assert [int(re.findall(r"(\d+) %", line)[0]) for line in lines] == [*range(0, 101, 10)]


def test_a_log_follows_a_redrive_that_begins_with_less() -> None:
    lines: list[str] = []
    now = [0.0]
    view = LogView(lines.append, lambda: now[0])
    for done in (100, 95, 60, 70, 80):
        view.show(msgspec.structs.replace(LOOK, done=done, total=100))
        now[0] += 2.0
    assert [int(re.findall(r"(\d+) %", line)[0]) for line in lines] == [100, 60, 70, 80]


def test_a_log_gets_a_line_each_ten_seconds_when_nothing_moves() -> None:
    lines: list[str] = []
    now = [0.0]
    view = LogView(lines.append, lambda: now[0])
    for second in range(31):
        now[0] = float(second)
        view.show(LOOK)
    assert len(lines) == 4


async def test_the_screen_shows_the_last_state_when_it_is_left() -> None:
    lines: list[str] = []
    with Screen(LogView(lines.append, lambda: 0.0)) as screen:
        screen.progressed(snapshot())
        await screen.finished(snapshot(*succeeded(*range(10))))
    assert [line.split("  ")[1] for line in lines] == ["0/10", "10/10"]


# The summary.


def ended(
    *records: Record, output: bytes = b"", manifest: str = "", failure: Failure | None = None, **more: object
) -> Snapshot:
    status = RunStatus.FAILED if failure else RunStatus.SUCCEEDED
    end = [Verdict(status, 102.0, failure), Exported(103.5, 10, msgspec.Raw(output), manifest=manifest)]
    return snapshot(*records, *end, **more)  # type: ignore[arg-type]


def said(at: Snapshot, manifest: dict[str, object] | None = None, results: str = "out/results") -> list[str]:
    places = summary.Places(results, "runs/1")
    return ["".join(words for words, _ in line) for line in summary.lines(at, places, manifest)]


def test_a_run_that_succeeded() -> None:
    assert said(ended(*succeeded(*range(10)), output=b"[1,2]")) == [
        "airports SUCCEEDED in 3.5 s: 10 child executions, 10 succeeded",
        "",
        "Output   [1,2]",
        "State    runs/1",
    ]


def test_the_most_frequent_errors_come_first_with_one_example_each() -> None:
    records = [*succeeded(0), failed(1, "Rare", "once\n  only"), failed(2), failed(3), retried(4)]
    lines = said(ended(*records))
    assert (
        lines[0]
        == "airports SUCCEEDED in 3.5 s: 10 child executions, 1 succeeded, 3 failed, 6 never started, 1 retried"
    )
    assert lines[1:5] == [
        "",
        "Most frequent errors",
        "    2 × Boom  for example airports-2: why",
        "    1 × Rare  for example airports-1: once only",
    ]


def test_of_many_errors_five_are_shown() -> None:
    lines = said(ended(*(failed(child, f"Error{child}") for child in range(8))))
    assert [line for line in lines if "×" in line][-1].startswith("    1 × Error4")
    assert "        and 3 more" in lines


def test_a_run_that_failed_says_why() -> None:
    failure = Failure(StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, TOLERANCE_CAUSE)
    lines = said(ended(failed(0), failure=failure))
    assert lines[0].startswith("airports FAILED in 3.5 s: ")
    told = f"States.ExceedToleratedFailureThreshold: {TOLERANCE_CAUSE} (1 of 10 items failed, most with Boom: why"
    assert lines[1].startswith(told)


def test_a_run_that_was_aborted() -> None:
    at = snapshot(*succeeded(0), Verdict(RunStatus.ABORTED, 102.0, reason="Aborted"), Exported(103.5, 10), abort=True)
    assert said(at)[0] == "airports ABORTED in 3.5 s: 10 child executions, 1 succeeded, 9 never started"


def test_a_redrive_tells_its_number_its_own_time_and_all_files() -> None:
    again = Outcome(2, 2, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1"))
    manifest = "p/u-1/Redrive-2/manifest.json"
    end = [Verdict(RunStatus.SUCCEEDED, 212.0), Exported(212.5, 10, manifest=manifest)]
    round_1: list[Record] = [Redriven(1, 110.0, AGAIN), Verdict(RunStatus.FAILED, 112.0), Exported(113.0, 10)]
    at = snapshot(*ENDED, *round_1, Redriven(2, 210.0, AGAIN), again, *end, resultWriter=WRITER, redrives=2)
    names = ("SUCCEEDED_0.json", "Redrive-1/SUCCEEDED_0.json", "Redrive-2/SUCCEEDED_0.json")
    files = {
        "FAILED": [{"Key": "p/u-1/Redrive-2/FAILED_0.json", "Size": 814}],
        "SUCCEEDED": [{"Key": f"p/u-1/{name}", "Size": 2} for name in names],
    }
    lines = said(at, {"ResultFiles": files})
    assert lines[0].startswith("airports SUCCEEDED in 2.5 s (redrive 2): 10 child executions, 3 succeeded, 1 failed")
    assert lines[lines.index("Results  out/results/p/u-1/Redrive-2") + 1 :] == [
        "         FAILED_0.json                     814 B",
        "         ../SUCCEEDED_0.json                 2 B",
        "         ../Redrive-1/SUCCEEDED_0.json       2 B",
        "         SUCCEEDED_0.json                    2 B",
        "         manifest.json",
        "         to look at one:  python3 -m json.tool out/results/p/u-1/Redrive-2/FAILED_0.json",
        "State    runs/1",
    ]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        pytest.param({"redrives": 1}, "Redrive  none, because nothing is left that it would run again", id="nothing"),
        pytest.param({"redrives": 1, "abort": True}, "Redrive  none, because abort is true", id="aborted for good"),
    ],
)
def test_a_redrive_that_was_wanted_and_not_made_is_told(fields: dict[str, object], line: str) -> None:
    assert line in said(ended(*succeeded(*range(10)), **fields))  # type: ignore[arg-type]
    assert not any(each.startswith("Redrive") for each in said(ended(*succeeded(*range(10)))))


def test_the_items_are_told_where_a_child_has_several() -> None:
    at = msgspec.structs.replace(ended(*succeeded(*range(10))), plan=PlanView(10, 95, PlanSeal(95, 10, 1)))
    assert said(at)[0] == "airports SUCCEEDED in 3.5 s: 10 child executions for 95 items, 10 succeeded"


def test_result_files_are_listed_with_a_command_to_look_at_them() -> None:
    files = {
        "FAILED": [{"Key": "p/u-1/FAILED_0.json", "Size": 814}],
        "PENDING": [],
        "SUCCEEDED": [{"Key": "p/u-1/SUCCEEDED_0.json", "Size": 1_234_567}],
    }
    at = ended(*succeeded(0), manifest="p/u-1/manifest.json", resultWriter=WRITER)
    assert said(at, {"ResultFiles": files})[2:] == [
        "Results  out/results/p/u-1",
        "         FAILED_0.json         814 B",
        "         SUCCEEDED_0.json     1.2 MB",
        "         manifest.json",
        "         to look at one:  python3 -m json.tool out/results/p/u-1/FAILED_0.json",
        "State    runs/1",
    ]
    assert said(at, {"ResultFiles": files}, "s3://results")[2] == "Results  s3://results/p/u-1"
    assert not any("json.tool" in line for line in said(at, {"ResultFiles": files}, "s3://results"))


@pytest.mark.parametrize(
    ("names", "command"),
    [
        pytest.param(["SUCCEEDED_0.jsonl"], "--json-lines out/results/p/SUCCEEDED_0.jsonl", id="JSON Lines"),
        pytest.param(
            ["SUCCEEDED_0.parquet", "PENDING_0.json"], "out/results/p/PENDING_0.json", id="Parquet beside JSON"
        ),
        pytest.param(["SUCCEEDED_0.parquet"], None, id="Parquet alone"),
    ],
)
def test_the_command_fits_the_form_of_the_file(names: list[str], command: str | None) -> None:
    files = {name.partition("_")[0]: [{"Key": f"p/{name}", "Size": 1}] for name in names}
    lines = said(ended(*succeeded(0), manifest="p/manifest.json", resultWriter=WRITER), {"ResultFiles": files})
    shown = [line.partition("json.tool ")[2] for line in lines if "json.tool" in line]
    assert shown == ([] if command is None else [command])


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000_000, "2.5 GB")])
def test_sizes(count: int, words: str) -> None:
    assert summary.size(count) == words
