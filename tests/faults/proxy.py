"""An HTTP server that stands before another one and does to chosen requests what networks and busy servers do.

Rule 1: what no rule meets passes as it is, `Host` included, which S3's signatures cover; answers are passed on as they
        come, so that watches live.
Rule 2: a fault is data. A rule says which requests it meets, by method and path, how many it lets pass first, and how
        many it meets; the first rule that meets a request has it.
Rule 3: it runs in a thread of its own: a test that blocks its event loop does not stop it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

HOP: Final = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
LARGEST: Final = 64 << 20
START_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Answer:
    """The proxy answers; the server is not asked."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LostAnswer:
    """The server has done it and has answered; the answer is lost, and the connection is cut so many seconds later."""

    after: float = 0.0


@dataclass(frozen=True)
class Delayed:
    """The server is asked so many seconds later."""

    seconds: float


@dataclass(frozen=True)
class CutBody:
    """The answer's head and so many bytes of its body arrive, then the connection is cut."""

    after: int


@dataclass(frozen=True)
class Hushed:
    """The answer's head and so many bytes of its body arrive, then nothing: not even the end of the connection."""

    after: int


Fault = Answer | LostAnswer | Delayed | CutBody | Hushed


@dataclass
class Rule:
    """Which requests get the fault: `method` and `path` (with its query) are regular expressions that must be found,
    the first `skip` of them pass, at most `times` are met (None: all), and of those a `ratio`, drawn from a seed.
    """

    fault: Fault
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int | None = None
    ratio: float = 1.0
    seen: int = 0
    met: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random("faults"))

    def meets(self, method: str, path: str) -> bool:
        """True when this request gets the fault; counts it."""
        if not (re.search(self.method, method) and re.search(self.path, path)):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.met >= self.times):
            return False
        if self.rng.random() >= self.ratio:
            return False
        self.met += 1
        return True


def api_error(status: int, reason: str, retry_after: int | None = None) -> Answer:
    """As the API server says it."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    headers = {"Content-Type": "application/json"} | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return Answer(status, json.dumps(told | {"message": "made by a test"}).encode(), headers)


def watch_error(status: int, reason: str) -> Answer:
    """A watch that begins well and tells an error in its stream, as the API server does with a version too old."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    event = {"type": "ERROR", "object": told | {"message": "made by a test"}}
    line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
    return Answer(200, line, {"Content-Type": "application/json"})


def s3_error(status: int, code: str) -> Answer:
    """As S3 says it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>made by a test</Message></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


class FaultProxy:
    """Stands before `upstream`, an origin like https://127.0.0.1:6443, whose certificate is not looked at. `url` is
    the proxy's own origin, plain HTTP.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._rules: list[Rule] = []
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self.url = ""

    def start(self) -> FaultProxy:
        """Returns when it listens."""
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the proxy does not start"
        return self

    def close(self) -> None:
        """Cut what is under way, and end."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def add(self, *rules: Rule) -> None:
        """From now on these rules hold, behind those that are there."""
        self._rules += rules

    @contextmanager
    def fault(self, *rules: Rule) -> Iterator[None]:
        """These rules hold for the time of the block."""
        self.add(*rules)
        try:
            yield
        finally:
            self.clear()

    def clear(self) -> None:
        """No fault any more."""
        self._rules = []

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
        connector = aiohttp.TCPConnector(limit=0, ssl=_trusting() if self._upstream.startswith("https") else True)
        async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=LARGEST)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                self._ready.set()
                await self._stopped.wait()
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self._fault_for(request)
        if isinstance(fault, Answer):
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        if isinstance(fault, Delayed):
            await asyncio.sleep(fault.seconds)
        try:
            async with self._asked(request, body) as answer:
                if isinstance(fault, LostAnswer):
                    await answer.read()
                    await asyncio.sleep(fault.after)
                    return _cut(request)
                return await _passed_on(request, answer, fault)
        except aiohttp.ClientError:  # the server is away, or cut its answer
            return _cut(request)

    def _fault_for(self, request: web.Request) -> Fault | None:
        return next((rule.fault for rule in self._rules if rule.meets(request.method, request.raw_path)), None)

    def _asked(self, request: web.Request, body: bytes) -> aiohttp.client._RequestContextManager:
        url = URL(self._upstream + request.raw_path, encoded=True)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        unwanted = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
        return self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False, skip_auto_headers=unwanted
        )


async def _passed_on(request: web.Request, answer: aiohttp.ClientResponse, fault: Fault | None) -> web.StreamResponse:
    """The answer as it comes, up to where the fault ends it."""
    passed = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if name.lower() not in HOP:
            passed.headers.add(name, value)
    if "Content-Length" in answer.headers:
        passed.content_length = int(answer.headers["Content-Length"])
    left = fault.after if isinstance(fault, CutBody | Hushed) else None
    with suppress(ConnectionError):  # the client has gone
        await passed.prepare(request)
        async for chunk in answer.content.iter_any():
            await passed.write(chunk if left is None else chunk[:left])
            left = None if left is None else left - len(chunk)
            if left is not None and left <= 0:
                return await _ended(request, passed, fault)
        await passed.write_eof()
    return passed


async def _ended(request: web.Request, passed: web.StreamResponse, fault: Fault | None) -> web.StreamResponse:
    if isinstance(fault, Hushed):
        await asyncio.Event().wait()  # until the client goes: that cancels us
    _cut(request)
    return passed


def _cut(request: web.Request) -> web.Response:
    """Cut the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
