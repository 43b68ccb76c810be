"""Who does not lead sends nothing that changes anything, over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from maprun.adapters.cluster import ClusterClient
from maprun.errors import Fenced

RUN = "/apis/maprun.dev/v1alpha1/namespaces/a/mapruns/b"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClusterClient, list[str]]]:
    """A client, and what arrives at its server."""
    arrived: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        arrived.append(request.method)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = ClusterClient(Configuration(host=site.name), reload=False)
    try:
        yield client, arrived
    finally:
        await client.close()
        await runner.cleanup()


def fenced() -> None:
    raise Fenced("not any more")


def letting(times: int) -> Callable[[], None]:
    """A guard that has nothing against the first so many looks."""
    left = iter(range(times))
    return lambda: fenced() if next(left, None) is None else None


CALLS = [
    pytest.param("POST", RUN, False, id="a create"),
    pytest.param("PATCH", RUN, False, id="a patch"),
    pytest.param("PUT", RUN, False, id="an update"),
    pytest.param("DELETE", RUN, False, id="a delete"),
    pytest.param("GET", RUN, True, id="a look"),
    pytest.param("PUT", LEASE, True, id="an update of a Lease"),
    pytest.param("POST", LEASE.removesuffix("/b"), True, id="a new Lease"),
]


@pytest.mark.parametrize(("method", "path", "passes"), CALLS)
async def test_what_passes_the_fence(method: str, path: str, passes: bool) -> None:
    async with connected() as (client, arrived):
        client.fence.guard = fenced
        if passes:
            await client.request(method, path)
        else:
            with pytest.raises(Fenced):
                await client.request(method, path)
        assert arrived == ([method] if passes else [])


async def test_without_a_guard_everything_passes() -> None:
    async with connected() as (client, arrived):
        await client.request("DELETE", RUN)
        assert arrived == ["DELETE"]


async def test_a_session_that_is_lent_has_the_same_fence() -> None:
    async with connected() as (client, arrived):
        lent = await client.lend()
        client.fence.guard = fenced
        with pytest.raises(Fenced):
            await lent.session.patch(lent.server + RUN)
        await (await lent.session.get(lent.server + RUN)).read()
        assert arrived == ["GET"]


async def test_a_connection_of_the_pool_has_the_same_fence() -> None:
    async with connected() as (client, arrived):
        await client.request("GET", RUN)
        client.fence.guard = fenced
        with pytest.raises(Fenced):
            await client.request("PATCH", RUN)
        await client.request("GET", RUN)
        assert arrived == ["GET", "GET"]


async def test_a_call_that_aiohttp_sends_again_is_looked_at_again() -> None:
    """As it does with a DELETE when a connection of its pool turns out to be broken."""
    arrived: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        arrived.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = ClusterClient(Configuration(host=f"http://127.0.0.1:{port}"), reload=False)
        try:
            await client.request("GET", RUN)
            client.fence.guard = letting(1)
            with pytest.raises(Fenced):
                await client.request("DELETE", RUN)
        finally:
            await client.close()
    assert [each.split()[0] for each in arrived] == [b"GET", b"DELETE"]
