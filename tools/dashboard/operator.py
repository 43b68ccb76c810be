"""The rows about the operator itself: is it there, what broke in it, and what holds it up.

Rule 1: nothing here follows the variables namespace and run: one operator drives them all, and others stand by.
"""

from __future__ import annotations

from tools.dashboard.panels import GREEN, ORANGE, RED, Panel, Query, lines, number, word
from tools.dashboard.queries import LEADER, OPERATOR, quantile, rate, seen, total, whole, within


def state() -> list[Panel]:
    """Whether the operator is there, and what broke in it, at one glance."""
    bad = ((None, GREEN), (0.5, RED))
    normal = 'code!~"2..|304|404|412"'
    return [
        word(
            "Version",
            "The operators that run. Two for long: two releases in one cluster.",
            Query("count by (version) (maprun_build_info)", "{{version}}"),
        ),
        word(
            "Leader",
            "Which operator leads; the others stand by. Nobody for minutes: see the Lease, and what holds it.",
            Query("maprun_leader == 1", "{{instance}}"),
        ),
        number(
            "Leader changes",
            "none",
            "Times that an operator began to lead, in the time range: updates and drains, or crashes.",
            whole(within("maprun_leader_transitions_total", "")),
            now=False,
        ),
        number(
            "Up for",
            "s",
            "Since the youngest operator started. Short again and again: it is being restarted; see its pod.",
            f"min((time() - process_start_time_seconds) {OPERATOR})",
        ),
        number(
            "Engines restarted",
            "none",
            "Runs whose engine broke and was begun again. Nothing is lost; the log says why.",
            whole(within("maprun_run_restarts_total", "")),
            bad,
            now=False,
        ),
        number(
            "Watches broken",
            "none",
            "Watches of Jobs or pods that broke and were begun again, in the time range. "
            "A few with each restart of the API server are normal.",
            whole(within("maprun_watch_restarts_total", "")),
            ((None, GREEN), (10, ORANGE)),
            now=False,
        ),
        number(
            "Journal errors",
            "none",
            "Failed tries to write a journal. While they last no outcome counts and runs wait.",
            whole(within("maprun_journal_errors_total", "")),
            bad,
            now=False,
        ),
        number(
            "S3 errors",
            "none",
            "Answers of S3 other than success and those that belong to normal work (404, 412).",
            whole(within("maprun_s3_requests_total", normal)),
            bad,
            now=False,
        ),
    ]


def work() -> list[Panel]:
    """What the operator does all the time, and what slows it."""
    return [*_process(), *_cluster(), *_storage()]


def _process() -> list[Panel]:
    """The process itself."""
    return [
        lines(
            "Processor",
            "percentunit",
            "Of one core; the operator works on one. Near 100 % everything gets slower, long before anything breaks.",
            Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {OPERATOR}", "{{instance}}"),
        ),
        lines(
            "Memory",
            "bytes",
            "Resident memory. It grows with live runs and their open children, not with items; compare with the limit.",
            Query(f"process_resident_memory_bytes {OPERATOR}", "{{instance}}"),
        ),
        lines(
            "Event loop lag",
            "s",
            "How late the operator's loop comes to work that is due. Above a second, probes and watches suffer.",
            *(Query(quantile(q, "maprun_event_loop_lag_seconds"), f"{q * 100:.0f} %") for q in (0.5, 0.99)),
        ),
    ]


def _cluster() -> list[Panel]:
    """What it asks of the API server, and what waits inside."""
    return [
        lines(
            "API requests",
            "reqps",
            "Requests to the API server. 429: it asks for less; 403: a right or a quota; 5xx and none: it has trouble.",
            Query(seen("maprun_api_requests_total", "verb, code"), "{{verb}} {{code}}"),
        ),
        lines(
            "API latency, 99 %",
            "s",
            "By verb, watches left out. Writes above two seconds make the operator write more slowly.",
            Query(quantile(0.99, "maprun_api_request_duration_seconds", "le, verb"), "{{verb}}"),
        ),
        lines(
            "Write budget",
            "none",
            "The bound that the operator keeps for its writes a second, and the writes that wait for their turn. A "
            "falling bound with many waiting: the API server is what limits the runs.",
            Query(f"sum(maprun_api_write_rate {LEADER})", "bound, writes a second"),
            Query(total("maprun_api_write_wait_seconds_total"), "waiting on average"),
        ),
        lines(
            "Queues",
            "short",
            "What waits inside the operator: writes to the API server, records for a journal. Records that pile up: "
            "the state store is slow or away.",
            Query("sum by (queue) (maprun_queue_depth)", "{{queue}}"),
        ),
    ]


def _storage() -> list[Panel]:
    """What it writes and reads; at last, what was begun again."""
    return [
        lines(
            "Journal flush",
            "s",
            "Time until a journal segment is durable; outcomes wait for it. Above a second: look at the state store.",
            *(Query(quantile(q, "maprun_journal_flush_seconds"), f"{q * 100:.0f} %") for q in (0.5, 0.99)),
        ),
        lines(
            "Journal records and errors",
            "cps",
            "Records a second that became durable, and failed tries. Errors without records: the store is away.",
            Query(total("maprun_journal_records_total"), "records"),
            Query(total("maprun_journal_errors_total"), "failed tries"),
        ),
        lines(
            "S3 requests",
            "reqps",
            "By operation and answer. 403: the operator's or a run's keys; 503: S3 asks for less; none: no answer.",
            Query(seen("maprun_s3_requests_total", "operation, code"), "{{operation}} {{code}}"),
        ),
        lines(
            "S3 latency, 99 %",
            "s",
            "By operation. Slow writes delay outcomes, slow reads delay the start of runs.",
            Query(quantile(0.99, "maprun_s3_request_duration_seconds", "le, operation"), "{{operation}}"),
        ),
        lines(
            "Restarts inside",
            "cps",
            "Watches begun again and engines started again, a second. Steady ones: the API server or a defect; the "
            "log says.",
            Query(rate("maprun_watch_restarts_total", "resource", ""), "watch of {{resource}}"),
            Query(total("maprun_run_restarts_total"), "engine"),
        ),
    ]
