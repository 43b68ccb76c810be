"""The rows about the work of all runs together: how fast it goes, what fails, how long it takes, what it waits for.

Rule 1: all follows the variable namespace, and what is asked of single runs the variable run as well. Refused
        creates and the room of all runs follow neither: they are counted for the operator as a whole.
"""

from __future__ import annotations

from typing import Final

from tools.dashboard.panels import RED, Panel, Query, bars, gauges, heat, lines
from tools.dashboard.queries import A_RUN, RUN, SPACE, children, quantile, rate, speed

ENDS: Final = ("succeeded", "failed", "timed_out")


def throughput() -> list[Panel]:
    """How fast, and how much of the work is repetition."""
    ended = [Query(rate(f"maprun_executions_{end}_total", "namespace"), f"{end} {{{{namespace}}}}") for end in ENDS]
    return [
        lines(
            "Children started and ended",
            "cps",
            "Child executions a second. Started far above ended for long: children hang or take longer than before.",
            Query(rate("maprun_executions_started_total", "namespace"), "started {{namespace}}"),
            *ended,
        ),
        lines(
            "Retries and lost attempts",
            "cps",
            "Attempts a second that must be made again: retries after a failure, and attempts lost with their node "
            "or by eviction, which spend no retry. Many lost ones: look at the nodes.",
            Query(rate("maprun_retries_total", "namespace"), "retries {{namespace}}"),
            Query(rate("maprun_attempts_lost_total", "namespace"), "lost {{namespace}}"),
        ),
        lines(
            "Items ended by run",
            "cps",
            "Items a second that ended. A line at 0 is a run that stands still.",
            Query(speed("$__rate_interval"), A_RUN),
        ),
    ]


def failures() -> list[Panel]:
    """What goes wrong."""
    good, failed, late = (rate(f"maprun_executions_{end}_total", "namespace") for end in ENDS)
    return [
        bars(
            "Failed attempts by error",
            "cps",
            "Attempts a second that failed or timed out, retried ones too. Job.OOMKilled: more memory; "
            "States.Timeout: hanging or a short timeoutSeconds; other names come from the handler.",
            Query(f"{rate('maprun_attempts_failed_total', 'error')} > 0", "{{error}}"),
        ),
        gauges(
            "Failed children of live runs",
            "short",
            "Children that failed for good, by run and error; `kubectl describe maprun` shows a cause and a child "
            "for each.",
            Query(
                f"topk(15, sum by (namespace, name, error) (maprun_run_failures{{{RUN}}}))",
                "{{namespace}}/{{name}} {{error}}",
            ),
            steps=((None, RED),),
        ),
        lines(
            "Success share",
            "percentunit",
            "Of the children that ended, by namespace. A sudden fall in all namespaces is the cluster or a service "
            "that all use; in one it is that work or its last change. A gap: nothing ended.",
            Query(f"{good} / ({good} + {failed} + {late})", "{{namespace}}"),
        ),
    ]


def latency() -> list[Panel]:
    """How long children take, retries included."""
    metric = "maprun_execution_duration_seconds"
    return [
        heat(
            "Children by duration",
            "s",
            "How many children took how long, from the start of the first attempt to the end. Two bands are two "
            "kinds of work or a retry's pause; a band that climbs is work getting slower.",
            f"sum by (le) (increase({metric}_bucket{{{SPACE}}}[$__rate_interval]))",
        ),
        lines(
            "Quantiles of the duration",
            "s",
            "Half of the children, 90 % and 99 % took at most this long. They are read off buckets: rough, but their "
            "movement is true. A high 99 % alone: stragglers, retries, a slow node.",
            *(Query(quantile(q, metric, matchers=SPACE), f"{q * 100:.0f} %") for q in (0.5, 0.9, 0.99)),
            width=12,
        ),
    ]


def capacity() -> list[Panel]:
    """What waits, and what it waits for."""
    return [
        lines(
            "Children waiting",
            "short",
            "Planned children without a slot, also those between two attempts. It should fall once datasets are read.",
            Query(f"sum by (namespace) (maprun_backlog{{{SPACE}}})", "{{namespace}}"),
        ),
        lines(
            "Children running and allowed",
            "short",
            "Running children, and the most that the live runs allow. A wide gap while children wait: something "
            "refuses or slows their creation, or they rest; see below.",
            Query(f"sum by (namespace) (maprun_executions_running{{{SPACE}}})", "running {{namespace}}"),
            Query(f"sum by (namespace) (maprun_run_concurrency_limit{{{SPACE}}})", "allowed {{namespace}}"),
        ),
        lines(
            "Refused creates",
            "cps",
            "Jobs a second that the API server refused for now: too_many_requests is its load, quota a ResourceQuota "
            "that is used up, other is in the operator's log.",
            Query(rate("maprun_throttled_creates_total", "reason", ""), "{{reason}}"),
        ),
        lines(
            "Runs that rest",
            "short",
            "Live runs that start nothing, and rightly: suspended; waiting for their share of a ceiling; or with "
            "nothing left but retries whose time has not come. Much capacity for long: the ceilings are what limits.",
            Query(f"sum by (reason) (maprun_run_resting{{{RUN}}})", "{{reason}}"),
        ),
        lines(
            "Room of all runs",
            "short",
            "Children that count against the operator's ceilings, and the ceilings, where there are any. At a "
            "ceiling while runs rest for capacity: raise it, or let them share.",
            Query("sum(maprun_capacity_children)", "children"),
            Query("max by (scope) (maprun_capacity_ceiling) > 0", "ceiling, {{scope}}"),
        ),
        lines(
            "Redrives",
            "short",
            "Children that did not succeed and wait for their turn in a redrive, by run, and runs that began a "
            "redrive, by namespace.",
            Query(f"{children('pending_redrive')} and on (namespace, name) (maprun_run_redrives > 0)", A_RUN),
            Query(
                f"sum by (namespace) (increase(maprun_map_runs_redriven_total{{{SPACE}}}[$__rate_interval]))",
                "begun {{namespace}}",
            ),
        ),
    ]
