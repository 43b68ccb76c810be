"""Connections for the S3 endpoint of a run, which lead nowhere that `s3_policy` forbids.

Rule 1: a name is judged by what it resolves to: before connecting, and again by the connected socket before a byte is
        sent, so that a name whose address changes in between leads nowhere.
Rule 2: only connections to an endpoint that a run names are guarded. The operator's own settings are the
        administrator's, and its own credentials (from a metadata service, perhaps) are not fetched through here.
Rule 3: a refusal tells no address: what a name means inside the cluster is not a run's business.
"""

from __future__ import annotations

import socket
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection

from maprun.adapters.s3_policy import OWN_POD, forbidden


class Forbidden(CancelledError):
    """A connection that a run must not make. A cancellation, since that is what boto3 hands on as it is, and at once;
    anything else counts as a broken connection, and is tried again.
    """


def guard(pools: dict[str, Any], *, loopback: bool) -> None:
    """Let these classes of connection pools, by scheme, make guarded connections only; `Forbidden` then comes out of
    a request. `loopback`: this machine is allowed.
    """
    base = _Guarded if loopback else _GuardedInPod
    for scheme, pool in list(pools.items()):
        connection = type(f"Guarded_{scheme}", (base, pool.ConnectionCls), {})
        pools[scheme] = type(f"GuardedPool_{scheme}", (pool,), {"ConnectionCls": connection})


class _Guarded(HTTPConnection):
    """Looks before it connects, and again at what it is connected to. Behind a proxy it is the proxy that decides."""

    loopback = True

    def _new_conn(self) -> socket.socket:
        if self.proxy is not None:
            return super()._new_conn()
        for address in _addresses(self.host, self.port):
            self._check(address)
        made = super()._new_conn()
        try:
            self._check_connected(made.getsockname()[0], made.getpeername()[0])
        except BaseException:
            made.close()
            raise
        return made

    def _check_connected(self, here: str, there: str) -> None:
        self._check(there)
        if here == there and not self.loopback:
            raise Forbidden(OWN_POD)

    def _check(self, address: str) -> None:
        if what := forbidden(address, loopback=self.loopback):
            raise Forbidden(what)


class _GuardedInPod(_Guarded):
    """In a pod, this machine is the operator itself and what else runs in its pod."""

    loopback = False


def _addresses(host: str, port: int) -> list[str]:
    """What a name means now; nothing when it means nothing, which connecting then tells."""
    with suppress(OSError, UnicodeError):
        return [str(each[4][0]) for each in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    return []
