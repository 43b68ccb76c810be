"""Requests to the API server are counted, whoever makes them, and how long none has been answered is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, web

from maprun.adapters import cluster
from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.cluster_calls import Calls, verb_of
from tests.unit.counted import Counted
from tests.unit.test_cluster_client import Handler, kubeconfig, serving

VERBS = [
    ("all objects of a group", "GET", "/apis/batch/v1/jobs", "", "list"),
    ("those of a namespace", "GET", "/apis/batch/v1/namespaces/lab/jobs", "labelSelector=a", "list"),
    ("all pods", "GET", "/api/v1/pods", "", "list"),
    ("all namespaces", "GET", "/api/v1/namespaces", "", "list"),
    ("behind a path of the server", "GET", "/k8s/clusters/c-1/apis/batch/v1/jobs", "", "list"),
    ("one object", "GET", "/apis/batch/v1/namespaces/lab/jobs/watch", "", "get"),
    ("one namespace", "GET", "/api/v1/namespaces/lab", "", "get"),
    ("a part of an object", "GET", "/api/v1/namespaces/lab/pods/a/log", "limitBytes=1", "get"),
    ("what a group has", "GET", "/apis/maprun.dev/v1alpha1", "", "get"),
    ("which groups there are", "GET", "/apis", "", "get"),
    ("a watch of ours", "GET", "/apis/batch/v1/jobs", "watch=1&resourceVersion=5", "watch"),
    ("a watch of kopf's", "GET", "/apis/maprun.dev/v1alpha1/mapruns", "resourceVersion=5&watch=true", "watch"),
    ("no watch, though it sounds so", "GET", "/api/v1/pods", "stopwatch=1", "list"),
    ("a create", "POST", "/apis/batch/v1/namespaces/lab/jobs", "dryRun=All", "create"),
    ("a patch", "PATCH", "/apis/maprun.dev/v1alpha1/namespaces/lab/mapruns/a/status", "", "patch"),
    ("a delete", "DELETE", "/apis/batch/v1/namespaces/lab/jobs/a", "", "delete"),
]


@pytest.mark.parametrize(("method", "path", "query", "verb"), [r[1:] for r in VERBS], ids=[r[0] for r in VERBS])
def test_verbs(method: str, path: str, query: str, verb: str) -> None:
    assert verb_of(method, path, query) == verb


async def hangs(request: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    raise AssertionError("the test has ended long ago")


def answers(status: int) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    return answer


async def test_each_request_is_counted_with_its_answer(tmp_path: Path) -> None:
    told = Counted()
    async with serving(answers(200)) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, token="t"), None, told)
        await client.request("GET", "/api/v1/pods")
        await client.request("DELETE", "/api/v1/namespaces/lab/pods/a", {})
        assert [piece async for piece in client.stream("/api/v1/pods", {"watch": "1"}, 5.0)] == [b"{}"]
        await client.close()
    assert told.api == [("list", 200), ("delete", 200), ("watch", 200)]


async def test_a_refusal_is_an_answer_too(tmp_path: Path) -> None:
    told = Counted()
    async with serving(answers(409)) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, token="t"), None, told)
        with pytest.raises(ApiError):
            await client.request("POST", "/api/v1/namespaces/lab/pods", {})
        assert client.calls.silence == 0
        await client.close()
    assert told.api == [("create", 409)]


async def test_a_request_that_was_sent_again_with_new_credentials_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "RELOAD_INTERVAL", 0.0)
    told, token = Counted(), tmp_path / "token"
    token.write_text("old")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer new" else 401)

    async with serving(handler) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, tokenFile=str(token)), None, told)
        token.write_text("new")
        await client.request("GET", "/api/v1/pods")
        await client.close()
    assert told.api == [("list", 401), ("list", 200)]


async def test_a_server_that_is_away_counts_as_none_and_its_silence_grows(tmp_path: Path) -> None:
    told = Counted()
    client = await ClusterClient.connect(kubeconfig(tmp_path, "http://127.0.0.1:1", token="t"), None, told)
    assert client.calls.silence == 0
    with pytest.raises(ApiError):
        await client.request("GET", "/api/v1/pods")
    with pytest.raises(ApiError):
        _ = [piece async for piece in client.stream("/api/v1/pods", {"watch": "1"}, 5.0)]
    assert client.calls.silence > 0
    await client.close()
    assert told.api == [("list", 0), ("watch", 0)]


async def test_no_answer_in_time_counts_as_none(tmp_path: Path) -> None:
    told = Counted()
    async with serving(hangs) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, token="t"), None, told)
        with pytest.raises(ApiError):
            await client.request("GET", "/api/v1/pods", timeout=0.05)
        await client.close()
    assert told.api == [("list", 0)]


async def test_a_request_that_we_gave_up_counts_for_nothing(tmp_path: Path) -> None:
    told, arrived = Counted(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        arrived.set()
        return await hangs(request)

    async with serving(handler) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, token="t"), None, told)
        asking = asyncio.create_task(client.request("GET", "/api/v1/pods"))
        await arrived.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert client.calls.silence == 0
        await client.close()
    assert told.api == []


async def test_a_lent_session_is_known_to_the_server_and_counted(tmp_path: Path) -> None:
    told = Counted()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer t" else 401)

    async with serving(handler) as server:
        client = await ClusterClient.connect(kubeconfig(tmp_path, server, token="t"), None, told)
        lent = await client.lend()
        async with lent.session.get(f"{lent.server}/apis/maprun.dev/v1alpha1/mapruns?watch=true") as answer:
            assert answer.status == 200
        await client.close()
        assert lent.session.closed
    assert told.api == [("watch", 200)]


async def test_a_session_is_lent_again_as_long_as_the_credentials_are_the_same(tmp_path: Path) -> None:
    """kopf counts on it: credentials that it was refused with must not look like new ones."""
    token = tmp_path / "token"
    token.write_text("old")
    client = await ClusterClient.connect(kubeconfig(tmp_path, "http://127.0.0.1:1", tokenFile=str(token)))
    first = await client.lend()
    assert await client.lend() is first
    token.write_text("new")
    second = await client.lend()
    assert second.session is not first.session
    assert second.session.headers["Authorization"] == "Bearer new"
    assert first.session.closed
    await client.close()


async def test_silence_begins_with_the_first_request_that_got_no_answer_and_ends_with_an_answer() -> None:
    now = [100.0]

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=500)

    calls = Calls(Counted(), lambda: now[0])
    async with serving(handler) as server, cluster.aiohttp.ClientSession(trace_configs=[calls.trace]) as session:
        for moment, expected in ((110.0, 0.0), (130.0, 20.0)):
            now[0] = moment
            with pytest.raises(ClientConnectionError):
                await session.get("http://127.0.0.1:1/api")
            assert calls.silence == expected
        async with session.get(f"{server}/api"):
            assert calls.silence == 0.0
