"""Pods that do not start: what the kubelet or the scheduler says about it, and when that is the end of an attempt.

Rule 1: waiting for a node is never a failure; a container that cannot be made is one, when it lasts.
Rule 2: a Job that somebody suspends (Kueue, before it admits it or to preempt it) has no pod, and waits as long as
it takes; what became of its earlier pods means nothing.
Rule 3: an image that ran for another child of the run exists: then it is this node that cannot pull it, and the
attempt is lost, not failed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from maprun.core import outcomes
from maprun.core.resources import ContainerStatus, JobView, PodView, Waiting
from maprun.errors import Failure, StatesError
from maprun.records import ChildStatus, Outcome

# The same words for each child: a user is told once, not with every Job that is admitted.
SUSPENDED: Final = "children wait because their Jobs are suspended, for instance by Kueue"
PATIENCE: Final = 60.0  # seconds that a kubelet may try to start a container before the attempt fails

HOPELESS: Final = frozenset({"InvalidImageName"})
PULL_TROUBLE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
CONFIG_TROUBLE: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
POD_SECURITY: Final = "violates PodSecurity"
KEEP_TO_STANDARD: Final = (
    "spec.itemProcessor.jobTemplate must keep to the Pod Security Standard of the namespace: delete the run, and make "
    "it with a template that does"
)
TROUBLE: Final = HOPELESS | PULL_TROUBLE | CONFIG_TROUBLE


class StartTrouble(msgspec.Struct, frozen=True):
    """A container that the kubelet cannot start, in words for the user.

    `hopeless`: trying again cannot help, there is no need to wait for `PATIENCE`. `pull`: the image is the trouble.
    """

    cause: str
    hopeless: bool
    pull: bool


def suspended(job: JobView | None) -> bool:
    """True when the Job has no pods because somebody holds it."""
    return job is not None and job.has("Suspended")


def start_trouble(pod: PodView) -> StartTrouble | None:
    """Why a container of the pod cannot start, or None."""
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason in TROUBLE:
            cause = _cause(status, waiting)
            return StartTrouble(cause, waiting.reason in HOPELESS, waiting.reason in PULL_TROUBLE)
    return None


def held_up(pod: PodView) -> str:
    """Why the pod has not started, in words for the user; "" when it has, or is about to."""
    trouble = start_trouble(pod)
    if trouble is not None:
        return trouble.cause
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return f"Pod {pod.metadata.name} waits for a node: {scheduled.message or scheduled.reason}"
    return ""


def image_works(pod: PodView) -> bool:
    """True when a container of the pod runs or ran: its image can be pulled."""
    return any(
        status.state.running
        or (status.state.terminated and status.state.terminated.reason not in outcomes.CANNOT_START)
        for status in pod.status.containerStatuses
    )


def warned(name: str, reason: str, message: str) -> str:
    """A warning of Kubernetes about a Job or pod, in words for the user; with what to do where its own do not say it.

    Pod Security refuses pods and not Jobs, so that the Job is taken and nothing but an event tells why it has no pod.
    """
    advice = f". {KEEP_TO_STANDARD}" if POD_SECURITY in message else ""
    return f"{name} does not start: {reason}: {message}{advice}"


def start_failed(
    job: JobView, pod: PodView, contract: outcomes.Contract, trouble: StartTrouble, image_works: bool
) -> Outcome:
    """The outcome of an attempt that could not start. `image_works`: the image ran for another child of the run."""
    if trouble.pull and image_works:
        return outcomes.lost(job, pod, contract, trouble.cause)
    failure = Failure(StatesError.JOB_START_FAILED, outcomes.cut(trouble.cause))
    return outcomes.ended(job, pod, contract, ChildStatus.FAILED, failure)


def _cause(status: ContainerStatus, waiting: Waiting) -> str:
    """What to do comes first: the status shows only the beginning of a cause."""
    image = waiting.reason in HOPELESS | PULL_TROUBLE
    advice = f"check the name of image {status.image}, and the pull secrets" if image else "check what it refers to"
    told = waiting.message or "the kubelet gives no details"
    return f"Container {status.name} cannot start, {advice}: {waiting.reason}: {told}"
