"""Where keys lie: what a server may make of them, and which runs would touch the operator's own state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.adapters.stores import s3_place
from maprun.core.places import Place, key_problem, resolved, state_problem
from maprun.model import MapRunSpec

STATE = Place("state", "runs/prod/")
WHOLE = Place("state", "")


def reads(bucket: str, key: str) -> dict[str, Any]:
    parameters = {"bucket": bucket, "key": key}
    return {"itemReader": {"resource": "s3:getObject", "parameters": parameters, "readerConfig": {"inputType": "JSON"}}}


def lists(bucket: str, prefix: str | None) -> dict[str, Any]:
    parameters = {"bucket": bucket} | ({} if prefix is None else {"prefix": prefix})
    return {"itemReader": {"resource": "s3:listObjectsV2", "parameters": parameters}}


def writes(bucket: str, prefix: str) -> dict[str, Any]:
    return {"resultWriter": {"resource": "s3:putObject", "parameters": {"bucket": bucket, "prefix": prefix}}}


def spec(fields: dict[str, Any]) -> MapRunSpec:
    return msgspec.convert({**fields, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)


READER, WRITER = "spec.itemReader.parameters", "spec.resultWriter.parameters"


@pytest.mark.parametrize(
    ("fields", "state", "field"),
    [
        pytest.param(reads("state", "runs/prod/a/plan/1"), STATE, f"{READER}.key", id="a key in the state"),
        pytest.param(reads("state", "runs/prod/"), STATE, f"{READER}.key", id="the key that is the prefix itself"),
        pytest.param(reads("state", "x/../runs/prod/a"), STATE, f"{READER}.key", id="a key that leads there by .."),
        pytest.param(reads("state", "runs//prod/./a"), STATE, f"{READER}.key", id="a key with empty parts and dots"),
        pytest.param(reads("state", "/runs/prod/a"), STATE, f"{READER}.key", id="a key that begins with a slash"),
        pytest.param(reads("state", "anything"), WHOLE, f"{READER}.key", id="any key, when the state fills its bucket"),
        pytest.param(lists("state", None), STATE, f"{READER}.prefix", id="a listing of the whole bucket"),
        pytest.param(lists("state", ""), STATE, f"{READER}.prefix", id="a listing with an empty prefix"),
        pytest.param(lists("state", "r"), STATE, f"{READER}.prefix", id="a listing that begins before the state"),
        pytest.param(lists("state", "runs/prod"), STATE, f"{READER}.prefix", id="a listing without the last slash"),
        pytest.param(lists("state", "runs/prod/a/"), STATE, f"{READER}.prefix", id="a listing inside the state"),
        pytest.param(lists("state", "x/../runs/"), STATE, f"{READER}.prefix", id="a listing that leads there by .."),
        pytest.param(lists("state", "x"), WHOLE, f"{READER}.prefix", id="any listing, when the state fills its bucket"),
        pytest.param(writes("state", "runs/prod"), STATE, f"{WRITER}.prefix", id="results in the state's folder"),
        pytest.param(writes("state", "runs/prod/x/"), STATE, f"{WRITER}.prefix", id="results below it"),
        pytest.param(writes("state", "a/../runs/prod"), STATE, f"{WRITER}.prefix", id="results led there by .."),
        pytest.param(writes("state", "/runs/prod"), STATE, f"{WRITER}.prefix", id="results behind a slash"),
        pytest.param(writes("state", ""), WHOLE, f"{WRITER}.prefix", id="results, when the state fills its bucket"),
    ],
)
def test_a_run_would_touch_the_state(fields: dict[str, Any], state: Place, field: str) -> None:
    problem = state_problem(spec(fields), state)
    assert problem is not None
    assert problem.path == field
    assert f"meets {state}, where the operator keeps the state of all runs; " in problem.message


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        pytest.param({}, WHOLE, id="neither reader nor writer"),
        pytest.param(reads("data", "runs/prod/a"), STATE, id="the same key in another bucket"),
        pytest.param(reads("state", "runs/production/a"), STATE, id="a folder that only begins alike"),
        pytest.param(reads("state", "runs/prod"), STATE, id="an object called like the folder"),
        pytest.param(reads("state", "x/../runs/b"), STATE, id="a key that leads elsewhere"),
        pytest.param(lists("state", "runs/prod-"), STATE, id="a listing that only begins alike"),
        pytest.param(lists("data", ""), WHOLE, id="a listing of another bucket"),
        pytest.param(lists("state", "data/"), STATE, id="a listing of another folder"),
        pytest.param(writes("state", ""), STATE, id="results in folders of the runs beside the state"),
        pytest.param(writes("state", "runs"), STATE, id="results above the state, in folders of the runs"),
        pytest.param(writes("state", "runs/prod-results"), STATE, id="results in a folder that begins alike"),
        pytest.param(writes("data", "runs/prod"), STATE, id="results in another bucket"),
    ],
)
def test_a_run_leaves_the_state_alone(fields: dict[str, Any], state: Place) -> None:
    assert state_problem(spec(fields), state) is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        pytest.param("s3://state", WHOLE, id="a bucket"),
        pytest.param("s3://state/", WHOLE, id="a bucket and a slash"),
        pytest.param("s3://state/runs/prod", STATE, id="a prefix"),
        pytest.param("s3://state//runs/prod//", STATE, id="a prefix among slashes"),
        pytest.param("file:///var/lib/maprun", None, id="a directory"),
    ],
)
def test_where_a_state_lies(url: str, place: Place | None) -> None:
    assert s3_place(url) == place


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        pytest.param("a/b", "a/b", id="a plain one"),
        pytest.param("./a//b/.", "a/b", id="dots and empty parts"),
        pytest.param("a/../b", "b", id="up and down again"),
        pytest.param("a/..", "", id="up to the bucket itself"),
        pytest.param("..a/b..", "..a/b..", id="dots inside of names"),
        pytest.param("a\\..\\b", "a\\..\\b", id="backslashes"),
        pytest.param("%2e%2e/a", "%2e%2e/a", id="percent signs, which are encoded on the way"),
        pytest.param("../a", None, id="above the bucket"),
        pytest.param("a/../../b", None, id="above the bucket in the middle"),
        pytest.param("/..", None, id="above the bucket behind a slash"),
    ],
)
def test_what_a_server_may_make_of_a_key(key: str, meant: str | None) -> None:
    assert resolved(key) == meant
    assert bool(key_problem(key)) is (meant is None)


PARTS = st.lists(st.sampled_from(["..", ".", "", "a", "runs", "prod"]), min_size=1, max_size=8).map("/".join)


@given(PARTS)
def test_a_key_without_a_problem_never_leaves_its_bucket(key: str) -> None:
    """Walked part by part, as a server with folders does."""
    depth, lowest = 0, 0
    for part in key.split("/"):
        depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
        lowest = min(lowest, depth)
    assert (key_problem(key) == "") is (lowest == 0)


@given(PARTS)
def test_whatever_leads_into_the_state_is_refused(key: str) -> None:
    meant = resolved(key)
    if meant and (meant + "/").startswith(STATE.prefix) and meant + "/" != STATE.prefix:
        assert state_problem(spec(reads("state", key)), STATE) is not None


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param("a\0b", "a key holds no NUL", id="NUL"),
        pytest.param("a\ud800", "half a character", id="half a character"),
        pytest.param("ö/😀", "", id="Unicode"),
    ],
)
def test_what_a_key_is_made_of(key: str, problem: str) -> None:
    assert problem in key_problem(key)
    assert bool(problem) is bool(key_problem(key))
