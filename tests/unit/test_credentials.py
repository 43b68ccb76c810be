"""Whose S3 credentials a run has, what is told when it has none, and that no value of them ever shows."""

from __future__ import annotations

import base64
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec
import pytest

import maprun
from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.credentials import s3_access
from maprun.adapters.namespace_values import NotReady
from maprun.adapters.s3_access import S3Access
from maprun.adapters.s3_policy import NotAllowed, S3Policy
from maprun.errors import Reason
from maprun.model import MapRunSpec

OWN: Final = S3Access("http://own.example.com", "us-east-1", "OWN-KEY", "own-secret", "own-token")
GOOD: Final = {"AWS_ACCESS_KEY_ID": "THEIRS", "AWS_SECRET_ACCESS_KEY": "their-secret"}
HIDDEN: Final = "never-to-be-shown"


class Api:
    """Answers for one Secret, and remembers what was asked."""

    def __init__(self, secret: dict[str, str] | ApiError) -> None:
        self.secret, self.asked = secret, list[str]()

    async def request(self, method: str, path: str) -> bytes:
        self.asked.append(f"{method} {path}")
        if isinstance(self.secret, ApiError):
            raise self.secret
        data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secret.items()}
        return msgspec.json.encode({"data": data})


LOCAL: Final = {"resource": "configmap", "parameters": {"name": "data", "key": "data.csv"}}
READER: Final = {"resource": "s3:listObjectsV2", "parameters": {"bucket": "data"}}


def spec(reads: bool = True, **s3: Any) -> MapRunSpec:
    fields = {"itemReader": READER} if reads else {}
    return msgspec.convert({**fields, "s3": s3, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)


async def asked(api: Api, made: MapRunSpec, policy: S3Policy) -> S3Access:
    return await s3_access(cast(ClusterClient, api), "team", made, policy)


REF: Final = {"credentialsSecretRef": {"name": "s3"}}


@pytest.mark.parametrize("shared", [False, True], ids=["not shared", "shared"])
async def test_an_own_secret_wins(shared: bool) -> None:
    api = Api(GOOD)
    access = await asked(api, spec(**REF), S3Policy(OWN, shared))
    assert access == S3Access(OWN.endpoint, OWN.region, "THEIRS", "their-secret")
    assert api.asked == ["GET /api/v1/namespaces/team/secrets/s3"]


async def test_an_own_endpoint_is_guarded_and_gets_nothing_of_the_operators() -> None:
    made = spec(**REF, endpoint="http://other.example.com", region="eu-central-1")
    access = await asked(Api({**GOOD, "AWS_SESSION_TOKEN": "token"}), made, S3Policy(OWN, shared=True))
    theirs = S3Access("http://other.example.com", "eu-central-1", "THEIRS", "their-secret", "token", guarded=True)
    assert access == theirs


async def test_the_operators_endpoint_said_again_is_not_guarded() -> None:
    access = await asked(Api(GOOD), spec(**REF, endpoint="http://OWN.example.com:80/"), S3Policy(OWN))
    assert not access.guarded
    assert access.endpoint == OWN.endpoint


@pytest.mark.parametrize("loopback", [False, True])
async def test_whether_this_machine_is_allowed_goes_with_it(loopback: bool) -> None:
    policy = S3Policy(OWN, loopback=loopback)
    access = await asked(Api(GOOD), spec(**REF, endpoint="http://other.example.com"), policy)
    assert access.loopback is loopback
    listed = S3Policy(OWN, endpoints=("http://localhost:9000",))
    assert (await asked(Api(GOOD), spec(**REF, endpoint="http://localhost:9000"), listed)).loopback


@pytest.mark.parametrize(
    ("fields", "shared", "access"),
    [
        pytest.param({"itemReader": READER}, True, OWN, id="shared"),
        pytest.param({}, False, OWN, id="not shared, and not needed"),
        pytest.param({"itemReader": LOCAL}, False, OWN, id="not needed to read a ConfigMap"),
        pytest.param({"resultWriter": {"writerConfig": {}}}, False, OWN, id="not needed to shape the output"),
    ],
)
async def test_the_operators_own(fields: dict[str, Any], shared: bool, access: S3Access) -> None:
    api = Api(GOOD)
    made = msgspec.convert({**fields, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)
    assert await asked(api, made, S3Policy(OWN, shared)) == access
    assert api.asked == []


REFUSED: Final = ApiError(403, "Forbidden", "secrets is forbidden")


NO: Final = (Reason.SECRET_NOT_FOUND, "there is no Secret s3 in the namespace team")
MISSING: Final = (Reason.SECRET_NOT_USABLE, "the Secret s3 in the namespace team has no ")
WRONG: Final = (Reason.SECRET_NOT_USABLE, " of the Secret s3 in the namespace team must be one word of ASCII")


@pytest.mark.parametrize(
    ("secret", "reason", "told"),
    [
        pytest.param(ApiError(404, "NotFound", ""), *NO, id="there is none"),
        pytest.param(REFUSED, Reason.SECRET_NOT_USABLE, "may not read the Secret s3", id="it may not be read"),
        pytest.param({}, *MISSING, id="it is empty"),
        pytest.param({**GOOD, "AWS_SECRET_ACCESS_KEY": " \n"}, *MISSING, id="a blank value"),
        pytest.param({**GOOD, "AWS_SECRET_ACCESS_KEY": f"{HIDDEN}\nHost: x"}, *WRONG, id="a value of two lines"),
        pytest.param({**GOOD, "AWS_ACCESS_KEY_ID": f"{HIDDEN} {HIDDEN}"}, *WRONG, id="a value of two words"),
        pytest.param({**GOOD, "AWS_SESSION_TOKEN": f"{HIDDEN}é"}, *WRONG, id="a value that is not ASCII"),
    ],
)
async def test_what_is_missing_is_told_and_never_a_value(
    secret: dict[str, str] | ApiError, reason: Reason, told: str
) -> None:
    with pytest.raises(NotReady) as caught:
        await asked(Api(secret), spec(**REF), S3Policy(OWN, shared=True))
    assert caught.value.reason is reason
    assert str(caught.value).startswith("spec.s3.credentialsSecretRef.name: ")
    assert told in str(caught.value)
    assert not re.search(f"{HIDDEN}|their-secret|THEIRS|own-secret", str(caught.value))


async def test_white_space_around_a_value_is_no_part_of_it() -> None:
    padded = {key: f"\n {value} \n" for key, value in GOOD.items()}
    assert (await asked(Api(padded), spec(**REF), S3Policy(OWN))).secret_access_key == "their-secret"


async def test_a_refused_endpoint_reads_no_secret() -> None:
    api = Api(GOOD)
    with pytest.raises(NotAllowed):
        await asked(api, spec(**REF, endpoint="http://169.254.169.254"), S3Policy(OWN))
    assert api.asked == []


NAMES: Final = [
    *("../../kube-system/secrets/token", "..", ".", "a/b", "/a", "a%2fb", "%2e%2e", "a?b", "a#b", "a\\b", "A", "a b"),
    *("", "-a", "a-", "a" * 254, "ä", "a\0", "a:b", "a,b", "a*"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_name_of_a_secret_is_no_path(name: str) -> None:
    """The operator's own check; the CRD has the same pattern (test_security_tenancy.py)."""
    with pytest.raises(msgspec.ValidationError, match=r"credentialsSecretRef.name"):
        spec(credentialsSecretRef={"name": name})


def structs() -> Iterator[type[msgspec.Struct]]:
    """Every struct of the package."""
    for module in pkgutil.walk_packages(maprun.__path__, "maprun."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [*msgspec.Struct.__subclasses__()]
    while found:
        each = found.pop()
        found += each.__subclasses__()
        if each.__module__.startswith("maprun"):
            yield each


SECRET_FIELD: Final = re.compile(r"secret_access_key|access_key_id|token$|password|authorization", re.IGNORECASE)


def test_a_struct_that_holds_a_credential_does_not_show_it() -> None:
    """Only `S3Access` has such fields; whatever holds one shows it by `S3Access`'s own `repr`."""
    holders = {each for each in structs() for name in each.__struct_fields__ if SECRET_FIELD.search(name)}
    assert holders == {S3Access}
    shown = repr([OWN, S3Policy(OWN, endpoints=("http://a.example.com",)), {"access": OWN}, (OWN,)])
    assert "own.example.com" in shown
    assert not re.search("OWN-KEY|own-secret|own-token", shown)


def test_a_secret_of_the_api_server_does_not_show_its_values() -> None:
    from maprun.adapters.objects import _Secret

    assert repr(_Secret({"AWS_ACCESS_KEY_ID": "QUtJRA=="})) == "_Secret(AWS_ACCESS_KEY_ID)"
