"""The Kubernetes API server: authenticated calls with JSON bodies, and errors that say what happened.

Rule 1: configuration and credentials are `kubernetes.aio`'s (in-cluster, kubeconfig, exec plugins, token files);
calls go through one aiohttp session of our own, with raw bytes, because the generated models cost ten times the CPU.
Rule 2: every failure is an `ApiError`; status 0 means that no answer came.
Rule 3: no call is repeated here, but for one: a 401 loads the credentials anew and tries once more.
Rule 4: a call that changes something is sent only while `fence.guard` lets it; what that raises goes to the caller.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from maprun.adapters.cluster_calls import Calls, Fence, verb_of
from maprun.errors import MapRunError
from maprun.ports import UNOBSERVED, Observer

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
TIMEOUT: Final = 30.0  # seconds for one call
RELOAD_INTERVAL: Final = 5.0  # seconds between two loads of the credentials
READ_BUFFER: Final = 2**20
CLOSING_ROUNDS: Final = 3  # of the event loop, in which a closed TLS connection lets go of its socket

Body = bytes | dict[str, Any] | msgspec.Struct | None


class ApiError(MapRunError):
    """The API server refused a call, or did not answer (`status` 0). `message` is its own text, `retry_after` in
    seconds (0: not said).
    """

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float = 0.0, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.details = details or {}

    @property
    def unavailable(self) -> bool:
        """True when the same call may well succeed a little later: no answer, too many requests, a server's error."""
        return self.status in (0, 408, 429) or self.status >= 500


class Connection(msgspec.Struct, frozen=True):
    """The API server and a session that is known to it, for a library that makes its own calls."""

    server: str
    session: aiohttp.ClientSession


class _Status(msgspec.Struct):
    """A `v1.Status`, the body of every error."""

    reason: str = ""
    message: str = ""
    code: int = 0
    details: dict[str, Any] | None = None


class ClusterClient:
    """One API server. Make it with `connect`, inside a running event loop."""

    def __init__(
        self,
        configuration: Configuration,
        reload: bool,
        kubeconfig: str | None = None,
        context: str | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.calls, self.fence = Calls(observer), Fence()
        self._source = (kubeconfig, context) if reload else None
        self._loaded_at = time.monotonic()
        self._loading = asyncio.Lock()
        self._lent: tuple[object, Connection] | None = None
        self._use(configuration)

    @classmethod
    async def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, observer: Observer = UNOBSERVED
    ) -> ClusterClient:
        """The cluster of `kubeconfig` (a path) and `context`; without both, the one this pod runs in, else the
        default kubeconfig.

        Raises `ApiError` when there is no usable configuration.
        """
        return cls(await _configuration(kubeconfig, context), True, kubeconfig, context, observer)

    async def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout: float = TIMEOUT,
    ) -> bytes:
        """One call; returns the body of the answer. `path` begins with / and is percent-encoded where needed. Errors:
        `ApiError`.
        """
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        async with self._exchange(
            method, path, params, data, content_type, aiohttp.ClientTimeout(total=timeout)
        ) as answer:
            return await answer.read()

    async def stream(self, path: str, params: Mapping[str, str], silence: float) -> AsyncGenerator[bytes]:
        """The body of a GET as it arrives, in pieces; `ApiError` with status 0 when nothing arrives for `silence`
        seconds.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=silence)
        async with self._exchange("GET", path, params, None, JSON, limit) as answer:
            async for piece in answer.content.iter_any():
                yield piece

    async def lend(self) -> Connection:
        """A session with the credentials as they are now, whose calls are counted with ours; the same one while they
        are the same. `close` closes it. Errors: `ApiError`.
        """
        found = await _configuration(*self._source) if self._source else self._configuration
        token = await found.get_api_key_with_prefix("BearerToken") or ""
        known = (found.host, token, found.ssl_ca_cert, found.verify_ssl, found.cert_file, found.key_file, found.proxy)
        if self._lent is None or self._lent[0] != known:
            headers = {"Authorization": token} if token else {}
            session = self._opened(found, headers=headers, proxy=found.proxy or None)
            await self._take_back()
            self._lent = known, Connection(found.host.rstrip("/"), session)
        return self._lent[1]

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._take_back()
        for _ in range(CLOSING_ROUNDS):
            await asyncio.sleep(0)

    async def _take_back(self) -> None:
        if self._lent is not None:
            await self._lent[1].session.close()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self._base}{path}?{urlencode(params)}" if params else self._base + path
        try:
            answer = await self._send(method, url, data, content_type, limit)
            if answer.status == 401 and await self._reload():
                answer.release()
                answer = await self._send(method, url, data, content_type, limit)
            async with answer:
                if answer.status >= 300:
                    raise _refusal(answer.status, answer.headers.get("Retry-After", ""), await answer.read())
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            # aiohttp tells of a session that was closed meanwhile with a bare RuntimeError.
            what = str(error) or type(error).__name__
            raise ApiError(0, "Unreachable", f"The API server did not answer {method} {path}: {what}") from error

    async def _send(
        self, method: str, url: str, data: bytes | None, content_type: str, limit: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = await self._headers(content_type)
        verb = verb_of(method, *url.removeprefix(self._base).partition("?")[::2])
        return await self._session.request(
            method, url, data=data, headers=headers, timeout=limit, trace_request_ctx=verb, **self._extra
        )

    async def _headers(self, content_type: str) -> dict[str, str]:
        # Identity: compressing a list costs the API server more than the network that it saves.
        headers = {"Accept": JSON, "Content-Type": content_type, "Accept-Encoding": "identity", "User-Agent": "maprun"}
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        return headers

    def _use(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._base = configuration.host.rstrip("/")
        self._extra: dict[str, Any] = {}
        if configuration.tls_server_name:
            self._extra["server_hostname"] = configuration.tls_server_name
        if configuration.proxy:
            self._extra |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        self._session = self._opened(configuration)

    def _opened(self, configuration: Configuration, **options: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(configuration).ssl_context),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            trace_configs=[self.fence.trace, self.calls.trace],
            **options,
        )

    async def _reload(self) -> bool:
        """Load the credentials again (an exec plugin runs, a token file is read). False when that was done a moment
        ago.
        """
        async with self._loading:
            if self._source is None or time.monotonic() - self._loaded_at < RELOAD_INTERVAL:
                return False
            self._loaded_at = time.monotonic()
            before = self._session
            self._use(await _configuration(*self._source))
            # Calls in flight fail, and are repeated by whoever made them, as after any cut.
            await before.close()
            return True


def _refusal(status: int, retry_after: str, body: bytes) -> ApiError:
    try:
        told = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:  # a proxy answered, or an admission chain in plain text
        told = _Status(message=body[:1000].decode(errors="replace"))
    details = told.details or {}
    wait = float(retry_after) if retry_after.isdecimal() else float(details.get("retryAfterSeconds") or 0)
    return ApiError(status, told.reason, told.message, wait, details)


async def _configuration(kubeconfig: str | None, context: str | None) -> Configuration:
    """Credentials from where `connect` says. Nothing is written back to the user's file."""
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(
                config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError) as error:
        raise ApiError(0, "NoConfiguration", f"There is no usable configuration for a cluster: {error}") from error
    return configuration
