"""Leaving: the Lease first, then the finalizers, whatever happens meanwhile; and never for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, cast

import pytest

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.leaving import LIMIT_SECONDS, NOTICE_SECONDS, leave
from maprun.core.lifecycle import FINALIZER
from maprun.errors import MapRunError

pytestmark = pytest.mark.looptime

RUNS: Final = "/apis/maprun.dev/v1alpha1/mapruns"
LEASE: Final = "system/maprun"


class Cluster:
    """A Lease and runs by name, each with its finalizers. `before` runs before each call, and may raise. The answers to
    the calls in `lost` are lost, each once.
    """

    def __init__(self, holder: str = "pod-1", **runs: list[str]) -> None:
        self.lease: dict[str, Any] | None = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": holder}}
        self.runs = runs
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda call: None
        self.lost: list[str] = []

    async def request(self, method: str, path: str, body: Any = None, **_: Any) -> bytes:
        call = f"{method} {path.rpartition('/')[2]}"
        self.calls.append(call)
        self.before(call)
        answer = self._answer(method, path, body)
        if call in self.lost:
            self.lost.remove(call)
            raise ApiError(0, "Unreachable", "")
        return answer

    def _answer(self, method: str, path: str, body: Any) -> bytes:
        if "/leases" in path:
            return self._lease(method, body)
        if method == "GET":
            assert path == RUNS
            items = [self._run(name, finalizers) for name, finalizers in self.runs.items()]
            return json.dumps({"metadata": {}, "items": items}).encode()
        self._patch(path.rpartition("/")[2], json.loads(body))
        return b"{}"

    def _lease(self, method: str, body: Any) -> bytes:
        if method != "GET":
            body["metadata"]["resourceVersion"] = "2"
            self.lease = body
        if self.lease is None:
            raise ApiError(404, "NotFound", "")
        return json.dumps(self.lease).encode()

    def _run(self, name: str, finalizers: list[str]) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "finalizers": finalizers}}

    def _patch(self, name: str, operations: list[dict[str, Any]]) -> None:
        if name not in self.runs:
            raise ApiError(404, "NotFound", "")
        at = int(operations[2]["path"].rpartition("/")[2])
        if operations[1]["value"] != self.runs[name][at]:
            raise ApiError(422, "Invalid", "the test failed")
        assert operations[0] == {"op": "test", "path": "/metadata/uid", "value": f"uid-{name}"}
        del self.runs[name][at]


async def left(cluster: Cluster, lease: str = LEASE) -> list[str]:
    """What it said."""
    said: list[str] = []
    await leave(cast(ClusterClient, cluster), lease, (), said.append)
    return said


async def test_the_lease_is_ours_before_anything_else_and_in_the_end() -> None:
    cluster = Cluster(one=[FINALIZER], two=["other", FINALIZER], three=["other"], four=[])
    began = asyncio.get_running_loop().time()
    said = await left(cluster)
    assert asyncio.get_running_loop().time() - began >= NOTICE_SECONDS
    assert cluster.runs == {"one": [], "two": ["other"], "three": ["other"], "four": []}
    assert [call.split()[0] for call in cluster.calls] == "GET PUT GET PATCH PATCH GET GET PUT".split()
    assert cluster.lease is not None
    assert cluster.lease["spec"] | {"acquireTime": "", "renewTime": ""} == {
        "holderIdentity": "maprun-leave",
        "leaseDurationSeconds": 60,
        "acquireTime": "",
        "renewTime": "",
        "leaseTransitions": 0,
    }
    assert said[0].startswith("took Lease system/maprun from pod-1; waiting 8 seconds")
    assert "not done, 2 in number" in said[1]


async def test_where_nobody_leads_nobody_is_waited_for() -> None:
    began = asyncio.get_running_loop().time()
    assert (await left(Cluster("")))[0] == "took Lease system/maprun, which nobody held"
    assert asyncio.get_running_loop().time() - began < NOTICE_SECONDS


def finalizers_go_at(cluster: Cluster) -> list[float]:
    """When each finalizer is taken off, counted from now."""
    loop, times = asyncio.get_running_loop(), list[float]()
    began, before = loop.time(), cluster.before

    def noting(call: str) -> None:
        before(call)
        if call.startswith("PATCH"):
            times.append(loop.time() - began)

    cluster.before = noting
    return times


async def test_who_led_is_waited_for_though_the_answer_to_the_taking_was_lost() -> None:
    """The second look shows the Lease as ours; the leader has not noticed yet."""
    cluster = Cluster("pod-1", one=[FINALIZER])
    cluster.lost = ["PUT maprun"]
    times = finalizers_go_at(cluster)
    said = await left(cluster)
    assert cluster.lost == []
    assert said[0].startswith("took Lease system/maprun from pod-1; waiting 8 seconds")
    assert min(times) >= NOTICE_SECONDS


async def test_who_led_is_waited_for_where_an_earlier_try_was_killed_behind_the_taking() -> None:
    cluster = Cluster("maprun-leave", one=[FINALIZER])
    times = finalizers_go_at(cluster)
    assert (await left(cluster))[0].startswith("took Lease system/maprun from maprun-leave; waiting 8 seconds")
    assert min(times) >= NOTICE_SECONDS


async def test_without_a_lease_there_is_none_to_take() -> None:
    cluster = Cluster(one=[FINALIZER])
    (said,) = await left(cluster, "")
    assert "not done, 1 in number" in said
    assert not any(call.split()[1] == "maprun" for call in cluster.calls)


async def test_a_lease_that_is_not_there_is_made() -> None:
    cluster = Cluster()
    cluster.lease = None
    await left(cluster)
    assert cluster.lease is not None


MEANWHILE = [
    pytest.param("PUT maprun", lambda c: _raise(409), id="the holder renews the Lease at the same time"),
    pytest.param("GET maprun", lambda c: _raise(503), id="the API server is busy"),
    pytest.param("GET mapruns", lambda c: _raise(0), id="the API server does not answer for a moment"),
    pytest.param("PATCH one", lambda c: c.runs["one"].insert(0, "new"), id="somebody adds a finalizer"),
    pytest.param("PATCH one", lambda c: c.runs.pop("one"), id="somebody takes the last one away"),
    pytest.param("PATCH one", lambda c: _raise(500), id="the API server has trouble"),
]


def _raise(status: int) -> None:
    raise ApiError(status, "", "")


@pytest.mark.parametrize(("call", "happens"), MEANWHILE)
async def test_what_happens_meanwhile_is_met(call: str, happens: Callable[[Cluster], None]) -> None:
    cluster, once = Cluster(one=[FINALIZER], two=[FINALIZER]), [call]

    def before(made: str) -> None:
        if made in once:
            once.clear()
            happens(cluster)

    cluster.before = before
    await left(cluster)
    assert not once
    assert all(FINALIZER not in finalizers for finalizers in cluster.runs.values())


async def test_one_that_led_again_meanwhile_is_stopped_as_well() -> None:
    """The Lease is held for a minute; to let go of the runs may take longer."""
    cluster = Cluster(one=[FINALIZER])
    looked = 0

    def before(call: str) -> None:
        nonlocal looked
        looked += call == "GET maprun"
        if call == "GET maprun" and looked == 2:
            assert cluster.lease is not None
            cluster.lease["spec"]["holderIdentity"] = "pod-2"
            cluster.runs["two"] = [FINALIZER]

    cluster.before = before
    said = await left(cluster)
    assert cluster.runs == {"one": [], "two": []}
    assert [line for line in said if line.startswith("took Lease")][1].startswith("took Lease system/maprun from pod-2")
    assert cluster.lease is not None
    assert cluster.lease["spec"]["holderIdentity"] == "maprun-leave"


async def test_without_the_crd_there_are_no_runs() -> None:
    cluster = Cluster()
    cluster.before = lambda call: _raise(404) if call == "GET mapruns" else None
    assert "no MapRun had the operator's finalizer" in await left(cluster)


async def test_what_it_may_not_do_is_told() -> None:
    cluster = Cluster(one=[FINALIZER])
    cluster.before = lambda call: _raise(403) if call == "PATCH one" else None
    with pytest.raises(ApiError):
        await left(cluster)


async def test_it_does_not_wait_for_ever() -> None:
    cluster = Cluster()
    cluster.before = lambda call: _raise(0)
    began = asyncio.get_running_loop().time()
    with pytest.raises(MapRunError, match="not done after 120 seconds"):
        await left(cluster)
    assert asyncio.get_running_loop().time() - began == pytest.approx(LIMIT_SECONDS, abs=2)
