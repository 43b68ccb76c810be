"""A small API server in this process, on loopback: Jobs, pods and Secrets, with versions, lists, watches and faults.

Rule 1: it behaves like the real one where MapRun depends on it: names are unique, versions grow, a watch tells every
change after a version, deletes obey preconditions.
Rule 2: nothing happens by itself: the test is scheduler, kubelet and Job controller.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from maprun.adapters.cluster import ClusterClient
from maprun.ports import UNOBSERVED, Observer

Thing = dict[str, Any]
COLLECTION = re.compile(
    r"^/(?:api|apis/[a-z0-9.]+)/v[a-z0-9]+/(?:namespaces/(?P<ns>[^/]+)/)?"
    r"(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?P<more>/.*)?$"
)
NOW = "2026-09-23T22:58:45Z"
LATER = "2026-09-23T22:58:49Z"


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, status: int, reason: str, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.headers = status, reason, message or reason, headers or {}


class FakeApi:
    """Things by kind and (namespace, name); `calls` are the requests so far, as "METHOD kind/name"."""

    def __init__(self) -> None:
        self.things: dict[str, dict[tuple[str, str], Thing]] = {"jobs": {}, "pods": {}, "secrets": {}, "events": {}}
        self.calls: list[str] = []
        self.logs: dict[str, str] = {}
        self.lose_answers = 0  # that many creates take effect without an answer
        self.away = False  # then nothing is answered
        self._faults: list[tuple[str, Refusal]] = []
        self._version = 100
        self._history: list[tuple[int, str, str, Thing]] = []
        self._forgotten = 0
        self._news = asyncio.Condition()
        self._watches: set[asyncio.Task[Any]] = set()

    # What a test does.

    def fail(self, call: str, times: int, refusal: Refusal) -> None:
        """Answer the next calls that begin with `call` ("POST jobs") like this."""
        self._faults += [(call, refusal)] * times

    def jobs(self) -> list[str]:
        """Names of the Jobs that exist."""
        return sorted(name for _, name in self.things["jobs"])

    async def put(self, kind: str, thing: Thing) -> Thing:
        """Create or replace a thing, as some controller would."""
        key = (thing["metadata"].setdefault("namespace", "default"), thing["metadata"]["name"])
        thing["metadata"].setdefault("uid", f"uid-{kind}-{key[1]}-{self._version}")
        event = "MODIFIED" if key in self.things[kind] else "ADDED"
        self.things[kind][key] = thing
        await self._happened(event, kind, thing)
        return thing

    async def remove(self, kind: str, name: str) -> None:
        """Delete a thing, as somebody else would."""
        thing = self.things[kind].pop(("default", name))
        await self._happened("DELETED", kind, thing)

    async def job_ends(self, name: str, kind: str, reason: str = "") -> None:
        """Give a Job the terminal condition `kind`."""
        job = copy.deepcopy(self.things["jobs"]["default", name])
        condition = {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": LATER}
        job.setdefault("status", {}).setdefault("conditions", []).append(condition)
        await self.put("jobs", job)

    async def suspend(self, name: str, held: bool = True) -> None:
        """Say of a Job, as the Job controller does, that somebody suspended or resumed it."""
        job = copy.deepcopy(self.things["jobs"]["default", name])
        told = {"type": "Suspended", "status": str(held), "reason": "", "message": "", "lastTransitionTime": NOW}
        job["status"] = {"conditions": [told]}
        await self.put("jobs", job)

    async def pod(self, job: str, phase: str, state: Thing | None = None, **status: Any) -> Thing:
        """Put the pod of a Job into a state."""
        owner = self.things["jobs"]["default", job]
        labels = owner["spec"]["template"]["metadata"]["labels"] | {
            "batch.kubernetes.io/controller-uid": owner["metadata"]["uid"]
        }
        containers = [{"name": "main", "image": "busybox", "state": state}] if state is not None else []
        known = self.things["pods"].get(("default", f"{job}-pod"), {"metadata": {"name": f"{job}-pod"}})
        metadata = {**known["metadata"], "labels": labels, "creationTimestamp": NOW}
        return await self.put(
            "pods", {"metadata": metadata, "status": {"phase": phase, "containerStatuses": containers, **status}}
        )

    async def succeed(self, job: str, message: str = "") -> None:
        """The Job's pod ends with exit code 0."""
        await self.pod(job, "Succeeded", terminated(0, message))

    def cut_watches(self) -> None:
        """Break every watch that is open."""
        for task in self._watches:
            task.cancel()

    def forget_history(self) -> None:
        """No watch can go on from an earlier version: 410."""
        self._forgotten = self._version

    # What a client does.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        match = COLLECTION.match(request.path)
        assert match is not None, request.path
        kind, name = match["kind"], match["name"]
        self.calls.append(f"{request.method} {kind}" + (f"/{name}" if name else ""))
        try:
            self._fault()
            if "watch" in request.query:
                return await self._watch(request, kind)
            return await self._respond(request, kind, match["ns"], name, match["more"])
        except Refusal as refusal:
            status = {"kind": "Status", "reason": refusal.reason, "message": refusal.message, "code": refusal.status}
            return web.json_response(status, status=refusal.status, headers=refusal.headers)

    def _fault(self) -> None:
        for fault in self._faults:
            if self.calls[-1].startswith(fault[0]):
                self._faults.remove(fault)
                raise fault[1]

    async def _respond(
        self, request: web.Request, kind: str, namespace: str, name: str | None, more: str | None
    ) -> web.Response:
        if more == "/log":
            if name not in self.logs:
                raise Refusal(404, "NotFound")
            return web.Response(text=self.logs[name])
        if request.method == "POST":
            return await self._create(request, kind, namespace)
        if name is None:
            return self._list(request, kind)
        if (namespace, name) not in self.things[kind]:
            raise Refusal(404, "NotFound", f"{kind} {name} not found")
        if request.method == "DELETE":
            await self._delete(request, kind, namespace, name)
        return web.json_response(self.things[kind].get((namespace, name), {}))

    async def _create(self, request: web.Request, kind: str, namespace: str) -> web.Response:
        thing = json.loads(await request.read())
        if (namespace, thing["metadata"]["name"]) in self.things[kind]:
            raise Refusal(409, "AlreadyExists", f"{kind} {thing['metadata']['name']} already exists")
        await self.put(kind, thing)
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(thing, status=201)

    async def _delete(self, request: web.Request, kind: str, namespace: str, name: str) -> None:
        body = json.loads(await request.read() or b"{}")
        wanted = body.get("preconditions", {}).get("uid")
        if wanted not in (None, self.things[kind][namespace, name]["metadata"]["uid"]):
            raise Refusal(409, "Conflict", "uid in precondition")
        await self.remove(kind, name)

    def _list(self, request: web.Request, kind: str) -> web.Response:
        things = list(self.things[kind].values())
        if kind == "events":
            things = [each for each in things if each["involvedObject"]["uid"] in request.query["fieldSelector"]]
        begin, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", len(things) + 1))
        metadata = {"resourceVersion": str(self._version)}
        if begin + limit < len(things):
            metadata["continue"] = str(begin + limit)
        return web.json_response({"metadata": metadata, "items": things[begin : begin + limit]})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self._forgotten:
            await self._write(
                response,
                "ERROR",
                {"kind": "Status", "code": 410, "status": "Failure", "metadata": {}, "message": "too old"},
            )
            return response
        task = asyncio.create_task(self._tell(response, kind, since))
        self._watches.add(task)
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
        self._watches.discard(task)
        return response

    async def _tell(self, response: web.StreamResponse, kind: str, since: int) -> None:
        while True:
            async with self._news:
                news = [each for each in self._history if each[0] > since and each[2] == kind]
                if not news:
                    await self._news.wait()
            for version, event, _, thing in news:
                await self._write(response, event, thing)
                since = version

    async def _write(self, response: web.StreamResponse, event: str, thing: Thing) -> None:
        await response.write(f'{{"type":"{event}","object":{json.dumps(thing)}}}\n'.encode())

    async def _happened(self, event: str, kind: str, thing: Thing) -> None:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, event, kind, copy.deepcopy(thing)))
        async with self._news:
            self._news.notify_all()


def terminated(code: int, message: str = "", reason: str = "") -> Thing:
    """The state of a container that ended."""
    end = {"exitCode": code, "message": message, "reason": reason, "startedAt": NOW, "finishedAt": LATER}
    return {"terminated": end}


@asynccontextmanager
async def serving(api: FakeApi, observer: Observer = UNOBSERVED) -> AsyncIterator[ClusterClient]:
    """The fake server on a free port, and a client of it."""
    server = web.Application(client_max_size=2**22)
    server.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = ClusterClient(Configuration(host=site.name), reload=False, observer=observer)
    try:
        yield client
    finally:
        await client.close()
        api.cut_watches()
        await runner.cleanup()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait, with a bound, until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
