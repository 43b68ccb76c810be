"""What an attempt came to: rows of Jobs and pods as Kubernetes leaves them, each with its outcome (design §3)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import outcomes, starting
from maprun.core.outcomes import Contract, needs_log, needs_pod, outcome_of, output_of
from maprun.core.resources import JobView, PodView
from maprun.errors import Failure, StatesError
from maprun.model_processing import OutputFrom
from maprun.records import ChildStatus, Outcome

CONTRACT = Contract("main")
LOGS = Contract("main", OutputFrom.LOGS)
LABELS = {"maprun.dev/run-uid": "u", "maprun.dev/child": "4", "maprun.dev/attempt": "2", "maprun.dev/items": "9"}
STARTED, FINISHED = "2026-09-23T22:58:45Z", "2026-09-23T22:58:49Z"

Json = dict[str, Any]


def job(kind: str = "", reason: str = "BackoffLimitExceeded", message: str = "Job has reached the limit") -> JobView:
    condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": FINISHED}
    status = {"conditions": [condition]} if kind else {}
    return msgspec.convert({"metadata": {"name": "run-4-2", "labels": LABELS}, "status": status}, JobView)


def ended(code: int, message: str = "", reason: str = "", name: str = "main") -> Json:
    state = {"exitCode": code, "message": message, "reason": reason, "startedAt": STARTED, "finishedAt": FINISHED}
    return {"name": name, "image": "busybox", "state": {"terminated": state}}


def waiting(reason: str, message: str = "") -> Json:
    return {"name": "main", "image": "busybox:9", "state": {"waiting": {"reason": reason, "message": message}}}


def pod(
    phase: str, *containers: Json, init: tuple[Json, ...] = (), deleted: str | None = None, **status: Any
) -> PodView:
    metadata = {
        "name": "run-4-2-abcde",
        "labels": LABELS,
        "deletionTimestamp": deleted,
        "deletionGracePeriodSeconds": 30,
    }
    every = {"phase": phase, "containerStatuses": list(containers), "initContainerStatuses": list(init), **status}
    return msgspec.convert({"metadata": metadata, "status": every}, PodView)


def disrupted(reason: str) -> list[Json]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]


def told(outcome: Outcome | None) -> tuple[str, str, str]:
    """Status, error and cause."""
    assert outcome is not None
    failure = outcome.failure or Failure("", "")
    return outcome.status.value, failure.error, failure.cause


# Success.

OUTPUTS = [
    pytest.param("", b"null", id="nothing written is null"),
    pytest.param("\n", b"null", id="an empty line is null"),
    pytest.param('{"a": 1}\n', b'{"a": 1}', id="JSON is itself"),
    pytest.param("17", b"17", id="a number is JSON"),
    pytest.param("done", b'"done"', id="other text is a JSON string"),
    pytest.param('{"a": ', b'"{\\"a\\":"', id="broken JSON is text"),
    pytest.param("NaN", b'"NaN"', id="NaN is text: it is not JSON"),
    pytest.param("é\n", '"é"'.encode(), id="text may be any Unicode"),
]


@pytest.mark.parametrize(("message", "output"), OUTPUTS)
def test_the_termination_message_is_the_output(message: str, output: bytes) -> None:
    outcome = outcome_of(job(), pod("Succeeded", ended(0, message)), None, CONTRACT)
    assert outcome is not None
    assert (outcome.child, outcome.attempt, outcome.status) == (4, 2, ChildStatus.SUCCEEDED)
    assert bytes(outcome.output) == output
    assert (outcome.started, outcome.stopped) == (1790204325.0, 1790204329.0)


FULL = [
    pytest.param("[" + "1" * 4093 + "]", 1, True, id="an array that fills the limit is whole"),
    pytest.param("1" * 4096, 1, False, id="a number that fills the limit may have lost its head"),
    pytest.param("x" * 4095, 1, True, id="text just below the limit is whole"),
    pytest.param("x" * 4096, 1, False, id="text that fills the limit may have been cut"),
    pytest.param('2,"b":3}' + " " * 4088, 1, False, id="the tail of an object that was cut"),
    pytest.param("x" * 3072, 4, False, id="four containers have 3 KiB each"),
    pytest.param("x" * 3071, 4, True, id="and less than that is whole"),
    pytest.param("é" * 2048, 1, False, id="the limit counts bytes, not characters"),
]


@pytest.mark.parametrize(("message", "containers", "fits"), FULL)
def test_an_output_that_the_kubelet_may_have_cut_fails_the_child(message: str, containers: int, fits: bool) -> None:
    others = [ended(0, name=f"other{number}") for number in range(containers - 1)]
    outcome = outcome_of(job(), pod("Succeeded", ended(0, message), *others), None, CONTRACT)
    assert outcome is not None
    if fits:
        assert outcome.status is ChildStatus.SUCCEEDED
        return
    status, error, cause = told(outcome)
    assert (status, error) == ("FAILED", StatesError.DATA_LIMIT_EXCEEDED)
    assert "{from: Logs}" in cause


LINES = [
    pytest.param("", b"null", id="no output is null"),
    pytest.param('a\n{"b":2}\n', b'{"b":2}', id="the last line counts"),
    pytest.param("a\n\n", b'"a"', id="empty lines at the end do not"),
    pytest.param("a\r\nb\r\n", b'"b"', id="line ends of Windows too"),
    pytest.param('"' + "x" * 262_142 + '"', b'"' + b"x" * 262_142 + b'"', id="256 KiB fit"),
]


@pytest.mark.parametrize(("log", "output"), LINES)
def test_the_output_may_be_the_last_line_of_the_log(log: str, output: bytes) -> None:
    outcome = outcome_of(job(), pod("Succeeded", ended(0, "not this")), log, LOGS)
    assert outcome is not None
    assert bytes(outcome.output) == output


def test_a_line_above_256_kib_fails_the_child() -> None:
    status, error, _ = told(outcome_of(job(), pod("Succeeded", ended(0)), "x" * 262_145, LOGS))
    assert (status, error) == ("FAILED", StatesError.DATA_LIMIT_EXCEEDED)


def test_the_log_is_needed_only_for_an_output_that_comes_from_it() -> None:
    succeeded = pod("Succeeded", ended(0))
    assert needs_log(succeeded, LOGS)
    assert outcome_of(job(), succeeded, None, LOGS) is None
    assert not needs_log(succeeded, CONTRACT)
    assert not needs_log(pod("Failed", ended(1)), LOGS)
    assert not needs_log(None, LOGS)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_every_json_value_within_the_limit_is_an_output_byte_for_byte(value: Any) -> None:
    text = msgspec.json.encode(value).decode()
    if len(text.encode()) < 4096:
        output = output_of(text, 4096, OutputFrom.TERMINATION_MESSAGE)
        assert isinstance(output, msgspec.Raw)
        assert bytes(output).decode() == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("[" * 256 + "]" * 256, True, id="256 levels"),
        pytest.param("[" * 257 + "]" * 257, False, id="257 levels"),
        pytest.param('{"a":' * 300 + "1" + "}" * 300, False, id="300 objects"),
        pytest.param("[" + "[]," * 600 + "[]]", True, id="many side by side"),
        pytest.param('["' + "[" * 900 + '\\"[{"]', True, id="brackets inside a string"),
    ],
)
def test_an_output_that_is_nested_too_deeply_is_a_string(text: str, kept: bool) -> None:
    output = output_of(text, 4096, OutputFrom.TERMINATION_MESSAGE)
    assert isinstance(output, msgspec.Raw)
    assert bytes(output) == (text.encode() if kept else msgspec.json.encode(text))


@given(st.text())
def test_every_output_is_json(text: str) -> None:
    output = output_of(text, 4096, OutputFrom.TERMINATION_MESSAGE)
    if isinstance(output, msgspec.Raw):
        msgspec.json.decode(output)


# Still at work.

OPEN = [
    pytest.param(job(), None, id="no pod yet"),
    pytest.param(job(), pod("Pending", waiting("ContainerCreating")), id="a pod that starts"),
    pytest.param(job(), pod("Failed", ended(1)), id="a failed pod whose Job has not given up: it may be replaced"),
    pytest.param(job("FailureTarget"), pod("Failed", ended(1)), id="a Job that is about to fail"),
    pytest.param(job("Suspended"), None, id="a suspended Job"),
    pytest.param(job(), pod("Pending", waiting("ImagePullBackOff")), id="an image that cannot be pulled: time decides"),
]


@pytest.mark.parametrize(("made", "its_pod"), OPEN)
def test_what_is_not_decided_has_no_outcome(made: JobView, its_pod: PodView | None) -> None:
    assert outcome_of(made, its_pod, None, CONTRACT) is None
    assert not needs_pod(made, its_pod)


# Failure.

FAILED, LOST, TIMED_OUT = "FAILED", "LOST", "TIMED_OUT"
TASK, OOM, START, GONE = (
    StatesError.TASK_FAILED,
    StatesError.JOB_OOM_KILLED,
    StatesError.JOB_START_FAILED,
    StatesError.JOB_LOST,
)
FAILURES = [
    pytest.param(pod("Failed", ended(3)), FAILED, TASK, "Container main ended with exit code 3.", id="an exit code"),
    pytest.param(
        pod("Failed", ended(1, "Traceback\nboom\n", "Error")),
        *(FAILED, TASK, "Container main ended with exit code 1: Traceback\nboom"),
        id="an exit code with the tail of the log",
    ),
    pytest.param(
        pod("Failed", ended(1, '{"errorType": "NoIATA", "errorMessage": "no code"}')),
        *(FAILED, "NoIATA", "no code"),
        id="an error that the child names itself",
    ),
    pytest.param(
        pod("Failed", ended(1, '{"errorType": "NoIATA"}')), FAILED, "NoIATA", "", id="an error without a message"
    ),
    pytest.param(
        pod("Failed", ended(1, '{"errorType": 5}')),
        *(FAILED, TASK, 'Container main ended with exit code 1: {"errorType": 5}'),
        id="an error that is not as agreed",
    ),
    pytest.param(pod("Failed", ended(137, "", "OOMKilled")), FAILED, OOM, "memory", id="out of memory"),
    pytest.param(
        pod("Failed", ended(128, 'exec: "nope": not found', "StartError")), FAILED, START, "nope", id="no such program"
    ),
    pytest.param(
        pod("Failed", waiting("PodInitializing"), init=(ended(2, "no disk", name="setup"),)),
        *(FAILED, TASK, "Container setup ended with exit code 2: no disk"),
        id="an init container",
    ),
    pytest.param(
        pod("Failed", ended(5, name="helper"), ended(3)),
        FAILED,
        TASK,
        "Container main ended with exit code 3.",
        id="the main container before others",
    ),
    pytest.param(
        pod("Failed", ended(5, name="helper"), ended(0)),
        FAILED,
        TASK,
        "Container helper ended with exit code 5.",
        id="another container",
    ),
    pytest.param(
        pod("Failed", ended(137), reason="Evicted", message="exceeds the total limit of containers 1Gi"),
        *(FAILED, TASK, "The pod was evicted: exceeds the total limit of containers 1Gi"),
        id="evicted for a limit of its own",
    ),
    pytest.param(
        pod("Failed", ended(137), reason="DeadlineExceeded"),
        TIMED_OUT,
        StatesError.TIMEOUT,
        "",
        id="the attempt's deadline",
    ),
    pytest.param(
        pod("Failed", ended(137), reason="Evicted", conditions=disrupted("TerminationByKubelet")),
        LOST,
        GONE,
        "TerminationByKubelet",
        id="evicted",
    ),
    pytest.param(
        pod("Failed", ended(143), conditions=disrupted("PreemptionByScheduler")),
        LOST,
        GONE,
        "Preemption",
        id="preempted",
    ),
    pytest.param(
        pod("Failed", ended(143), conditions=disrupted("DeletionByTaintManager")),
        LOST,
        GONE,
        "Taint",
        id="its node is gone",
    ),
    pytest.param(
        pod("Failed", reason="OutOfcpu", message="Node didn't have enough"),
        LOST,
        GONE,
        "OutOfcpu",
        id="a node that did not take the pod",
    ),
    pytest.param(
        pod("Failed", ended(137, "", "ContainerStatusUnknown")),
        LOST,
        GONE,
        "vanished",
        id="a container that was forgotten",
    ),
    pytest.param(pod("Failed", ended(255, "", "Unknown")), LOST, GONE, "vanished", id="a node that restarted"),
    pytest.param(
        pod("Failed", ended(143), deleted="2026-09-23T22:59:18Z"),
        LOST,
        GONE,
        "deleted",
        id="a pod that was deleted a second before it ended",
    ),
    pytest.param(
        pod("Failed", ended(1), deleted="2026-09-23T22:59:30Z"),
        FAILED,
        TASK,
        "exit code 1",
        id="a pod that was deleted after it ended",
    ),
    pytest.param(None, LOST, GONE, "BackoffLimitExceeded", id="a pod that is gone: nobody knows what it did"),
]


@pytest.mark.parametrize(("its_pod", "status", "error", "cause"), FAILURES)
def test_why_a_job_failed(its_pod: PodView | None, status: str, error: str, cause: str) -> None:
    found = told(outcome_of(job("Failed"), its_pod, None, CONTRACT))
    assert found[:2] == (status, error)
    assert cause in found[2]


@pytest.mark.parametrize(
    "its_pod", [None, pod("Running"), pod("Failed", ended(137))], ids=["no pod", "it runs", "it ended"]
)
def test_a_jobs_own_deadline_is_a_timeout(its_pod: PodView | None) -> None:
    made = job("Failed", "DeadlineExceeded")
    assert told(outcome_of(made, its_pod, None, CONTRACT)) == (TIMED_OUT, StatesError.TIMEOUT, "")
    assert not needs_pod(made, its_pod)


def test_a_job_that_completed_without_a_trace_of_its_output_is_lost() -> None:
    assert told(outcome_of(job("Complete"), None, None, CONTRACT))[:2] == (LOST, GONE)
    assert told(outcome_of(job("Complete"), pod("Succeeded", ended(0, name="other")), None, CONTRACT))[:2] == (
        LOST,
        GONE,
    )


def test_before_an_ended_job_is_called_lost_its_pod_is_asked_for() -> None:
    assert needs_pod(job("Complete"), None)
    assert needs_pod(job("Failed"), pod("Running"))
    assert not needs_pod(job("Failed"), pod("Failed", ended(1)))
    assert not needs_pod(job(), None)


def test_error_and_cause_stay_within_the_limits_of_aws() -> None:
    message = msgspec.json.encode({"errorType": "e" * 300, "errorMessage": "c" * 40_000}).decode()
    _, error, cause = told(outcome_of(job("Failed"), pod("Failed", ended(1, message)), None, CONTRACT))
    assert (len(error), len(cause)) == (256, 32_768)


# Pods that do not start.

STARTS = [
    pytest.param(pod("Pending", waiting("ContainerCreating")), None, "", id="it starts"),
    pytest.param(
        pod("Pending", waiting("InvalidImageName", "bad")),
        (True, False),
        "image busybox:9",
        id="no image can have this name",
    ),
    pytest.param(
        pod("Pending", waiting("ErrImagePull", "no such host")),
        (False, True),
        "no such host",
        id="the image cannot be pulled",
    ),
    pytest.param(
        pod("Pending", waiting("CreateContainerConfigError", 'configmap "c" not found')),
        (False, False),
        'configmap "c"',
        id="a ConfigMap is missing",
    ),
    pytest.param(
        pod("Pending", waiting("PodInitializing"), init=(waiting("ImagePullBackOff", "m"),)),
        (False, True),
        "m",
        id="an init container's image",
    ),
    pytest.param(
        pod("Running", {"name": "main", "state": {"running": {"startedAt": STARTED}}}), None, "", id="it runs"
    ),
]


@pytest.mark.parametrize(("its_pod", "trouble", "why"), STARTS)
def test_why_a_container_cannot_start(its_pod: PodView, trouble: tuple[bool, bool] | None, why: str) -> None:
    found = starting.start_trouble(its_pod)
    assert (None if found is None else (found.hopeless, found.pull)) == trouble
    assert why in starting.held_up(its_pod)
    assert bool(starting.held_up(its_pod)) is bool(trouble)


def test_a_pod_without_a_node_waits() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    assert (
        starting.held_up(pod("Pending", conditions=[condition]))
        == "Pod run-4-2-abcde waits for a node: 0/3 nodes are available"
    )


WORKS = [
    pytest.param(waiting("ContainerCreating"), False, id="not before it starts"),
    pytest.param({"name": "main", "state": {"running": {"startedAt": STARTED}}}, True, id="when it runs"),
    pytest.param(ended(1), True, id="when it ran"),
]


@pytest.mark.parametrize(("container", "works"), WORKS)
def test_an_image_is_known_to_work_once_it_ran(container: Json, works: bool) -> None:
    assert starting.image_works(pod("Pending", container)) is works


NO_START = [
    pytest.param("ImagePullBackOff", False, FAILED, START, id="an image that never ran fails the attempt"),
    pytest.param("ImagePullBackOff", True, LOST, GONE, id="an image that ran elsewhere is this node's trouble"),
    pytest.param("CreateContainerConfigError", True, FAILED, START, id="a missing ConfigMap is missing everywhere"),
]


@pytest.mark.parametrize(("reason", "works", "status", "error"), NO_START)
def test_what_becomes_of_an_attempt_that_cannot_start(reason: str, works: bool, status: str, error: str) -> None:
    stuck = pod("Pending", waiting(reason, "m"))
    trouble = starting.start_trouble(stuck)
    assert trouble is not None
    outcome = starting.start_failed(job(), stuck, CONTRACT, trouble, works)
    assert told(outcome)[:2] == (status, error)
    assert outcome.started is None


def test_a_lost_attempt_says_why() -> None:
    assert told(outcomes.lost(job(), None, CONTRACT, "gone")) == (LOST, GONE, "gone")
