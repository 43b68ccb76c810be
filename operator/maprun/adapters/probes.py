"""The operator's one HTTP port for machines: /metrics, /healthz and /readyz.

Rule 1: it runs on the operator's own event loop, so that a loop that hangs fails its liveness probe.
Rule 2: only GET and HEAD are answered. Nothing can be changed here, and of a run only name and counts are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from maprun.errors import MapRunError

PORT: Final = 8080
PATHS: Final = ("/metrics", "/healthz", "/readyz")
OK: Final = "ok"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], str]
"""What is wrong right now, in words for the one who reads the probe's failure; "" when all is well."""


class Probes:
    """Serves `registry` and two checks. A check that tells of a problem answers 503 with its text, otherwise 200; then
    /readyz says with `role` what this operator does.
    """

    def __init__(
        self, registry: CollectorRegistry, healthy: Check, ready: Check, role: Callable[[], str] = lambda: OK
    ) -> None:
        self._registry = registry
        app = web.Application(middlewares=[_not_found])
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", _probe(healthy))
        app.router.add_get("/readyz", _probe(ready, role))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, port: int = PORT, host: str | None = None) -> int:
        """Listen on `host` (None: every address of the machine) and return the port, which is a free one for 0.

        `MapRunError` when the port cannot be had.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise MapRunError(
                f"cannot serve metrics and probes on port {port}: {error.strerror or error}; "
                "choose another port, or stop what is listening there"
            ) from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening; requests under way get one second."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        # With many live runs that takes longer than the event loop should be kept waiting.
        body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type})


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # what the library raises for a version that is no number
        return choose_encoder("")


def _probe(check: Check, role: Callable[[], str] = lambda: OK) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(status=503 if problem else 200, text=f"{problem or role()}\n")

    return answer


@web.middleware
async def _not_found(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text=f"Nothing is here. There is {', '.join(PATHS)}.\n")
