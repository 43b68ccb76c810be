"""MapRuns on a real API server that a real operator drives, made and watched from outside."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import boto3

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.watching import lines
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server

Json = dict[str, Any]
WAIT_SECONDS: Final = 60.0
WATCH_SECONDS: Final = 120
GONE: Final = 410
SECRET: Final = "s3"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass
class Space:
    """One namespace of the cluster."""

    client: ClusterClient
    name: str

    def path(self, kind: str, name: str = "", group: str = "") -> str:
        """URL path of a collection (`kind` in the plural), or of one object in it."""
        base = f"/apis/{group}" if group else "/api/v1"
        return f"{base}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    async def open(self) -> Space:
        """Make the namespace, if it is not there, and wait until pods can be made in it."""
        with suppress(ApiError):
            await self.client.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        await until(lambda: self._found(self.path("serviceaccounts", "default")))
        return self

    async def close(self) -> None:
        """Begin to delete the namespace with everything in it."""
        await self.client.request("DELETE", f"/api/v1/namespaces/{self.name}")

    async def secret(self, values: dict[str, str], name: str = SECRET) -> None:
        """Make a Secret, or replace it."""
        body = {"metadata": {"name": name}, "stringData": values}
        with suppress(ApiError):
            await self.client.request("DELETE", self.path("secrets", name))
        await self.client.request("POST", self.path("secrets"), body)

    async def create(self, spec: Json, name: str = "", labels: dict[str, str] | None = None) -> Run:
        """Make a MapRun. Errors: `ApiError`."""
        name = name or f"run-{uuid.uuid4().hex[:6]}"
        metadata = {"name": name, "labels": labels or {}}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        path = self.path(PLURAL, group=f"{GROUP}/{VERSION}")
        made = json.loads(await self.client.request("POST", path, body, {"fieldValidation": "Strict"}))
        return Run(self, name, made["metadata"]["uid"])

    async def _found(self, path: str) -> bool:
        try:
            await self.client.request("GET", path)
        except ApiError:
            return False
        return True


@dataclass
class Run:
    """One MapRun."""

    space: Space
    name: str
    uid: str

    @property
    def path(self) -> str:
        return self.space.path(PLURAL, self.name, f"{GROUP}/{VERSION}")

    async def get(self) -> Json:
        """The resource. Errors: `ApiError`, with 404 when it is gone."""
        got: Json = json.loads(await self.space.client.request("GET", self.path))
        return got

    async def status(self) -> Json:
        return dict((await self.get()).get("status") or {})

    async def until(self, condition: Callable[[Json], object], seconds: float = WAIT_SECONDS) -> Json:
        """Wait until the status fulfils the condition; returns that status."""
        last: Json = {}

        async def fulfilled() -> object:
            last.clear()
            last.update(await self.status())
            return condition(last)

        await until(fulfilled, seconds, lambda: json.dumps(last, indent=1))
        return dict(last)

    async def ended(self, seconds: float = WAIT_SECONDS) -> Json:
        """Wait for the run's end; returns its status."""
        return await self.until(lambda status: verdict(status) in ("True", "False"), seconds)

    async def change(self, **spec: Any) -> None:
        """Merge these fields into the spec."""
        await self.space.client.request("PATCH", self.path, {"spec": spec}, content_type=MERGE_PATCH)

    async def delete(self) -> None:
        """Begin to delete the resource."""
        await self.space.client.request("DELETE", self.path, {"propagationPolicy": "Background"})

    async def gone(self) -> bool:
        try:
            await self.get()
        except ApiError as error:
            return error.status == 404
        return False

    async def events(self) -> list[Event]:
        """What was told about the run, oldest first."""
        path = self.space.path("events", group="events.k8s.io/v1")
        answer = json.loads(await self.space.client.request("GET", path))["items"]
        mine = [each for each in answer if each["regarding"].get("uid") == self.uid]
        assert all("deprecatedCount" not in each for each in mine)
        mine.sort(key=lambda each: each["eventTime"])
        return [Event(each["type"], each["reason"], each["note"]) for each in mine]

    async def jobs(self) -> list[Json]:
        """The run's Jobs that are there."""
        selector = {"labelSelector": f"maprun.dev/run-uid={self.uid}"}
        path = self.space.path("jobs", group="batch/v1")
        items: list[Json] = json.loads(await self.space.client.request("GET", path, params=selector))["items"]
        return items


@dataclass(frozen=True)
class Event:
    """An event of a run."""

    type: str
    reason: str
    note: str


@dataclass
class Seen:
    """What a watch brought so far: (type, object) in order, and when each arrived (monotonic seconds)."""

    events: list[tuple[str, Json]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, kind: str, each: Json) -> None:
        """An event has arrived."""
        self.events.append((kind, each))
        self.times.append(time.monotonic())

    def replace(self, items: list[Json]) -> None:
        """Behind a gap this is what there is. In which order it happened nobody knows, so what succeeded comes last."""
        there = {each["metadata"]["uid"] for each in items}
        known = {each["metadata"]["uid"]: (kind, each) for kind, each in self.events}
        for uid, (kind, each) in known.items():
            if kind != "DELETED" and uid not in there:
                self.add("DELETED", each)
        for each in sorted(items, key=lambda each: each.get("status", {}).get("phase") == "Succeeded"):
            self.add("MODIFIED", each)

    def of(self, run: Run) -> Iterator[tuple[str, Json]]:
        """The events of a run's Jobs."""
        for kind, each in self.events:
            if each["metadata"].get("labels", {}).get("maprun.dev/run-uid") == run.uid:
                yield kind, each

    def created(self, run: Run) -> dict[str, tuple[int, int]]:
        """Every Job of the run that ever was: uid → (child, attempt)."""
        return {each["metadata"]["uid"]: attempt_of(each) for _, each in self.of(run)}

    def live(self, run: Run) -> set[str]:
        """The uids of those that were not deleted yet."""
        return {each["metadata"]["uid"] for kind, each in self.of(run)} - {
            each["metadata"]["uid"] for kind, each in self.of(run) if kind == "DELETED"
        }

    def most_at_once(self, run: Run) -> int:
        """The most Jobs of the run that were there at one time."""
        live: set[str] = set()
        most = 0
        for kind, each in self.of(run):
            (live.discard if kind == "DELETED" else live.add)(each["metadata"]["uid"])
            most = max(most, len(live))
        return most


def attempt_of(job: Json) -> tuple[int, int]:
    """Child and attempt of a Job."""
    labels = job["metadata"]["labels"]
    return int(labels["maprun.dev/child"]), int(labels["maprun.dev/attempt"])


@dataclass
class Watch:
    """A watch of a collection that fills `seen`. `version` is where it has come to."""

    client: ClusterClient
    path: str
    seen: Seen = field(default_factory=Seen)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    version: str = ""

    async def go_on(self) -> None:
        """The server may end a watch, or be away; the next one goes on where it ended."""
        await self._list()
        self.ready.set()
        while True:
            try:
                await self._follow()
            except ApiError as error:
                if not error.unavailable:
                    raise
                await asyncio.sleep(0.2)

    async def _list(self) -> list[Json]:
        found = json.loads(await self.client.request("GET", self.path))
        self.version = found["metadata"]["resourceVersion"]
        return list(found["items"])

    async def _follow(self) -> None:
        query = {"watch": "1", "resourceVersion": self.version, "timeoutSeconds": str(WATCH_SECONDS)}
        async for line in lines(self.client.stream(self.path, query, WATCH_SECONDS)):
            event = json.loads(line)
            if event["type"] == "ERROR":  # a server that was started again knows nothing of that version
                assert event["object"]["code"] == GONE, event
                return self.seen.replace(await self._list())
            self.seen.add(event["type"], event["object"])
            self.version = event["object"]["metadata"]["resourceVersion"]
        return None


@asynccontextmanager
async def watching(client: ClusterClient, path: str) -> AsyncIterator[Seen]:
    """Watch a collection in the background, from now on; nothing is missed, but what comes and goes while a server is
    started again.
    """
    watch = Watch(client, path)
    task = asyncio.create_task(watch.go_on())
    try:
        await until(lambda: _either(watch.ready, task))
        yield watch.seen
        assert not task.done(), f"the watch ended: {task}"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _either(ready: asyncio.Event, task: asyncio.Task[None]) -> bool:
    """Raises what ended the task."""
    if task.done():
        task.result()
    return ready.is_set()


@asynccontextmanager
async def spaces(cluster: Cluster, *names: str) -> AsyncIterator[list[Space]]:
    """Namespaces of these names."""
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    try:
        yield [await Space(client, name).open() for name in names]
    finally:
        await client.close()
        await asyncio.sleep(0.05)  # a TLS connection is closed a moment after aiohttp said so


async def until(
    condition: Callable[[], Any], seconds: float = WAIT_SECONDS, told: Callable[[], str] = lambda: "never came true"
) -> None:
    """Wait, with a bound, until an awaited condition holds; fails with what `told` says."""
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, told()
        await asyncio.sleep(0.1)


def verdict(status: Json) -> str:
    """Value of the condition, "" before there is one."""
    return str(condition(status).get("status", ""))


def condition(status: Json) -> Json:
    """The condition Succeeded, empty before there is one."""
    found: Json = next((each for each in status.get("conditions", []) if each["type"] == "Succeeded"), {})
    return found


def spec(items: Any = None, *, pod: Json | None = None, processor: Json | None = None, **fields: Any) -> Json:
    """A spec whose pods end as the annotations that `pod` makes say (`test-` left out); `items` is its input."""
    annotations = {f"maprun.dev/test-{key}": value for key, value in (pod or {}).items()}
    template = {
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "handler"}]},
    }
    given = {} if items is None else {"input": items}
    return {**given, "itemProcessor": {"jobTemplate": {"spec": {"template": template}}, **(processor or {})}, **fields}


def access(server: S3Server, secret: str = SECRET) -> Json:
    """`spec.s3` for a run with a Secret of its own."""
    return {"endpoint": server.endpoint, "region": server.region, "credentialsSecretRef": {"name": secret}}


def secret_of(server: S3Server) -> dict[str, str]:
    """The Secret's values."""
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def reader(bucket: str, key: str = "", **config: Any) -> Json:
    """An `itemReader` of one JSON object, or of a listing without `key`."""
    if not key:
        return {"resource": "s3:listObjectsV2", "parameters": {"bucket": bucket}}
    config = {"inputType": "JSON", **config}
    return {"resource": "s3:getObject", "parameters": {"bucket": bucket, "key": key}, "readerConfig": config}


def writer(bucket: str, prefix: str = "out") -> Json:
    """A `resultWriter`."""
    return {"resource": "s3:putObject", "parameters": {"bucket": bucket, "prefix": prefix}}


class Buckets:
    """The S3 server as its owner sees it. `close` it."""

    def __init__(self, server: S3Server) -> None:
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
        )

    def close(self) -> None:
        """Close the connections."""
        self.s3.close()

    def make(self, **objects: Any) -> str:
        """A new bucket that holds these objects (bytes as they are, anything else as JSON, under its name + .json)."""
        name = f"b-{uuid.uuid4().hex[:10]}"
        self.s3.create_bucket(Bucket=name)
        for key, value in objects.items():
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.s3.put_object(Bucket=name, Key=f"{key}.json", Body=body)
        return name

    def fill(self, bucket: str, keys: Sequence[str]) -> None:
        """Put an empty object under each key."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def read(self, bucket: str, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def results(self, status: Json) -> Results:
        """The files that a run's status leads to."""
        where = status["resultWriterDetails"]
        text = self.read(where["bucket"], where["key"])
        listed: dict[str, list[Json]] = json.loads(text)["ResultFiles"]
        files = {each["Key"]: self.read(where["bucket"], each["Key"]) for kind in listed.values() for each in kind}
        return Results(where["bucket"], where["key"], text, files)


@dataclass(frozen=True)
class Results:
    """A manifest and the files it lists, by key."""

    bucket: str
    key: str
    manifest: bytes
    files: dict[str, bytes]

    def records(self, category: str) -> list[Json]:
        """The records of SUCCEEDED, FAILED or PENDING, in the order of the files."""
        listed = json.loads(self.manifest)["ResultFiles"][category]
        return [record for each in listed for record in json.loads(self.files[each["Key"]])]
