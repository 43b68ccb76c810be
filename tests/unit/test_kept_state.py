"""The operator's own state is kept from runs, whatever names it: a field, a path that gives a bucket, a manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maprun.adapters.s3 import S3Store
from maprun.core.places import Place, state_problem
from maprun.core.resolving import resolve
from maprun.core.validation import parse
from maprun.errors import AccessDenied
from tests.spec_cases import resource

STATE = Place("maprun-state", "cluster/")


class Wire:
    """In place of a client: notes what would be sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**_: Any) -> dict[str, Any]:
            self.sent.append(operation)
            return {"ETag": '"1"', "ContentLength": 0, "Body": None}

        return call


CALLS: dict[str, Callable[[S3Store, str], Any]] = {
    "open": lambda store, key: store.open(key),
    "open a part": lambda store, key: store.read_at(key, 0, 1, '"1"'),
    "create": lambda store, key: store.create(key, b""),
    "write": lambda store, key: store.write(key, [b"x"], "text/plain"),
    "delete": lambda store, key: store.delete(key),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("key", ["cluster/default/run-1/spec.json", "x/../cluster/a", "cluster/"])
def test_no_call_reaches_a_key_of_the_state(call: Callable[[S3Store, str], Any], key: str) -> None:
    wire = Wire()
    with pytest.raises(AccessDenied, match="part of the operator's own state"):
        call(S3Store(wire, STATE.bucket, kept=STATE), key)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        pytest.param(STATE.bucket, "clusters/a", id="a key that only looks alike"),
        pytest.param("data", "cluster/a", id="another bucket"),
    ],
)
def test_what_lies_beside_the_state_is_sent(bucket: str, key: str) -> None:
    wire = Wire()
    S3Store(wire, bucket, kept=STATE).open(key)
    assert wire.sent == ["get_object"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        pytest.param({"bucket.$": "$.b", "key.$": "$.k"}, "spec.itemReader.parameters.key", id="both by path"),
        pytest.param(
            {"bucket": "maprun-state", "key.$": "$.k"}, "spec.itemReader.parameters.key", id="the key by path"
        ),
    ],
)
def test_a_path_does_not_hide_what_a_run_asks_for(parameters: dict[str, str], field: str) -> None:
    reader = {"resource": "s3:getObject", "parameters": parameters, "readerConfig": {"inputType": "JSON"}}
    spec = parse(resource(itemReader=reader, input={"b": "maprun-state", "k": "cluster/default/other/spec.json"}))
    problem = state_problem(resolve(spec, {}), STATE)
    assert problem is not None
    assert problem.path == field
