"""The value of a ConfigMap or Secret: which is read, what is told when it is missing, and that no value ever shows."""

from __future__ import annotations

import base64
from typing import Any, Final, cast

import msgspec
import pytest

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.namespace_dataset import read_value
from maprun.adapters.namespace_values import NotReady
from maprun.adapters.sources import Resume, open_source
from maprun.adapters.stores import BucketsRef
from maprun.errors import Reason, RunFailed, StatesError
from maprun.model import MapRunSpec
from maprun.model_reading import ItemReader
from maprun.planning import PlanRequest

HIDDEN: Final = "never-to-be-shown"
BYTES: Final = b"\x1f\x8b\xff"


class Api:
    """Answers every GET with this object, and remembers what was asked."""

    def __init__(self, answer: dict[str, Any] | ApiError) -> None:
        self.answer, self.asked = answer, list[str]()

    async def request(self, method: str, path: str) -> bytes:
        self.asked.append(f"{method} {path}")
        if isinstance(self.answer, ApiError):
            raise self.answer
        return msgspec.json.encode(self.answer)


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def reader(resource: str, key: str = "a.csv", input_type: str = "JSON") -> ItemReader:
    parameters = {"name": "data", "key": key}
    fields = {"resource": resource, "parameters": parameters, "readerConfig": {"inputType": input_type}}
    return msgspec.convert(fields, ItemReader)


async def read(api: Api, which: ItemReader) -> bytes:
    return await read_value(cast(ClusterClient, api), "team", which)


MAP: Final = {"data": {"a.csv": "grün"}, "binaryData": {"a.gz": packed(BYTES)}}


@pytest.mark.parametrize(
    ("answer", "resource", "key", "value"),
    [
        pytest.param(MAP, "configmap", "a.csv", "grün".encode(), id="text of a ConfigMap"),
        pytest.param(MAP, "configmap", "a.gz", BYTES, id="bytes of a ConfigMap"),
        pytest.param({"data": {"a.csv": ""}}, "configmap", "a.csv", b"", id="an empty value"),
        pytest.param({"data": {"a.csv": packed(BYTES)}}, "secret", "a.csv", BYTES, id="a Secret"),
    ],
)
async def test_a_value_is_read(answer: dict[str, Any], resource: str, key: str, value: bytes) -> None:
    api = Api(answer)
    assert await read(api, reader(resource, key)) == value
    assert api.asked == [f"GET /api/v1/namespaces/team/{resource}s/data"]


MISSING: Final = ApiError(404, "NotFound", "not found")
FORBIDDEN: Final = ApiError(403, "Forbidden", "no rights")
OTHER: Final = {"data": {"b.csv": packed(HIDDEN.encode())}}
CREATE: Final = "create it with the key a.csv, the run then goes on by itself"


@pytest.mark.parametrize(
    ("answer", "resource", "reason", "told"),
    [
        pytest.param(
            MISSING,
            "configmap",
            Reason.CONFIG_MAP_NOT_FOUND,
            f"name: there is no ConfigMap data in the namespace team; {CREATE}",
            id="no ConfigMap",
        ),
        pytest.param(
            MISSING,
            "secret",
            Reason.SECRET_NOT_FOUND,
            f"name: there is no Secret data in the namespace team; {CREATE}",
            id="no Secret",
        ),
        pytest.param(
            FORBIDDEN,
            "configmap",
            Reason.CONFIG_MAP_NOT_USABLE,
            "name: the operator may not read the ConfigMap data: no rights",
            id="a right too few",
        ),
        pytest.param(
            FORBIDDEN,
            "secret",
            Reason.SECRET_NOT_USABLE,
            "name: the operator may not read the Secret data: no rights",
            id="a right too few for a Secret",
        ),
        pytest.param(
            OTHER,
            "configmap",
            Reason.CONFIG_MAP_NOT_USABLE,
            "key: the ConfigMap data in the namespace team has no key a.csv; add it, the run then goes on by itself",
            id="no key",
        ),
        pytest.param(
            OTHER,
            "secret",
            Reason.SECRET_NOT_USABLE,
            "key: the Secret data in the namespace team has no key a.csv; add it, the run then goes on by itself",
            id="no key in a Secret",
        ),
        pytest.param(
            {},
            "secret",
            Reason.SECRET_NOT_USABLE,
            "key: the Secret data in the namespace team has no key",
            id="nothing in it",
        ),
    ],
)
async def test_what_is_missing_is_waited_for(
    answer: dict[str, Any] | ApiError, resource: str, reason: Reason, told: str
) -> None:
    with pytest.raises(NotReady) as caught:
        await read(Api(answer), reader(resource))
    assert caught.value.reason is reason
    assert str(caught.value).startswith(f"spec.itemReader.parameters.{told}")
    assert HIDDEN not in str(caught.value)


async def test_an_api_server_that_cannot_answer_is_asked_again() -> None:
    with pytest.raises(ApiError):
        await read(Api(ApiError(503, "ServiceUnavailable", "later")), reader("secret"))


def items(which: ItemReader, value: bytes, resume: Resume = Resume()) -> list[Any]:
    spec = MapRunSpec(item_processor=PROCESSOR, item_reader=which)
    source = open_source(spec, BucketsRef(root="/nowhere").open(), {}, resume, value)
    return [(block.uri, list(block.values), source.fingerprint) for block in source.blocks]


PROCESSOR: Final = msgspec.convert({"itemProcessor": {"jobTemplate": {}}}, MapRunSpec).item_processor


def test_a_value_is_a_dataset_by_the_name_of_its_object() -> None:
    (block,) = items(reader("configmap"), b"[1,2]")
    assert block[:2] == ("configmap://data/a.csv", [1, 2])


def test_another_value_under_the_key_fails_the_run_that_is_half_planned() -> None:
    (block,) = items(reader("secret"), b"[1,2]")
    assert items(reader("secret"), b"[1,2]", Resume(1, "", block[2]))[0][1] == [2]
    with pytest.raises(RunFailed, match=r"secret://data/a\.csv changed"):
        items(reader("secret"), b"[1,3]", Resume(1, "", block[2]))


@pytest.mark.parametrize(
    ("input_type", "value"),
    [
        pytest.param("JSON", HIDDEN, id="JSON"),
        pytest.param("JSON", f'["{HIDDEN}" "{HIDDEN}"]', id="JSON that breaks behind a value"),
        pytest.param("JSON", f'["{HIDDEN}', id="JSON that ends in a value"),
        pytest.param("JSON", f'"{HIDDEN}"', id="JSON that is no array"),
        pytest.param("JSONL", f'1\n"{HIDDEN}" "{HIDDEN}"', id="JSON Lines"),
        pytest.param("CSV", f"{HIDDEN},{HIDDEN}\n1,2", id="CSV with a header twice"),
        pytest.param("PARQUET", f"{HIDDEN} and no more", id="Parquet"),
    ],
)
def test_an_error_of_a_broken_value_does_not_show_it(input_type: str, value: str) -> None:
    config = {"inputType": input_type, "csvHeaderLocation": "FIRST_ROW"}
    fields = {"resource": "secret", "parameters": {"name": "data", "key": "a"}, "readerConfig": config}
    with pytest.raises(RunFailed) as caught:
        items(msgspec.convert(fields, ItemReader), value.encode())
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    assert HIDDEN not in f"{caught.value} {caught.value.failure}"


def test_a_request_to_plan_shows_no_value() -> None:
    request = PlanRequest("file:///here", MapRunSpec(item_processor=PROCESSOR), {}, local=HIDDEN.encode())
    assert HIDDEN not in repr(request)
    assert msgspec.json.decode(msgspec.json.encode(request), type=PlanRequest) == request
