"""What an attempt came to, read from its Job and its pod: the child contract of design §3 as an ordered list of
checks.

Rule 1: pure; times are seconds since the epoch.
Rule 2: only what nothing can take back is an outcome: a pod in phase Succeeded, or a Job with a terminal condition. A
pod that failed is judged when its Job has given up, because the Job replaces a pod that was disrupted.
Rule 3: when the output or the error can no longer be known, the attempt is LOST and runs again; nothing is guessed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from maprun.core import nesting
from maprun.core.resources import Condition, JobView, PodView, Terminated
from maprun.errors import Failure, StatesError
from maprun.fields import PAYLOAD_LIMIT
from maprun.model_processing import OutputFrom
from maprun.records import ChildStatus, Outcome

MESSAGE_LIMIT: Final = 4096  # bytes of a container's termination message; the kubelet keeps the tail of a longer one
POD_MESSAGE_LIMIT: Final = 12 * 1024  # bytes for all containers of a pod; each gets an equal share, the rest is cut
CAUSE_LIMIT: Final = 32_768  # characters, aws-distributed-map.md §6.5
ERROR_LIMIT: Final = 256

CANNOT_START: Final = frozenset({"StartError", "ContainerCannotRun"})
VANISHED: Final = frozenset({"ContainerStatusUnknown", "Unknown"})  # the node restarted, or forgot the container


class Contract(msgspec.Struct, frozen=True):
    """What of the spec decides how an attempt is read: the container that counts, and where its output comes from."""

    main: str
    output_from: OutputFrom = OutputFrom.TERMINATION_MESSAGE


def needs_log(pod: PodView | None, contract: Contract) -> bool:
    """True when `outcome_of` needs the log of the main container: it succeeded, and its output is the last line of
    it.
    """
    return contract.output_from is OutputFrom.LOGS and pod is not None and pod.status.phase == "Succeeded"


def needs_pod(job: JobView, pod: PodView | None) -> bool:
    """True when the Job has ended and how its pod ended is not known, so that `outcome_of` would have to call it
    lost.
    """
    failed = job.condition("Failed")
    over = job.has("Complete") or (failed is not None and failed.reason != "DeadlineExceeded")
    return over and (pod is None or not pod.finished)


def outcome_of(job: JobView, pod: PodView | None, log: str | None, contract: Contract) -> Outcome | None:
    """The outcome of an attempt; None while it is not decided. `log`: the end of the main container's log, if needed.

    `pod` is the Job's pod, the last one if it was replaced; None when there is none (any more). `retry` is never set.
    """
    if pod is not None and pod.status.phase == "Succeeded":
        return _succeeded(job, pod, log, contract)
    if job.has("Complete"):
        return lost(job, pod, contract, "The Job completed, but its pod was removed before its output was read.")
    failed = job.condition("Failed")
    if failed is None:
        return None
    status, failure = _failed(failed, pod, contract)
    return ended(job, pod, contract, status, failure)


def lost(job: JobView, pod: PodView | None, contract: Contract, cause: str) -> Outcome:
    """The outcome of an attempt that the infrastructure lost."""
    return ended(job, pod, contract, ChildStatus.LOST, Failure(StatesError.JOB_LOST, cause))


def ended(
    job: JobView, pod: PodView | None, contract: Contract, status: ChildStatus, failure: Failure | None
) -> Outcome:
    """An outcome with the times of the main container, or of the Job's end where there are none."""
    attempt = job.attempt
    end, running = (pod.terminated(contract.main), pod.running(contract.main)) if pod else (None, None)
    over = job.condition("Failed") or job.condition("Complete")
    started = seconds(end.startedAt if end else running.startedAt if running else None)
    stopped = seconds(end.finishedAt if end else over.lastTransitionTime if over else None)
    return Outcome(attempt.child, attempt.number, status, failure=failure, started=started, stopped=stopped)


def output_of(text: str, limit: int, source: OutputFrom) -> msgspec.Raw | Failure:
    """A child's output as JSON: nothing is null, JSON is itself, other text a JSON string; too much is an error.

    The kubelet cuts a long message without a word, so one that fills the limit is believed only if it is a whole object
    or array, which no part of a longer JSON text can be.
    """
    size = len(text.encode())
    text = text.strip()
    if not text:
        return msgspec.Raw(b"null")
    whole = _is_json(text)
    cut_perhaps = source is OutputFrom.TERMINATION_MESSAGE and not (whole and text[0] in "[{")
    if size > limit or (size == limit and cut_perhaps):
        return Failure(StatesError.DATA_LIMIT_EXCEEDED, _too_big(limit, source))
    return msgspec.Raw(text.encode() if whole else msgspec.json.encode(text))


def failure_of(name: str, exit_code: int, message: str) -> Failure:
    """Why a container failed by its own doing: the error in its message, else `States.TaskFailed` with what is known.

    Local children (adapters/local.py) are read with the same words.
    """
    told = f"Container {name} ended with exit code {exit_code}"
    return _told(message) or Failure(StatesError.TASK_FAILED, cut(f"{told}: {message}" if message else f"{told}."))


def last_line(log: str) -> str:
    """The last line of a log, without its end; line ends behind it do not count."""
    return log.rstrip("\r\n").rpartition("\n")[2]


def seconds(stamp: str | None) -> float | None:
    """An RFC 3339 time as seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else None


def cut(cause: str) -> str:
    """The cause, within AWS's limit."""
    return cause if len(cause) <= CAUSE_LIMIT else cause[: CAUSE_LIMIT - 1] + "…"


def _succeeded(job: JobView, pod: PodView, log: str | None, contract: Contract) -> Outcome | None:
    end = pod.terminated(contract.main)
    if end is None:
        return lost(job, pod, contract, f"The pod succeeded, but says nothing of its container {contract.main}.")
    if contract.output_from is OutputFrom.LOGS:
        return None if log is None else _with_output(job, pod, contract, last_line(log), PAYLOAD_LIMIT)
    limit = min(MESSAGE_LIMIT, POD_MESSAGE_LIMIT // max(1, pod.containers))
    return _with_output(job, pod, contract, end.message, limit)


def _with_output(job: JobView, pod: PodView, contract: Contract, text: str, limit: int) -> Outcome:
    output = output_of(text, limit, contract.output_from)
    if isinstance(output, Failure):
        return ended(job, pod, contract, ChildStatus.FAILED, output)
    return msgspec.structs.replace(ended(job, pod, contract, ChildStatus.SUCCEEDED, None), output=output)


def _too_big(limit: int, source: OutputFrom) -> str:
    if source is OutputFrom.LOGS:
        where = "write it to the bucket and return where it lies"
        return f"The output, the last line of standard output, is longer than {limit} bytes: {where}."
    advice = f"set itemProcessor.output to {{from: Logs}}, for up to {PAYLOAD_LIMIT} bytes"
    return f"The output does not fit into the termination message of {limit} bytes: {advice}."


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
        nesting.bounded(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _failed(failed: Condition, pod: PodView | None, contract: Contract) -> tuple[ChildStatus, Failure]:
    """Why a Job failed: the first check that applies."""
    if failed.reason == "DeadlineExceeded":
        return ChildStatus.TIMED_OUT, Failure(StatesError.TIMEOUT)
    if pod is None:
        return _lost(
            f"The Job failed ({failed.reason}: {failed.message}), and its pod was removed before the error was read."
        )
    if pod.status.reason == "DeadlineExceeded":
        return ChildStatus.TIMED_OUT, Failure(StatesError.TIMEOUT)
    return _disrupted(pod) or _evicted(pod) or _worked(pod, contract)


def _lost(cause: str) -> tuple[ChildStatus, Failure]:
    return ChildStatus.LOST, Failure(StatesError.JOB_LOST, cut(cause))


def _disrupted(pod: PodView) -> tuple[ChildStatus, Failure] | None:
    """Evicted, preempted, drained, or its node is gone."""
    target = pod.condition("DisruptionTarget")
    if target is None or target.status != "True":
        return None
    return _lost(f"The pod was disrupted: {target.reason}: {target.message}")


def _evicted(pod: PodView) -> tuple[ChildStatus, Failure] | None:
    """Evicted without a disruption: it went over a limit of its own, for instance of local storage."""
    if pod.status.reason != "Evicted":
        return None
    return ChildStatus.FAILED, Failure(StatesError.TASK_FAILED, cut(f"The pod was evicted: {pod.status.message}"))


def _worked(pod: PodView, contract: Contract) -> tuple[ChildStatus, Failure]:
    """How the containers ended, where nothing from outside ended the pod."""
    failed = _first_failure(pod, contract)
    if failed is None:
        return _lost(
            f"The pod ended before its container ran: {pod.status.reason or 'no reason'}: {pod.status.message}"
        )
    name, end = failed
    if end.reason in VANISHED:
        return _lost(f"Container {name} vanished with its node: {end.message or end.reason}")
    if _was_deleted(pod, end):
        return _lost("The pod was deleted while it ran.")
    return ChildStatus.FAILED, _error(name, end)


def _first_failure(pod: PodView, contract: Contract) -> tuple[str, Terminated] | None:
    """The container that failed, the main one before others."""
    every = (*pod.status.containerStatuses, *pod.status.initContainerStatuses)
    ends = [(status.name, status.state.terminated) for status in every]
    failed = [(name, end) for name, end in ends if end is not None and end.exitCode != 0]
    return min(failed, key=lambda each: each[0] != contract.main, default=None)


def _was_deleted(pod: PodView, end: Terminated) -> bool:
    """True when somebody asked for the pod's deletion before its container ended."""
    deadline, finished = seconds(pod.metadata.deletionTimestamp), seconds(end.finishedAt)
    if deadline is None or finished is None:
        return False
    return deadline - (pod.metadata.deletionGracePeriodSeconds or 0) <= finished


def _error(name: str, end: Terminated) -> Failure:
    """Error and Cause of a container that ended with a code other than 0."""
    message = end.message.strip()
    if end.reason == "OOMKilled":
        cause = f"Container {name} needed more memory than its limit; raise resources.limits.memory."
        return Failure(StatesError.JOB_OOM_KILLED, cause)
    if end.reason in CANNOT_START:
        return Failure(StatesError.JOB_START_FAILED, cut(f"Container {name} cannot start: {message}"))
    return failure_of(name, end.exitCode, message)


class _ErrorMessage(msgspec.Struct, frozen=True):
    """The error object of Lambda's Runtime API."""

    errorType: str
    errorMessage: str = ""


def _told(message: str) -> Failure | None:
    """The error that a child reports itself."""
    try:
        told = msgspec.json.decode(message, type=_ErrorMessage)
    except (msgspec.DecodeError, RecursionError):
        return None
    return Failure(told.errorType[:ERROR_LIMIT], cut(told.errorMessage)) if told.errorType else None
