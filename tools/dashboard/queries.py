"""PromQL of the dashboard. The names of metrics are docs/metrics.md's.

Rule 1: runs are chosen by the variables namespace and run. Counters know no run: they follow the namespace.
Rule 2: every sum drops the labels of the scraped pod, so that a restart of the operator does not split a line.
"""

from __future__ import annotations

from typing import Final

SPACE: Final = 'namespace=~"$namespace"'
RUN: Final = f'{SPACE}, name=~"$run"'
BY_RUN: Final = "sum by (namespace, name)"
A_RUN: Final = "{{namespace}}/{{name}}"
ENDED: Final = 'state=~"succeeded|failed|timed_out|aborted"'
OPERATOR: Final = "and on (job, instance) maprun_build_info"
"""Keeps of `process_…`, which every program has, the operator's own."""
LEADER: Final = "and on (job, instance) (maprun_leader == 1)"
"""Keeps of what each operator tells that of the one which leads."""
WAITING: Final = "pending|pending_redrive"


def rate(metric: str, by: str, matchers: str = SPACE) -> str:
    """Events a second, added up over `by`."""
    chosen = f"{{{matchers}}}" if matchers else ""
    return f"sum by ({by}) (rate({metric}{chosen}[$__rate_interval]))"


def total(metric: str) -> str:
    """Events a second, of everything."""
    return f"sum(rate({metric}[$__rate_interval]))"


def seen(metric: str, by: str) -> str:
    """Events a second of what is counted from the start on, but of that which happens at all."""
    return f"{rate(metric, by, '')} > 0"


def within(metric: str, matchers: str = SPACE) -> str:
    """Events in the time range of the dashboard."""
    chosen = f"{{{matchers}}}" if matchers else ""
    return f"sum(increase({metric}{chosen}[$__range]))"


def whole(number: str) -> str:
    """The nearest whole number: `increase` guesses what lies beyond the first and the last scrape."""
    return f"round({number})"


def quantile(share: float, histogram: str, by: str = "le", matchers: str = "") -> str:
    """A quantile of a histogram, in its unit; nothing where nothing was counted."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', by, matchers)}) >= 0"


def items(state: str = "") -> str:
    """Items of the chosen runs, one series a run; `state` is a matcher."""
    return f"{BY_RUN} (maprun_items{{{', '.join(filter(None, (RUN, state)))}}})"


def children(state: str) -> str:
    """Children of the chosen runs in a state, one series a run."""
    return f'{BY_RUN} (maprun_run_executions{{{RUN}, state=~"{state}"}})'


def speed(window: str) -> str:
    """Items a second that ended, one series a run. The counts are gauges that outlive the operator, so no `rate`."""
    return f"{BY_RUN} (deriv(maprun_items{{{RUN}, {ENDED}}}[{window}]))"


def since(which: str, metric: str) -> str:
    """Seconds since the time that a metric of each run tells, one series a run; `which` is max or min."""
    return f"time() - {which} by (namespace, name) (maprun_run_{metric}{{{RUN}}})"


SHARE_DONE: Final = f"{items(ENDED)} / {items()}"
SLOTS: Final = f"{BY_RUN} (maprun_run_concurrency_limit{{{RUN}}})"
SLOTS_IN_USE: Final = f"{children('running')} / {SLOTS}"
AVERAGE: Final = f'avg_over_time(maprun_run_executions{{{RUN}, state="running"}}[$__rate_interval])'
SLOTS_OVER_TIME: Final = f"{BY_RUN} ({AVERAGE}) / {SLOTS}"
UNFINISHED: Final = items(f'state=~"{WAITING}|running"')
TIME_LEFT: Final = f"{UNFINISHED} / ({speed('10m')} > 0)"
"""Seconds, at the speed of the last ten minutes; nothing for a run that stands still."""
