"""The rows about runs: is something failing, and which run stands where.

Rule 1: all follows the variable namespace, and what is asked of single runs the variable run as well. Only the number
        of alerts follows neither: some alerts have no namespace.
"""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import (
    GREEN,
    ORANGE,
    RED,
    Column,
    Panel,
    Query,
    coloured,
    gauges,
    lines,
    lines_of,
    number,
)
from tools.dashboard.queries import (
    A_RUN,
    RUN,
    SHARE_DONE,
    SLOTS_IN_USE,
    SLOTS_OVER_TIME,
    SPACE,
    TIME_LEFT,
    WAITING,
    children,
    items,
    since,
    whole,
    within,
)

STATES: Final = {
    "succeeded": GREEN,
    "failed": RED,
    "timed_out": ORANGE,
    "aborted": "purple",
    "running": "blue",
    "pending_redrive": "light-blue",
    "pending": "gray",
}
"""Colours, in the order in which they are stacked."""


def open_runs() -> list[Panel]:
    """At one glance: is something going on, and does it go well."""
    good = within("maprun_executions_succeeded_total")
    bad = f"{within('maprun_executions_failed_total')} + {within('maprun_executions_timed_out_total')}"
    return [
        number(
            "Alerts firing",
            "none",
            "MapRun's alerts that fire now, as this data source knows them. Each alert's runbook says what to do "
            "first.",
            'count(ALERTS{alertname=~"MapRun.+", alertstate="firing"}) or vector(0)',
            ((None, GREEN), (1, RED)),
            width=2,
        ),
        number(
            "Open runs",
            "none",
            "Map runs that the operator drives now. 0 although runs are wanted: look at the operator's health below.",
            f"sum(maprun_map_runs_open{{{SPACE}}})",
            width=2,
        ),
        number(
            "Runs waiting",
            "none",
            "Map runs that nothing drives until somebody mends something outside: a Secret that is missing, a store "
            "that is away. `kubectl describe maprun` says what.",
            f"sum(maprun_map_runs_waiting{{{SPACE}}}) or vector(0)",
            ((None, GREEN), (1, ORANGE)),
            width=2,
        ),
        number(
            "Runs failed",
            "none",
            "Map runs that ended FAILED in the time range: more children failed than the spec tolerates, or it is "
            "wrong.",
            whole(within("maprun_map_runs_finished_total", f'{SPACE}, status="failed"')),
            ((None, GREEN), (0.5, RED)),
            now=False,
        ),
        number(
            "Children running",
            "none",
            "Child executions with a live attempt. 0 next to a backlog: nothing starts; see refused creates below.",
            f"sum(maprun_executions_running{{{SPACE}}})",
        ),
        number(
            "Children waiting",
            "short",
            "Planned children without a slot. Falling is good; it rises while datasets are read and runs begin.",
            f"sum(maprun_backlog{{{SPACE}}})",
        ),
        number("Succeeded", "short", "Children that ended SUCCEEDED in the time range.", whole(good), now=False),
        number(
            "Failed",
            "short",
            "Children that ended FAILED or TIMED_OUT in the time range, their retries used up.",
            whole(bad),
            ((None, GREEN), (0.5, ORANGE)),
            now=False,
        ),
        number(
            "Success share",
            "percentunit",
            "Share of the children ended in the time range that succeeded. Compare it with what the runs tolerate.",
            f"{good} / ({good} + {bad})",
            ((None, RED), (0.9, ORANGE), (0.99, GREEN)),
            now=False,
        ),
    ]


def progress() -> list[Panel]:
    """Which run, how far, how long still."""
    columns = (
        Column("Items", "short", items()),
        Column("Done", "percentunit", SHARE_DONE, bar=True),
        Column("Waiting", "short", children(WAITING)),
        Column("Running", "short", children("running")),
        Column("Failed", "short", children("failed|timed_out")),
        Column("Slots in use", "percentunit", SLOTS_IN_USE, bar=True),
        Column("Time left", "s", TIME_LEFT),
        Column("Last progress", "s", since("max", "last_progress_timestamp_seconds")),
        Column("Age", "s", since("min", "start_time_seconds")),
    )
    return [
        lines_of(
            "Live runs",
            "One line a live run. Stuck is: waiting children, free slots, last progress long ago. Done counts items "
            "known so far, so it can fall while the dataset is read. No time left is shown for a run that stands "
            "still.",
            {"namespace": "Namespace", "name": "Run"},
            columns,
        ),
        gauges(
            "Share done",
            "percentunit",
            "Items that ended, whatever the end, of those known so far.",
            Query(SHARE_DONE, A_RUN),
            most=1,
            steps=((None, "blue"), (1, GREEN)),
            width=6,
        ),
        coloured(
            lines(
                "Items by state",
                "short",
                "Items of the chosen runs. Running is the band between ended and waiting: thin although much waits "
                "means few slots or none to be had. A run's items leave the picture when it ends.",
                *(Query(f'sum(maprun_items{{{RUN}, state="{state}"}})', state) for state in STATES),
                width=6,
                stacked=True,
            ),
            STATES,
        ),
        lines(
            "Slots in use",
            "percentunit",
            "Running children of the most allowed at once, on average. Below 100 % while children wait: quota, "
            "throttling, or retries that wait for their time.",
            Query(SLOTS_OVER_TIME, A_RUN),
            width=6,
        ),
        lines(
            "Time left",
            "s",
            "Until the known items are done, at the speed of the last ten minutes. Rising: the run slows down, or "
            "its dataset is still being read.",
            Query(TIME_LEFT, A_RUN),
            width=6,
        ),
    ]
