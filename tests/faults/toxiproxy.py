"""toxiproxy: connections that are cut, silent, slow, or end in the middle of an answer; TLS passes through untouched.

Rule 1: faults of HTTP itself (a status, an answer that is lost) are proxy.py's: toxiproxy sees bytes, not requests.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from tests.cluster import binaries
from tests.operator_process import eventually, free_port

HTTP_SECONDS: Final = 5.0


class Link:
    """A way to `upstream` (host:port) by `address`, as good as a direct one until somebody breaks it."""

    def __init__(self, server: Toxiproxy, name: str, address: str) -> None:
        self._server, self._name, self.address = server, name, address

    @contextmanager
    def down(self) -> Iterator[None]:
        """Every connection is cut, and new ones are refused."""
        self._server.ask("POST", f"/proxies/{self._name}", {"enabled": False})
        try:
            yield
        finally:
            self._server.ask("POST", f"/proxies/{self._name}", {"enabled": True})

    @contextmanager
    def toxic(self, kind: str, toxicity: float = 1.0, stream: str = "downstream", **attributes: int) -> Iterator[None]:
        """Every connection (or a share of them) suffers from a toxic of this kind: docs of toxiproxy tell the kinds.

        `timeout` with `timeout=0`: silence. `limit_data` with `bytes`: cut behind so many. `latency` in milliseconds.
        `reset_peer` with `timeout`: cut with RST after so many milliseconds.
        """
        toxic = {"name": kind, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self._server.ask("POST", f"/proxies/{self._name}/toxics", toxic)
        try:
            yield
        finally:
            self._server.ask("DELETE", f"/proxies/{self._name}/toxics/{kind}")


class Toxiproxy:
    """The server; `close` it."""

    def __init__(self) -> None:
        self._port = free_port()
        program = binaries.tool(binaries.TOXIPROXY)
        self._process = subprocess.Popen(
            [program, "-host=127.0.0.1", f"-port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, told=lambda: "toxiproxy does not answer")

    def close(self) -> None:
        """End it, and every connection through it."""
        self._process.kill()
        self._process.wait()

    def link(self, name: str, upstream: str) -> Link:
        """A new way to a server."""
        made = self.ask("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream})
        return Link(self, name, made["listen"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request of its API."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HTTP_SECONDS)
        with closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status < 300, f"{method} {path}: {text.decode()}"
        return json.loads(text) if text else None

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/proxies")
        except OSError:
            return False
        return True
