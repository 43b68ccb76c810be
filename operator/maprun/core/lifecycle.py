"""What a MapRun's resource says of its life: whether something is to be done for it, and when it may go.

Rule 1: pure functions of the resource's body, as the API server gives it: any field may be missing.
Rule 2: what is wanted follows from the resource alone, so that an operator that starts finds it as well as one that
        sees the edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from maprun.core.status import CONDITION, UNKNOWN
from maprun.model import GROUP, RunRef

Body = Mapping[str, Any]

FINALIZER: Final = f"{GROUP}/operator"  # on a run as long as it is driven

_IDENTITY: Final = (
    *("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"),
    *("finalizers", "deletionTimestamp"),
)


def run_ref(body: Body) -> RunRef:
    """Which run a resource is."""
    metadata = body["metadata"]
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    return RunRef(metadata["namespace"], metadata["name"], metadata["uid"], created)


def status_of(body: Body) -> dict[str, Any]:
    """The status, empty before there is one."""
    return dict(body.get("status") or {})


def generation_of(body: Body) -> int:
    """The number of the spec's newest edit."""
    return int(body["metadata"].get("generation", 0))


def redrives_of(body: Body) -> int:
    """How many redrives are asked for."""
    return int((body.get("spec") or {}).get("redrives") or 0)


def redrives_made(body: Body) -> int:
    """How many were made, as the status has it."""
    return int(status_of(body).get("redriveCount") or 0)


def begun(body: Body) -> bool:
    """True when the run has started: then its state is in the store, and children may run."""
    return "startTime" in status_of(body)


def ended(body: Body) -> bool:
    """True when the condition is final."""
    return str(_condition(body).get("status", UNKNOWN)) != UNKNOWN


def wanted(body: Body) -> bool:
    """True when the run is to be driven: it has not ended, or is to be redriven."""
    return not ended(body) or redrive_wanted(body)


def redrive_wanted(body: Body) -> bool:
    """True when more redrives are asked for than were made, by an edit that the status is not of yet: whoever looked
    at it and found nothing to redrive says so by `observedGeneration`.
    """
    observed = int(status_of(body).get("observedGeneration") or 0)
    return redrives_of(body) > redrives_made(body) and generation_of(body) > observed


def expires_at(body: Body) -> float | None:
    """When the run is to be deleted, in seconds since the epoch; None when it is not, or not yet known."""
    ttl = (body.get("spec") or {}).get("ttlSecondsAfterFinished")
    completed = status_of(body).get("completionTime")
    if ttl is None or completed is None or wanted(body) or "deletionTimestamp" in body["metadata"]:
        return None
    return datetime.fromisoformat(completed).timestamp() + int(ttl)


def mark_deleted(body: dict[str, Any]) -> None:
    """Say so, in place, of a resource that is gone: one that had no finalizer goes without a word of it."""
    metadata = body["metadata"]
    metadata.setdefault("deletionTimestamp", metadata["creationTimestamp"])


def trim(body: dict[str, Any]) -> None:
    """Take away, in place, what is not needed of a resource of which nothing is wanted: `wanted` stays false."""
    metadata = body["metadata"]
    body["metadata"] = {field: metadata[field] for field in _IDENTITY if field in metadata}
    body["spec"] = {}
    condition = _condition(body)
    body["status"] = {"conditions": [{field: condition[field] for field in ("type", "status")}]}


def _condition(body: Body) -> dict[str, Any]:
    conditions = status_of(body).get("conditions") or []
    return next((each for each in conditions if each.get("type") == CONDITION), {})
