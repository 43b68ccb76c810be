"""The probes' port, over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from maprun.adapters.probes import Probes
from maprun.errors import MapRunError
from tests.unit.live_run import everything


@asynccontextmanager
async def probes(healthy: str = "", ready: str = "", role: str = "ok") -> AsyncIterator[aiohttp.ClientSession]:
    """A client of probes that answer like this, over loopback."""
    server = Probes(everything(), lambda: healthy, lambda: ready, lambda: role)
    port = await server.start(0, "127.0.0.1")
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await server.close()


NOWHERE = "Nothing is here. There is /metrics, /healthz, /readyz.\n"

ANSWERS = [
    ("healthy", "GET", "/healthz", {}, 200, "ok\n"),
    ("ready", "GET", "/readyz", {}, 200, "ok\n"),
    ("unhealthy", "GET", "/healthz", {"healthy": "the watch of Jobs ended"}, 503, "the watch of Jobs ended\n"),
    ("not ready", "GET", "/readyz", {"ready": "starting"}, 503, "starting\n"),
    ("healthy though not ready", "GET", "/healthz", {"ready": "starting"}, 200, "ok\n"),
    ("ready as a standby", "GET", "/readyz", {"role": "standby: a leads"}, 200, "standby: a leads\n"),
    ("a standby is healthy", "GET", "/healthz", {"role": "standby: a leads"}, 200, "ok\n"),
    ("a standby in trouble", "GET", "/readyz", {"role": "standby: a leads", "ready": "no right"}, 503, "no right\n"),
    ("HEAD has no body", "HEAD", "/healthz", {}, 200, ""),
    ("HEAD of the metrics", "HEAD", "/metrics", {}, 200, ""),
    ("POST is not allowed", "POST", "/metrics", {}, 405, None),
    ("DELETE is not allowed", "DELETE", "/healthz", {}, 405, None),
    ("an unknown path names those that there are", "GET", "/metric", {}, 404, NOWHERE),
    ("an unknown path is not found with any method", "POST", "/", {}, 404, NOWHERE),
]


@pytest.mark.parametrize(
    ("method", "path", "checks", "code", "body"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
async def test_answers(method: str, path: str, checks: dict[str, str], code: int, body: str | None) -> None:
    async with probes(**checks) as client, client.request(method, path) as answer:
        assert answer.status == code
        assert body is None or await answer.text() == body
        assert code != 405 or answer.headers["Allow"] == "GET,HEAD"


FORMATS = [
    ("OpenMetrics for whom asks for it", "application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ("text for everybody else", "*/*", "text/plain"),
    ("text when the version is no number", "application/openmetrics-text; version=latest", "text/plain"),
]


@pytest.mark.parametrize(("accept", "content_type"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS])
async def test_formats_of_the_metrics(accept: str, content_type: str) -> None:
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    async with probes() as client, client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.content_type == content_type
        families = {family.name: family for family in parse(await answer.text())}
    assert len(families["maprun_items"].samples) == 7
    assert families["maprun_map_runs_open"].samples[0].value == 1


async def test_a_port_in_use_is_told_in_plain_words() -> None:
    first = Probes(CollectorRegistry(), lambda: "", lambda: "")
    second = Probes(CollectorRegistry(), lambda: "", lambda: "")
    port = await first.start(0, "127.0.0.1")
    try:
        with pytest.raises(MapRunError, match=rf"port {port}.*in use.*choose another port"):
            await second.start(port, "127.0.0.1")
    finally:
        await first.close()
