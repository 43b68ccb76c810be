"""The few fields that MapRun reads of Jobs, pods and lists: small structs to decode watch events into (names as in
the Kubernetes API).

Rule 1: a field is here only if something reads it; everything else in an object is skipped by the decoder, at no cost
in memory.
Rule 2: the API server leaves empty fields out, so each has a default; only a time can be null.
"""

from __future__ import annotations

import msgspec

from maprun.core import children
from maprun.records import Attempt


class View(msgspec.Struct, frozen=True, gc=False):
    """Base of everything read from the API server. Unknown fields are skipped."""


class Labels(View, frozen=True, gc=False):
    """The labels that `children.job_for` sets, and the Job controller's own."""

    run_uid: str = msgspec.field(name=children.RUN_UID_LABEL, default="")
    child: str = msgspec.field(name=children.CHILD_LABEL, default="")
    attempt: str = msgspec.field(name=children.ATTEMPT_LABEL, default="")
    input: str = msgspec.field(name=children.INPUT_LABEL, default="")
    controller_uid: str = msgspec.field(name="batch.kubernetes.io/controller-uid", default="")


def run_key(namespace: str, uid: str) -> str:
    """What the objects of a run have in common, within the one namespace that they can be in."""
    return f"{namespace}/{uid}"


class Metadata(View, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    creationTimestamp: str = ""
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: Labels = Labels()

    @property
    def run(self) -> str:
        """Key of the run that the object says it belongs to."""
        return run_key(self.namespace, self.labels.run_uid)

    @property
    def version(self) -> int:
        """`resourceVersion` as a number: larger is later, within one resource type."""
        return int(self.resourceVersion) if self.resourceVersion.isdecimal() else 0

    @property
    def attempt(self) -> Attempt | None:
        """Which attempt the object belongs to; None when it is not one of ours."""
        labels = self.labels
        if not (labels.run_uid and labels.child.isdecimal() and labels.attempt.isdecimal()):
            return None
        return Attempt(int(labels.child), int(labels.attempt))


class Condition(View, frozen=True, gc=False):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    lastTransitionTime: str | None = None


class Thing(View, frozen=True, gc=False):
    """Anything with metadata: a Job, a pod, a bookmark in a watch."""

    metadata: Metadata = Metadata()


class JobStatus(View, frozen=True, gc=False):
    conditions: tuple[Condition, ...] = ()


class JobView(Thing, frozen=True, gc=False):
    """A Job."""

    status: JobStatus = JobStatus()

    @property
    def attempt(self) -> Attempt:
        """Which attempt this is; only Jobs with our labels are ever made into a view that is kept."""
        return self.metadata.attempt or Attempt(-1, 0)

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, when it is true."""
        return next((each for each in self.status.conditions if each.type == kind and each.status == "True"), None)

    def has(self, kind: str) -> bool:
        """True when the condition of this type is true."""
        return self.condition(kind) is not None


class Waiting(View, frozen=True, gc=False):
    reason: str = ""
    message: str = ""


class Running(View, frozen=True, gc=False):
    startedAt: str | None = None


class Terminated(View, frozen=True, gc=False):
    exitCode: int = 0
    reason: str = ""
    message: str = ""
    startedAt: str | None = None
    finishedAt: str | None = None


class State(View, frozen=True, gc=False):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(View, frozen=True, gc=False):
    name: str
    image: str = ""
    state: State = State()


class PodStatus(View, frozen=True, gc=False):
    phase: str = ""
    reason: str = ""
    message: str = ""
    startTime: str | None = None
    conditions: tuple[Condition, ...] = ()
    containerStatuses: tuple[ContainerStatus, ...] = ()
    initContainerStatuses: tuple[ContainerStatus, ...] = ()


class PodView(Thing, frozen=True, gc=False):
    """A pod."""

    status: PodStatus = PodStatus()

    @property
    def containers(self) -> int:
        """How many containers share the kubelet's room for termination messages."""
        return len(self.status.containerStatuses) + len(self.status.initContainerStatuses)

    @property
    def finished(self) -> bool:
        """True when nothing in it will run any more."""
        return self.status.phase in ("Succeeded", "Failed")

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, whatever its status."""
        return next((each for each in self.status.conditions if each.type == kind), None)

    def terminated(self, container: str) -> Terminated | None:
        """The end of a container, by name."""
        return next((each.state.terminated for each in self.status.containerStatuses if each.name == container), None)

    def running(self, container: str) -> Running | None:
        """The running state of a container, by name."""
        return next((each.state.running for each in self.status.containerStatuses if each.name == container), None)
