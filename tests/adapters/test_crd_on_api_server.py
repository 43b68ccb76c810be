"""The CRD on a real API server: what it refuses, what it fills in, what may change, and how a run looks to kubectl."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from kubernetes import client, config

from maprun.model import GROUP, MUTABLE, PLURAL, VERSION
from maprun.model_status import Counts
from tests.cluster.cluster import Cluster
from tests.spec_cases import BAD, EDITS, GOOD, Case, Edit, Json, get_object, listing, resource

NAMESPACE = "default"
INVALID, BAD_REQUEST = 422, 400
WAIT_SECONDS = 30.0


class Server:
    """MapRuns of one namespace on a real API server; unknown fields are refused, as kubectl asks for."""

    def __init__(self, api: client.CustomObjectsApi) -> None:
        self._api = api
        self._where = {"group": GROUP, "version": VERSION, "namespace": NAMESPACE, "plural": PLURAL}

    def create(self, body: Json, dry_run: bool = False) -> Json:
        """Create it; what the server made of it."""
        more = {"dry_run": "All"} if dry_run else {}
        return self._api.create_namespaced_custom_object(**self._where, body=body, field_validation="Strict", **more)

    def change(self, name: str, spec: Json) -> Json:
        """Merge these fields into the spec."""
        return self._api.patch_namespaced_custom_object(**self._where, name=name, body={"spec": spec})

    def report(self, name: str, status: Json) -> Json:
        """Merge these fields into the status."""
        return self._api.patch_namespaced_custom_object_status(**self._where, name=name, body={"status": status})

    def delete(self, name: str) -> None:
        self._api.delete_namespaced_custom_object(**self._where, name=name)


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Server]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as api:
        yield Server(client.CustomObjectsApi(api))


@pytest.fixture
def stored(server: Server) -> Iterator[Callable[[Json], Json]]:
    """Creates a resource that is gone after the test."""
    names: list[str] = []

    def create(body: Json) -> Json:
        created = server.create(body)
        names.append(created["metadata"]["name"])
        return created

    yield create
    for name in names:
        server.delete(name)


def refused(call: Callable[[], object]) -> tuple[int, list[tuple[str, str]], str]:
    """The answer to a call that must fail: its status, each cause as (field, message), and the whole message."""
    with pytest.raises(client.ApiException) as caught:
        call()
    answer = json.loads(caught.value.body)
    causes = [(cause["field"], cause["message"]) for cause in answer.get("details", {}).get("causes", [])]
    return caught.value.status, causes, answer["message"]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds: the API server publishes what it knows of a new CRD a moment later."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.sentence)
def test_the_api_server_refuses_what_python_refuses_at_the_same_field(server: Server, case: Case) -> None:
    status, causes, message = refused(lambda: server.create(case.body, dry_run=True))
    if status == BAD_REQUEST:
        assert f'unknown field "{case.path}' in message
        return
    assert status == INVALID
    fitting = [said for field, said in causes if field == case.path]
    assert fitting, message
    if case.by_rule:
        assert any(case.message in said for said in fitting)


@pytest.mark.parametrize("body", [pytest.param(body, id=sentence) for sentence, body in GOOD])
def test_the_api_server_accepts_what_python_accepts(server: Server, body: Json) -> None:
    server.create(body, dry_run=True)


def test_defaults_are_filled_in(server: Server) -> None:
    spec = server.create(get_object(), dry_run=True)["spec"]
    assert (spec["itemsPath"], spec["maxConcurrency"], spec["input"], spec["s3"]) == ("$", 0, {}, {})
    assert (spec["queryLanguage"], spec["inputPath"], spec["resultPath"]) == ("JSONPath", "$", "$")
    assert spec["itemReader"]["readerConfig"] == {
        "inputType": "JSON",
        "transformation": "NONE",
        "csvDelimiter": "COMMA",
        "maxItems": 0,
    }
    assert spec["itemProcessor"]["processorConfig"] == {"mode": "DISTRIBUTED", "executionType": "STANDARD"}
    assert spec["itemProcessor"]["output"] == {"from": "TerminationMessage"}


def test_users_json_is_kept_to_the_last_null(server: Server) -> None:
    odd = {"a": None, "b": 1.5, "c": [1, "x", None, {"d": {}}], "e.$": "$"}
    spec = server.create(resource(input=[odd, None], itemSelector=odd), dry_run=True)["spec"]
    assert spec["input"] == [odd, None]
    assert spec["itemSelector"] == odd


ODD_TEMPLATE = {
    "metadata": {"annotations": {"a": "b"}},
    "spec": {"suspend": None, "template": {"spec": {"containers": [{"image": "i"}]}}},
}
RUNNING = get_object() | {"metadata": {"name": "running"}}
RUNNING["spec"] |= {
    "itemSelector": {"a": None, "b": [1.5, {"c": None}]},
    "itemBatcher": {"maxItemsPerBatch": 5, "batchInput": {"a": [None, {"b": 1}]}},
    "itemProcessor": {"jobTemplate": ODD_TEMPLATE, "retry": [{"errorEquals": ["X"]}]},
    "resultWriter": {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix.$": "$.a"}},
    "resultSelector": {"a.$": "$"},
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.sentence)
def test_an_edit_is_taken_or_refused_as_python_says(server: Server, stored: Callable[[Json], Json], edit: Edit) -> None:
    name = stored(resource(**edit.before))["metadata"]["name"]
    server.report(name, ENDED if edit.ended else FULL_STATUS)
    change = dict.fromkeys(edit.before) | edit.after
    if not edit.field:
        assert edit.after.items() <= server.change(name, change)["spec"].items()
        return
    status, causes, message = refused(lambda: server.change(name, change))
    assert status == INVALID, message
    assert [field for field, _ in causes] == [f"spec.{edit.field}"]
    assert edit.words in message


def test_the_status_of_an_ended_run_is_the_operators_to_change(server: Server, stored: Callable[[Json], Json]) -> None:
    stored(resource(redrives=1, abort=True))
    server.report("good", ENDED)
    assert "completionTime" not in server.report("good", {"completionTime": None})["status"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"itemReader": {"parameters": {"key": "other"}}}, "itemReader", id="what is read"),
        pytest.param({"itemReader": None}, "itemReader", id="whether it is read at all"),
        pytest.param({"itemsPath": "$.a"}, "itemsPath", id="where items lie"),
        pytest.param({"queryLanguage": "JSONata"}, "queryLanguage", id="the language"),
        pytest.param({"inputPath": "$.a"}, "inputPath", id="what the fields see of the input"),
        pytest.param({"maxConcurrencyPath": "$.a"}, "maxConcurrencyPath", id="a path to a number"),
        pytest.param({"itemBatcher": {"maxItemsPerBatch": 6}}, "itemBatcher", id="the size of batches"),
        pytest.param({"itemBatcher": {"batchInput": {"a": [None, {"b": 2}]}}}, "itemBatcher", id="the batches' input"),
        pytest.param({"resultSelector": {"a.$": "$[0]"}}, "resultSelector", id="something in the resultSelector"),
        pytest.param({"resultPath": "$.a"}, "resultPath", id="where the result is put"),
        pytest.param({"resultWriter": {"parameters": {"prefix.$": "$.b"}}}, "resultWriter", id="a path to a prefix"),
        pytest.param({"itemProcessor": {"retry": []}}, "itemProcessor", id="the retriers"),
        pytest.param({"itemProcessor": {"jobTemplate": {"spec": {"suspend": True}}}}, "itemProcessor", id="the Job"),
        pytest.param(
            {"itemProcessor": {"jobTemplate": {"metadata": {"annotations": {"a": "c"}}}}},
            "itemProcessor",
            id="the Job's metadata",
        ),
        pytest.param({"label": "added"}, "label", id="a label where there was none"),
        pytest.param({"s3": {"region": "eu-west-1"}}, "s3", id="the server"),
        pytest.param({"resultWriter": {"parameters": {"bucket": "other"}}}, "resultWriter", id="where results go"),
    ],
)
def test_everything_else_may_not(server: Server, stored: Callable[[Json], Json], change: Json, field: str) -> None:
    stored(RUNNING)
    status, causes, message = refused(lambda: server.change("running", change))
    assert status == INVALID, message
    assert [where for where, said in causes if "cannot be changed" in said] == [f"spec.{field}"]


@pytest.mark.parametrize("field", ["input", "itemSelector", "items", "output"])
def test_what_has_no_type_may_be_changed_to_no_effect(
    server: Server, stored: Callable[[Json], Json], field: str
) -> None:
    """CEL cannot see it; the description says that the operator reads it once."""
    stored(RUNNING)
    assert server.change("running", {field: {"a": 1}})["spec"][field]["a"] == 1


def test_an_unchanged_spec_may_be_applied_again(cluster: Cluster, stored: Callable[[Json], Json]) -> None:
    stored(RUNNING)
    done = cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(RUNNING))
    assert "serverside-applied" in done.stdout


def test_kubectl_says_which_field_is_wrong_and_what_to_do(cluster: Cluster) -> None:
    done = cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(listing(key="a.json")), check=False)
    assert done.returncode != 0
    assert "spec.itemReader.parameters.key: Invalid value: must be left out with s3:listObjectsV2" in done.stderr


COUNTERS = [field.encode_name for field in msgspec.structs.fields(Counts)]
FULL_STATUS = {
    "observedGeneration": 1,
    "startTime": "2026-01-02T03:04:05Z",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "Running",
            "message": "…",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ],
    "itemCounts": dict.fromkeys(COUNTERS, 0) | {"total": 99, "running": 11, "succeeded": 77, "failed": 5, "pending": 6},
    "maxConcurrency": 50,
    "retries": 8,
    "redriveCount": 2,
    "redriveTime": "2026-01-02T05:04:05Z",
    "resultWriterDetails": {"bucket": "results", "key": "airports/manifest.json"},
    "output": [1, None],
}
ENDED = FULL_STATUS | {"completionTime": "2026-01-02T06:04:05Z"}


def test_the_status_has_its_own_door(server: Server, stored: Callable[[Json], Json]) -> None:
    stored(RUNNING | {"status": FULL_STATUS})
    changed = server.report("running", FULL_STATUS)
    assert changed["status"] == FULL_STATUS
    assert changed["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("wide", "columns"),
    [
        pytest.param(
            [], {"STATUS": "Running", "TOTAL": "99", "RUNNING": "11", "SUCCEEDED": "77", "FAILED": "5"}, id="narrow"
        ),
        pytest.param(
            ["-o", "wide"],
            {
                "PENDING": "6",
                "CONCURRENCY": "50",
                "RETRIES": "8",
                "REDRIVES": "2",
                "RESULTS": "airports/manifest.json",
            },
            id="wide",
        ),
    ],
)
def test_kubectl_get_tells_the_story(
    cluster: Cluster, server: Server, stored: Callable[[Json], Json], wide: list[str], columns: dict[str, str]
) -> None:
    stored(RUNNING)
    server.report("running", FULL_STATUS)
    header, row = (line.split() for line in cluster.kubectl("get", "mr", "running", *wide).stdout.splitlines())
    assert columns.items() <= dict(zip(header, row, strict=True)).items()


def test_kubectl_explain_is_the_manual(cluster: Cluster) -> None:
    def explained() -> Any:
        return cluster.kubectl("explain", "mapruns.spec.itemProcessor.retry", "--recursive", check=False).stdout

    eventually(lambda: "errorEquals" in explained())
    text = cluster.kubectl("explain", "mapruns.spec.maxConcurrency").stdout
    assert "Most child executions at once, or a JSONata expression for it." in " ".join(text.split())


@pytest.mark.parametrize("field", sorted(MUTABLE))
def test_kubectl_explain_says_when_a_lever_may_be_moved(cluster: Cluster, field: str) -> None:
    def explained() -> str:
        return " ".join(cluster.kubectl("explain", f"mapruns.spec.{field}", check=False).stdout.split())

    eventually(lambda: "DESCRIPTION" in explained())
    assert re.search(r"[Mm]ay be changed|may only be raised|Taken back only", explained())
