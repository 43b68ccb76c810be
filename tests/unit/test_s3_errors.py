"""What the errors of S3 servers and of boto3 become, for those that no server at hand can be made to give."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto

from maprun.adapters.s3 import CONFLICTS, S3Store
from maprun.adapters.s3_errors import explained
from maprun.errors import AccessDenied, NotFound, StoreError, StoreUnavailable

ENDPOINT = "http://s3.example:9000"


def answer(code: str, status: int) -> boto.ClientError:
    error = {"Code": code, "Message": "AKIDEXAMPLE and a signature"}
    return boto.ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        pytest.param(answer("NoSuchKey", 404), NotFound, "check the key", id="a missing key"),
        pytest.param(answer("NoSuchBucket", 404), NotFound, "the bucket does not exist", id="a missing bucket"),
        pytest.param(answer("", 404), NotFound, "check bucket and key", id="404 without a code"),
        pytest.param(
            answer("AccessDenied", 403), AccessDenied, "the credentials need s3:GetObject", id="no permission"
        ),
        pytest.param(answer("", 403), AccessDenied, "the credentials need s3:GetObject", id="403 without a code"),
        pytest.param(answer("ExpiredToken", 400), AccessDenied, "new credentials", id="an expired token"),
        pytest.param(answer("RequestTimeTooSkewed", 403), AccessDenied, "set the clock", id="a wrong clock"),
        pytest.param(answer("PermanentRedirect", 301), StoreError, "set the region", id="another region"),
        pytest.param(
            answer("AuthorizationHeaderMalformed", 400), StoreError, "set the region", id="signed for another region"
        ),
        pytest.param(answer("", 307), StoreError, "set the region", id="a redirect without a code"),
        pytest.param(answer("SlowDown", 503), StoreUnavailable, "come back later", id="too many requests"),
        pytest.param(answer("InternalError", 500), StoreUnavailable, "has a problem", id="a server error"),
        pytest.param(answer("", 429), StoreUnavailable, "has a problem", id="429 without a code"),
        pytest.param(
            answer("WhatEver", 400), StoreError, "refuses the request (WhatEver, HTTP 400)", id="anything else"
        ),
        pytest.param(boto.NoCredentialsError(), AccessDenied, "provide AWS_ACCESS_KEY_ID", id="no credentials"),
        pytest.param(boto.ParamValidationError(report="x"), StoreError, "not a valid S3 name", id="a bad name"),
        pytest.param(
            boto.SSLError(endpoint_url="x", error=OSError()),
            StoreUnavailable,
            "certificate",
            id="an untrusted certificate",
        ),
        pytest.param(boto.EndpointConnectionError(endpoint_url="x"), StoreUnavailable, ENDPOINT, id="nobody listens"),
        pytest.param(
            boto.ConnectTimeoutError(endpoint_url="x"), StoreUnavailable, "cannot connect", id="nobody answers"
        ),
        pytest.param(
            boto.ReadTimeoutError(endpoint_url="x"), StoreUnavailable, "broke", id="an answer that never comes"
        ),
        pytest.param(
            boto.UnknownServiceError(service_name="x", known_service_names="y"),
            StoreError,
            "UnknownService",
            id="a defect",
        ),
    ],
)
def test_it_becomes(error: Exception, kind: type[StoreError], advice: str) -> None:
    made = explained(error, "GetObject", "data", "rows.json", ENDPOINT)
    assert type(made) is kind
    assert str(made).startswith("GetObject of bucket data, key rows.json: ")
    assert advice in str(made)
    assert "AKIDEXAMPLE" not in str(made)


class BusyClient:
    """Answers each of the first `conflicts` writes with 409, as S3 does while two of them run at once."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts, self.written = conflicts, b""

    def put_object(self, Body: bytes, **_: Any) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise answer("ConditionalRequestConflict", 409)
        self.written = Body


def test_a_conflict_of_two_writes_is_tried_again() -> None:
    client = BusyClient(CONFLICTS - 1)
    S3Store(client, "data").create("key", b"data")
    assert client.written == b"data"


def test_a_conflict_that_never_ends_is_for_later() -> None:
    with pytest.raises(StoreUnavailable, match="bucket data, key key: the bucket is busy"):
        S3Store(BusyClient(CONFLICTS), "data").create("key", b"data")
