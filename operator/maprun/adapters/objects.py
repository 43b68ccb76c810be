"""Small things said to and asked of the API server about one run: its status, events and data, a trial of its Job.

Rule 1: each function is one call and names its errors; nothing is repeated here, but for the wait for our kind.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from maprun.adapters.cluster import JSON_PATCH, ApiError, ClusterClient
from maprun.core.resources import Metadata
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION, RunRef

REPORTER: Final = "maprun.dev/operator"
NOTE_LIMIT: Final = 1024  # bytes; the API server refuses a longer note
SERVED_SECONDS: Final = 2.0  # between two looks for our kind

log = logging.getLogger("maprun")


class RunEvent(msgspec.Struct, frozen=True):
    """Something worth telling about a run, once. `name` makes it unique: the same name again is the same event.

    `kind` is Normal or Warning; `at` in seconds since the epoch.
    """

    name: str
    kind: str
    reason: str
    note: str
    at: float


class _Known(msgspec.Struct):
    metadata: Metadata
    status: dict[str, Any] = {}


class _Secret(msgspec.Struct):
    data: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"_Secret({', '.join(self.data)})"


class _ConfigMap(msgspec.Struct, rename="camel"):
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class _Kind(msgspec.Struct):
    name: str


class _Kinds(msgspec.Struct):
    resources: list[_Kind]


async def patch_status(client: ClusterClient, run: RunRef, status: dict[str, Any], without: Iterable[str] = ()) -> None:
    """Set these fields of the run's status, take those away that it is to be `without`, and leave the others. Errors:
    `ApiError`, with status 404 and the run's name in its details when the run is gone, and only then.

    A resource that was deleted and made anew under the same name is another run, and is left alone. That takes a JSON
    patch that tests the uid: a merge patch of the status subresource ignores all metadata, preconditions too.
    """
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{run.namespace}/{PLURAL}/{run.name}"
    fields = [{"op": "add", "path": f"/status/{field}", "value": value} for field, value in status.items()]
    for field in without:  # set first: taking away what is not there would be refused
        fields += [
            {"op": "add", "path": f"/status/{field}", "value": None},
            {"op": "remove", "path": f"/status/{field}"},
        ]
    try:
        await _patch(client, run, path, fields)
    except ApiError as error:
        if error.status not in (404, 422):
            raise
        # A CRD without the status subresource answers 404 with the name, too: the resource itself has the last word.
        known = msgspec.json.decode(await client.request("GET", path), type=_Known)
        if known.metadata.uid != run.uid:
            message = f"MapRun {run.name} is another run by now"
            raise ApiError(404, "NotFound", message, details={"name": run.name}) from error
        if error.status == 404:
            raise ApiError(404, "NotFound", f"MapRun {run.name} is there, but its status cannot be written") from error
        if known.status:
            raise
        await _patch(client, run, path, [{"op": "add", "path": "/status", "value": status}])


async def _patch(client: ClusterClient, run: RunRef, path: str, operations: list[dict[str, Any]]) -> None:
    guard = {"op": "test", "path": "/metadata/uid", "value": run.uid}
    body = msgspec.json.encode([guard, *operations])
    await client.request("PATCH", f"{path}/status", body, content_type=JSON_PATCH)


async def create_event(client: ClusterClient, run: RunRef, event: RunEvent) -> None:
    """Tell an event about the run. One that was told before is fine. Errors: `ApiError`."""
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": run.namespace},
        "eventTime": datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTER,
        "reportingInstance": REPORTER,
        "action": event.reason,
        "reason": event.reason,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
        },
        "note": _shortened(event.note),
        "type": event.kind,
    }
    try:
        await client.request("POST", f"/apis/events.k8s.io/v1/namespaces/{run.namespace}/events", body)
    except ApiError as error:
        if error.status != 409:
            raise


async def read_secret(client: ClusterClient, namespace: str, name: str) -> dict[str, bytes]:
    """The values of a Secret. Errors: `ApiError`, with status 404 when it does not exist and 403 when it may not be
    read.
    """
    answer = await client.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    data = msgspec.json.decode(answer, type=_Secret).data
    return {key: base64.b64decode(value) for key, value in data.items()}


async def read_config_map(client: ClusterClient, namespace: str, name: str) -> dict[str, bytes]:
    """The values of a ConfigMap. Errors as those of `read_secret`."""
    answer = await client.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    known = msgspec.json.decode(answer, type=_ConfigMap)
    text = {key: value.encode() for key, value in known.data.items()}
    return text | {key: base64.b64decode(value) for key, value in known.binary_data.items()}


async def served(client: ClusterClient) -> None:
    """Returns when the API server has our kind. That takes no right but the one to look around, which everyone has."""
    missing = False
    while True:
        try:
            known = await client.request("GET", f"/apis/{GROUP}/{VERSION}")
        except ApiError as error:
            if error.status != 404 and not error.unavailable:
                raise
        else:
            if any(each.name == PLURAL for each in msgspec.json.decode(known, type=_Kinds).resources):
                return
        if not missing:
            log.warning("The API server has no %s.%s yet; waiting for the CRD", PLURAL, GROUP)
        missing = True
        await asyncio.sleep(SERVED_SECONDS)


async def check_job(client: ClusterClient, job: dict[str, Any]) -> str:
    """Ask the API server whether it would take this Job. "" when it would, else its message. Other errors:
    `ApiError`.
    """
    path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs"
    try:
        await client.request("POST", path, job, {"dryRun": "All", "fieldValidation": "Strict"})
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return error.message
    return ""


def _shortened(note: str) -> str:
    raw = note.encode()
    return note if len(raw) <= NOTE_LIMIT else raw[: NOTE_LIMIT - 3].decode(errors="ignore") + "…"
