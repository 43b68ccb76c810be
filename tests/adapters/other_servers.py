"""HTTP servers that are no S3 server: what a run's endpoint may lead to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """What the server says to every request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class _Quiet(ThreadingHTTPServer):
    """Says nothing of a connection that a client broke."""

    def handle_error(self, *_: object) -> None:
        """Nothing."""


class OtherServer:
    """Answers everything alike on loopback, and keeps the first line of each request in `requests`."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.requests, self.connections = answer, list[str](), 0
        other = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                other.connections += 1
                super().setup()

            def reply(self) -> None:
                other.requests.append(self.requestline)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(other.answer.status)
                for name, value in {"Content-Length": str(len(other.answer.body)), **other.answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(other.answer.body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = reply

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Until `close`."""
        self._server.serve_forever(0.05)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def other_server(answer: Answer) -> Iterator[OtherServer]:
    """A server that answers so."""
    server = OtherServer(answer)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
