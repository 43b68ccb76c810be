"""The table of scenarios: what docs/reliability.md shows, and what the tests in this folder try.

Rule 1: a scenario has one row here and at least one test that names it; test_reliability_page.py holds them together.
Rule 2: `long` ones run with `make faults` only, the others in every test run.

`python -m tests.faults.scenarios` prints the page's table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import pytest

T = TypeVar("T", bound=Callable[..., Any])


class Scenario(NamedTuple):
    """One fault: where it strikes, its name, how it is made, and what was seen."""

    area: str
    name: str
    made: str
    seen: str
    long: bool = False


SCENARIOS: Final = (
    Scenario(
        "Operator",
        "SIGKILL behind each numbered step of the engine",
        "a fuse around the engine's ports (tests/faults/fuses.py): 14 lives, each ends behind "
        "another step, from the open journal to the told end",
        "the proof",
    ),
    Scenario(
        "Operator",
        "SIGKILL at 50 random moments of one run",
        "500 items, 50 lives of 0.6 to 2.4 seconds, drawn from a seed",
        "the proof",
        long=True,
    ),
    Scenario(
        "Operator",
        "SIGTERM in a rolling update of two replicas",
        "with a Lease: the next replica becomes ready, the leader gets SIGTERM; three times",
        "each ends with exit code 0; the proof",
        long=True,
    ),
    Scenario(
        "Operator",
        "the operator is out of memory",
        "a cgroup that gives it no page more; twice",
        "the kernel kills it; the proof",
    ),
    Scenario(
        "Operator",
        "the clock jumps a day forward",
        "the clock of its runs, within a life and between two",
        "retries come at once; the proof",
    ),
    Scenario(
        "Operator",
        "the clock is set back a day",
        "the same, backwards",
        "a retry that is due farther off than its retriers can ask for is due at once; the proof",
        long=True,
    ),
    Scenario(
        "API server",
        "the API server is killed and restarted",
        "SIGKILL, twice in one run",
        "watches begin again with a list; the proof",
    ),
    Scenario("API server", "etcd is killed and restarted", "SIGKILL, four seconds away", "the proof", long=True),
    Scenario(
        "API server",
        "the API server answers 429 with Retry-After",
        "to 30 % of the writes of Jobs",
        "the pace slows down and recovers; the proof",
    ),
    Scenario(
        "API server",
        "the API server answers 500 and 503",
        "to 20 % of all requests for our objects",
        "the proof",
        long=True,
    ),
    Scenario(
        "API server",
        "writes to the API server take effect, and their answers are lost",
        "the connection of 30 % of all writes is cut behind the answer",
        "what is there is adopted, nothing is made twice; the proof",
    ),
    Scenario(
        "API server",
        "writes to the API server take effect, and time out",
        "four creates and deletes are not answered",
        "the proof",
        long=True,
    ),
    Scenario(
        "API server",
        "watches are cut",
        "20 watches, each after 30 kB, most in the middle of a line",
        "they go on where they ended; the proof",
    ),
    Scenario(
        "API server",
        "watches fall silent",
        "connections stay, nothing comes any more",
        "given up after 100 seconds (3 in the test); the proof",
        long=True,
    ),
    Scenario("API server", "watches return 410 Gone", "as a status and in the stream", "a new list; the proof"),
    Scenario(
        "API server",
        "the connections to the API server are cut, and refused for a while",
        "toxiproxy, three times four seconds",
        "the proof",
        long=True,
    ),
    Scenario(
        "API server",
        "the connections to the API server fall silent, or are slow",
        "toxiproxy: 150 ms of latency, then four seconds of silence",
        "the proof",
        long=True,
    ),
    Scenario(
        "Cluster",
        "Jobs are deleted by hand",
        "six while the operator looks, six while it is away",
        "a new attempt, no retry is spent; what vanished unseen is made again under its name; the proof",
    ),
    Scenario(
        "Cluster",
        "pods are evicted",
        "by the Eviction API, twice six",
        "the Job makes another pod, no retry is spent; the proof",
        long=True,
    ),
    Scenario(
        "Cluster",
        "a node is deleted",
        "with all that runs on it",
        "the same, when the cluster has collected its pods; the proof",
        long=True,
    ),
    Scenario(
        "Cluster",
        "crashes among real containers",
        "the airports example on a real kubelet, four SIGKILLs; each attempt writes a line into a file",
        "each line once",
    ),
    Scenario(
        "Cluster",
        "a real kubelet evicts pods",
        "by the Eviction API",
        "one line more, of the evicted child and the same attempt; no retry is spent",
    ),
    Scenario("S3", "S3 answers 503 SlowDown", "to 30 % of all requests, state and data", "the proof"),
    Scenario("S3", "S3 answers 500", "to 30 % of all requests", "the proof", long=True),
    Scenario(
        "S3",
        "a conditional write takes effect, and its answer is lost",
        "half of the journal's segments and all of the plan's",
        "the same bytes are there: taken as our own; the proof",
    ),
    Scenario(
        "S3",
        "answers of S3 are cut in mid-body",
        "dataset, plan and journal",
        "reading goes on behind the last byte, or begins again; the proof",
        long=True,
    ),
    Scenario(
        "S3",
        "S3 falls silent, or is slow",
        "toxiproxy: 100 ms of latency, then silence, then refused connections",
        "the journal waits, children go on; the proof",
        long=True,
    ),
    Scenario(
        "S3",
        "credentials expire in mid-run",
        "403 ExpiredToken: to the journal for a while, to the results until the Secret is renewed",
        "the journal waits; the run ends as ResultWriterFailed, and a redrive writes the results; the proof",
    ),
    Scenario(
        "S3",
        "the results' bucket is removed, and comes back",
        "before the results are written",
        "the run ends as ResultWriterFailed, and a redrive writes the results; the proof",
        long=True,
    ),
    Scenario(
        "S3",
        "the disk of the directory store is full",
        "a small tmpfs with ballast",
        "the run says so and waits; the proof once there is room",
    ),
    Scenario(
        "Life of a run",
        "crashes in the middle of a redrive",
        "SIGKILL behind nine steps of it, first before it is durable",
        "the proof, with the merged manifest",
    ),
    Scenario(
        "Life of a run",
        "crashes in the middle of an abort",
        "SIGKILL behind five steps of it",
        "the proof: 15 aborted, 45 pending",
    ),
    Scenario(
        "Life of a run", "crashes while a run is suspended and resumed", "SIGKILL behind two steps of each", "the proof"
    ),
    Scenario(
        "Life of a run",
        "a run is deleted, and no watch tells",
        "the watch of runs falls silent; without a finalizer, as in an install for some namespaces",
        "the next status finds no resource: no Job, pod or state is left",
    ),
)
BY_NAME: Final = {each.name: each for each in SCENARIOS}
tested: set[str] = set()


def scenario(name: str) -> Callable[[T], T]:
    """Mark a test as that of a scenario."""
    long = _known(name).long

    def marked(test: T) -> T:
        return pytest.mark.faults_long(test) if long else test

    return marked


def row(name: str, *values: Any) -> Any:
    """The scenario as one row of a test's table."""
    return pytest.param(*values, id=name, marks=[pytest.mark.faults_long] if _known(name).long else [])


def _known(name: str) -> Scenario:
    tested.add(name)
    return BY_NAME[name]


def table() -> str:
    """The table of docs/reliability.md."""
    rows = [f"| {each.area} | {each.name} | {each.made} | {each.seen} |" for each in SCENARIOS]
    return "\n".join(["| where | fault | how it is made | what was seen |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
