"""What a resource says of its life: when it is driven, redriven, deleted, and what of it may be forgotten."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import lifecycle

END: Final = "2026-09-23T20:18:45Z"
END_SECONDS: Final = 1_790_194_725.0
BEGUN: Final = {"startTime": "2026-09-23T20:18:40Z"}


def body(
    condition: str = "", generation: int = 1, seen: int = 1, spec: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    """A resource with this condition; `seen` is the generation that its status is of."""
    told = {"type": "Succeeded", "status": condition, "reason": "R", "message": "m" * 500}
    metadata = {
        "namespace": "team",
        "name": "run",
        "uid": "0a1b",
        "creationTimestamp": END,
        "generation": generation,
        "resourceVersion": "7",
        "managedFields": [{"manager": "kubectl"}],
    }
    made = {"metadata": metadata, "spec": {"input": [1], **(spec or {})}, "status": {**status}}
    if condition:
        made["status"] |= {"conditions": [told], "observedGeneration": seen}
    return made


ONE: Final = {"redrives": 1}
FAILED: Final = {"executionCounts": {"succeeded": 3, "failed": 1}, **BEGUN}

WANTED = [
    pytest.param({**body(), "status": None}, True, id="a run without a status is driven"),
    pytest.param(body("Unknown", **BEGUN), True, id="one that goes on is driven"),
    pytest.param(body("True", **BEGUN), False, id="one that succeeded is not"),
    pytest.param(body("False", **FAILED), False, id="one that failed is not"),
    pytest.param(body("False", 2, 1, ONE, **FAILED), True, id="one that failed and was edited to be redriven is"),
    pytest.param(body("False", 2, 2, ONE, redriveCount=1, **FAILED), False, id="the redrive was made"),
    pytest.param(body("False", 3, 2, {"redrives": 3}, redriveCount=1, **FAILED), True, id="two more are to be made"),
    pytest.param(body("False", 3, 2, {"maxConcurrency": 2}, **FAILED), False, id="another edit wants nothing"),
    pytest.param(body("True", 2, 1, ONE, **BEGUN), True, id="a run that succeeded is looked at, to tell that"),
    pytest.param(body("True", 2, 2, ONE, **BEGUN), False, id="it was told that there is nothing to redrive"),
    pytest.param(body("False", 2, 2, {**ONE, "abort": True}, **FAILED), False, id="an aborted run stays aborted"),
    pytest.param(
        body("False", 3, 2, {**ONE, "abort": True}, **FAILED), True, id="an abort that came into a redrive is looked at"
    ),
    pytest.param(body("False", 2, 1, ONE), True, id="a run that was refused is tried again"),
    pytest.param(body("False", 2, 2, ONE), False, id="once for each edit"),
]


@pytest.mark.parametrize(("resource", "wanted"), WANTED)
def test_what_is_driven(resource: dict[str, Any], wanted: bool) -> None:
    assert lifecycle.wanted(resource) is wanted


TTL: Final = {"ttlSecondsAfterFinished": 60}
EXPIRES = [
    pytest.param(body("True", spec=TTL, completionTime=END), END_SECONDS + 60, id="so long after its end"),
    pytest.param(body("True", spec={"ttlSecondsAfterFinished": 0}, completionTime=END), END_SECONDS, id="at its end"),
    pytest.param(body("True", completionTime=END), None, id="never"),
    pytest.param(body("Unknown", spec=TTL), None, id="not while it goes on"),
    pytest.param(body("False", 2, 1, {**TTL, **ONE}, completionTime=END, **FAILED), None, id="not when redriven"),
    pytest.param(
        {**body("True", spec=TTL, completionTime=END), "metadata": {"deletionTimestamp": END}}, None, id="not twice"
    ),
]


@pytest.mark.parametrize(("resource", "at"), EXPIRES)
def test_when_it_expires(resource: dict[str, Any], at: float | None) -> None:
    resource["metadata"].setdefault("generation", 1)
    assert lifecycle.expires_at(resource) == at


small = st.integers(0, 3)
resources = st.builds(
    lambda condition, generation, seen, redrives, made, abort, failed: body(
        condition, generation, seen, {"redrives": redrives, "abort": abort}, redriveCount=made, **BEGUN,
        executionCounts={"failed": failed},
    ),
    st.sampled_from(["", "Unknown", "True", "False"]), small, small, small, small, st.booleans(), st.integers(0, 1),
)  # fmt: skip


@given(resources)
def test_what_is_forgotten_of_a_run_that_nobody_drives_makes_it_no_other_run(resource: dict[str, Any]) -> None:
    if lifecycle.wanted(resource):
        return
    trimmed = copy.deepcopy(resource)
    lifecycle.trim(trimmed)
    assert not lifecycle.wanted(trimmed)
    assert lifecycle.expires_at(trimmed) is None
    assert lifecycle.run_ref(trimmed) == lifecycle.run_ref(resource)
    assert len(str(trimmed)) < 300


@given(resources)
def test_a_run_that_has_made_all_its_redrives_is_left_alone(resource: dict[str, Any]) -> None:
    resource["status"]["redriveCount"] = resource["spec"]["redrives"]
    assert lifecycle.wanted(resource) is not lifecycle.ended(resource)


def test_a_resource_that_is_gone_says_so() -> None:
    resource = body("Unknown", **BEGUN)
    lifecycle.mark_deleted(resource)
    assert resource["metadata"]["deletionTimestamp"]
    resource["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    lifecycle.mark_deleted(resource)
    assert resource["metadata"]["deletionTimestamp"] == "2027-01-01T00:00:00Z"
