"""The `status` of a resource, made of one look at its run.

Rule 1: at most 10 KB, whatever the run and its children say (design §2): what people read is cut first.
Rule 2: what is true no longer is left out: a run that is redriven has no end and no results until it ends again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from maprun.core import arns
from maprun.core.status import (
    CAUSE_SHOWN,
    CONDITION,
    FALSE,
    MESSAGE_SHOWN,
    TRUE,
    UNKNOWN,
    Snapshot,
    execution_counts,
    failures,
    in_status,
    item_counts,
    message,
)
from maprun.core.times import iso
from maprun.errors import Reason
from maprun.records import RunStatus

STATUS_LIMIT: Final = 10 * 1024  # bytes of the whole status
SUSPENDED: Final = "Suspended"  # type of the condition
PASSING: Final = ("completionTime", "redriveTime", "output", "outputLocation", "resultWriterDetails")
"""Fields that a status may lose again."""

Json = dict[str, Any]


def render(at: Snapshot, generation: int, previous: Json | None = None) -> Json:
    """The `status` of the resource. `previous` keeps a condition's transition time while its value stays the same."""
    progress = at.progress
    status: Json = {
        "observedGeneration": generation,
        "conditions": list(_conditions(at, generation, previous or {})),
        "mapRunArn": arns.map_run_arn(at.run, at.region, arns.label_of(at.spec, at.run)),
        "startTime": iso_seconds(progress.started if progress.started is not None else at.now),
        "itemCounts": item_counts(at),
        "executionCounts": execution_counts(at),
        "maxConcurrency": at.limit,
        "redriveCount": progress.redrives,
        "retries": progress.retries,
        "failures": [],
    } | _ending(at)
    if progress.redrives and progress.round_started is not None:
        status["redriveTime"] = iso_seconds(progress.round_started)
    status = _cut(status)
    return status | {"failures": _fitting(failures(at), _room(status))}


def _ending(at: Snapshot) -> Json:
    exported = at.progress.exported
    if exported is None:
        return {}
    ending: Json = {"completionTime": iso_seconds(exported.at)}
    writer = at.spec.result_writer
    output = bytes(exported.output)
    if output and in_status(output, exported.manifest):
        ending["output"] = msgspec.json.decode(output)
    elif output:
        ending["outputLocation"] = at.output_location
    if writer and exported.manifest:
        ending["resultWriterDetails"] = {"bucket": writer.bucket, "key": exported.manifest}
    return ending


def _conditions(at: Snapshot, generation: int, previous: Json) -> Iterator[Json]:
    """Succeeded, and Suspended once the run has been held."""

    def told(kind: str, value: str, reason: Reason, text: str) -> Json:
        return condition(kind, value, reason, text, generation=generation, now=at.now, previous=previous)

    value = UNKNOWN if not at.ended else TRUE if at.status is RunStatus.SUCCEEDED else FALSE
    yield told(CONDITION, value, at.reason, message(at))
    if at.suspended:
        text = "No child is started, those that run may end; the run goes on when spec.suspend is false"
        yield told(SUSPENDED, TRUE, Reason.SUSPENDED, text)
    elif at.progress.suspended_at is not None:
        yield told(SUSPENDED, FALSE, at.reason, "The run has ended while it was held")
    elif at.progress.suspended_for or _of_type(SUSPENDED, previous):
        yield told(SUSPENDED, FALSE, Reason.RESUMED, "The run is not held any more")


def condition(kind: str, value: str, reason: Reason, text: str, *, generation: int, now: float, previous: Json) -> Json:
    """One condition of a run. It keeps the transition time that it has in the `previous` status while its value stays
    the same.
    """
    before = _of_type(kind, previous)
    same = before.get("status") == value and before.get("lastTransitionTime")
    return {
        "type": kind,
        "status": value,
        "reason": reason.value,
        "message": text[:MESSAGE_SHOWN],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if same else iso_seconds(now),
    }


def _of_type(kind: str, status: Json) -> Json:
    """A status's condition of this type; empty when it has none."""
    return next((each for each in status.get("conditions", []) if each.get("type") == kind), {})


def _room(status: Json) -> int:
    return STATUS_LIMIT - len(msgspec.json.encode(status))


def _cut(status: Json) -> Json:
    """With shorter messages where they leave too little room. Escaped, a character may take six bytes."""
    fitting = status
    for shown in (MESSAGE_SHOWN // 4, CAUSE_SHOWN // 4, 0):
        if _room(fitting) < 0:
            shorter = [{**each, "message": each["message"][:shown]} for each in status["conditions"]]
            fitting = {**status, "conditions": shorter}
    return fitting


def _fitting(entries: list[Json], room: int) -> list[Json]:
    """As much as goes into `room` bytes: first the causes are cut shorter, then the rarer errors left out."""
    fitting = entries
    for shown in (CAUSE_SHOWN // 4, 0):
        if len(msgspec.json.encode(fitting)) > room:
            fitting = [{**each, "cause": each["cause"][:shown]} for each in entries]
    while fitting and len(msgspec.json.encode(fitting)) > room:
        fitting = fitting[:-1]
    return fitting


def iso_seconds(at: float) -> str:
    """A time as Kubernetes writes it: whole seconds, UTC."""
    return iso(float(int(at)))
