"""The API server's client: what goes out, what comes back as an error, new credentials, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from maprun.adapters import cluster
from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.watching import lines

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on a free port of loopback; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


def kubeconfig(folder: Path, server: str, **user: str) -> str:
    """A kubeconfig with one user; its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@asynccontextmanager
async def connected(folder: Path, handler: Handler, **user: str) -> AsyncIterator[ClusterClient]:
    """A client of a server that answers like this."""
    async with serving(handler) as server:
        client = await ClusterClient.connect(kubeconfig(folder, server, **(user or {"token": "t"})))
        try:
            yield client
        finally:
            await client.close()


async def test_a_call_sends_its_body_as_json_and_its_token(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        told = [request.method, request.path_qs, request.headers["Authorization"], request.content_type]
        return web.json_response([*told, (await request.read()).decode()])

    async with connected(tmp_path, handler) as client:
        answer = await client.request("PATCH", "/api/v1/a", {"b": 1}, {"c": "d e"}, "application/merge-patch+json")
    assert answer == b'["PATCH", "/api/v1/a?c=d+e", "Bearer t", "application/merge-patch+json", "{\\"b\\":1}"]'


STATUS = {"kind": "Status", "reason": "Invalid", "message": "no name", "details": {"retryAfterSeconds": 3}}
REFUSALS = [
    pytest.param(
        web.json_response(STATUS, status=422), (422, "Invalid", "no name", 3.0, False), id="a Status says why"
    ),
    pytest.param(
        web.json_response(STATUS, status=429, headers={"Retry-After": "7"}),
        (429, "Invalid", "no name", 7.0, True),
        id="Retry-After counts before the Status",
    ),
    pytest.param(
        web.Response(text="down", status=502), (502, "", "down", 0.0, True), id="a proxy answers in plain text"
    ),
    pytest.param(web.Response(status=403), (403, "", "", 0.0, False), id="an empty answer"),
]


@pytest.mark.parametrize(("answer", "told"), REFUSALS)
async def test_a_refusal_is_an_error_with_the_servers_words(
    tmp_path: Path, answer: web.Response, told: tuple[object, ...]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return answer

    async with connected(tmp_path, handler) as client:
        with pytest.raises(ApiError) as caught:
            await client.request("GET", "/")
    error = caught.value
    assert (error.status, error.reason, error.message, error.retry_after, error.unavailable) == told


async def test_no_answer_is_an_error_of_status_0(tmp_path: Path) -> None:
    client = await ClusterClient.connect(kubeconfig(tmp_path, "http://127.0.0.1:1", token="t"))
    with pytest.raises(ApiError, match="did not answer GET /a") as caught:
        await client.request("GET", "/a")
    assert (caught.value.status, caught.value.unavailable) == (0, True)
    await client.close()


async def test_without_a_configuration_there_is_no_client(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="no usable configuration"):
        await ClusterClient.connect(str(tmp_path / "absent"))


@pytest.mark.parametrize("pause", [0.0, 60.0], ids=["an old token is read again", "but not twice in a row"])
async def test_a_token_that_was_replaced(tmp_path: Path, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "RELOAD_INTERVAL", pause)
    token = tmp_path / "token"
    token.write_text("old")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer new" else 401)

    async with connected(tmp_path, handler, tokenFile=str(token)) as client:
        token.write_text("new")
        if pause:
            with pytest.raises(ApiError, match="401"):
                await client.request("GET", "/")
        else:
            assert await client.request("GET", "/") == b""


async def quiet(request: web.Request) -> web.StreamResponse:
    """Two lines, the beginning of a third, and then nothing."""
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (b"one\ntw", b"o\nrest"):
        await response.write(piece)
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.01)
    return response


async def test_a_silent_stream_is_a_broken_one(tmp_path: Path) -> None:
    async with connected(tmp_path, quiet) as client:
        stream = lines(client.stream("/", {}, silence=0.2))
        assert [await anext(stream), await anext(stream)] == [b"one", b"two"]
        with pytest.raises(ApiError) as caught:
            await anext(stream)
    assert caught.value.status == 0
