"""What S3 and boto3 errors mean, in the store's words: a table from error code to kind, and what the user can do.

Rule 1: codes first, then the HTTP status: servers other than AWS know fewer codes.
Rule 2: a message holds operation, bucket, key, endpoint and code, not the server's text: that may quote the request,
        and an endpoint may lead to something that is no S3 server at all. A code is one word, or it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore import exceptions as boto
from urllib3.exceptions import HTTPError

from maprun.adapters.s3_guard import Forbidden
from maprun.errors import AccessDenied, NotFound, StoreError, StoreUnavailable

KEYS = "check the access key id and the secret access key of this S3 server"
REGION = "the bucket lies in another region: set the region to the bucket's own"
NOT_S3 = "the answer is not that of an S3 server: check the endpoint"
LATER = "the server asks to come back later"

CODES: Final[dict[str, tuple[type[StoreError], str]]] = {
    "NoSuchKey": (NotFound, "the object does not exist: check the key"),
    "NoSuchBucket": (NotFound, "the bucket does not exist: check its name, and that this is the right S3 server"),
    "NoSuchVersion": (NotFound, "the object has no such version: check the version's id"),
    "NoSuchUpload": (StoreUnavailable, "the upload was removed while it ran"),
    "InvalidAccessKeyId": (AccessDenied, f"the server does not know the access key id: {KEYS}"),
    "XAdminUserNotFound": (
        AccessDenied,
        f"the server does not know the access key id: {KEYS}",
    ),  # versitygw's name for it
    "SignatureDoesNotMatch": (AccessDenied, f"the server refuses the signature: {KEYS}, and the region"),
    "ExpiredToken": (AccessDenied, "the session token has expired: provide new credentials"),
    "InvalidToken": (AccessDenied, f"the session token is not valid: {KEYS}"),
    "RequestTimeTooSkewed": (AccessDenied, "this machine's clock differs too much from the server's: set the clock"),
    "PermanentRedirect": (StoreError, REGION),
    "AuthorizationHeaderMalformed": (StoreError, REGION),
    "IllegalLocationConstraintException": (StoreError, REGION),
    "InvalidBucketName": (StoreError, "the bucket's name is not a valid one"),
    "InvalidObjectState": (StoreError, "the object is archived: restore it first"),
    "KeyTooLongError": (StoreError, "the key is longer than 1,024 bytes"),
    "RequestTimeout": (StoreUnavailable, LATER),
    "SlowDown": (StoreUnavailable, LATER),
    "Throttling": (StoreUnavailable, LATER),
    "ThrottlingException": (StoreUnavailable, LATER),
    "RequestLimitExceeded": (StoreUnavailable, LATER),
}

PERMISSION: Final = {
    "GetObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
}


_code = re.compile(r"[A-Za-z0-9.]{1,64}")


def explained(error: Exception, operation: str, bucket: str, key: str, endpoint: str) -> StoreError:
    """The store's error for one of boto3's, about `operation` (an S3 API name) on a bucket and full key."""
    kind, advice = _answered(error, operation) if isinstance(error, boto.ClientError) else _unanswered(error, endpoint)
    return kind(f"{subject(operation, bucket, key)}: {advice}")


@contextmanager
def s3_answers(operation: str, bucket: str, key: str) -> Iterator[None]:
    """What cannot be read of an answer was not said by an S3 server: `StoreError`, in place of boto3's error, which
    would show the answer.
    """
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError, HTTPError, Forbidden, StoreError):
        raise
    except Exception:
        raise StoreError(f"{subject(operation, bucket, key)}: {NOT_S3}") from None


def subject(operation: str, bucket: str, key: str) -> str:
    """What a message is about: how each of them begins."""
    return f"{operation} of bucket {bucket}, " + (f"prefix {key!r}" if operation == "ListObjectsV2" else f"key {key}")


def _answered(error: boto.ClientError, operation: str) -> tuple[type[StoreError], str]:
    response: dict[str, Any] = error.response  # type: ignore[assignment]
    said = str(response.get("Error", {}).get("Code", ""))
    code = said if _code.fullmatch(said) else ""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in CODES:
        kind, advice = CODES[code]
    elif status == 404:
        kind, advice = NotFound, "it does not exist: check bucket and key"
    elif status in (401, 403):
        kind, advice = AccessDenied, f"no permission: the credentials need {PERMISSION[operation]} on it"
    elif status in (301, 307):
        kind, advice = StoreError, REGION
    elif status in (408, 429) or status >= 500:
        kind, advice = StoreUnavailable, "the server has a problem"
    else:
        kind, advice = StoreError, "the server refuses the request"
    return kind, f"{advice} ({code or 'no code'}, HTTP {status})"


def _unanswered(error: Exception, endpoint: str) -> tuple[type[StoreError], str]:
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return AccessDenied, "no credentials: provide AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, Forbidden):
        return AccessDenied, f"{endpoint} leads to {error}, which no run may reach: name another endpoint"
    if isinstance(error, boto.ParamValidationError):
        return StoreError, "bucket or key is not a valid S3 name"
    if isinstance(error, boto.SSLError):
        return StoreUnavailable, f"no trusted TLS connection to {endpoint}: check the endpoint and its certificate"
    if isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError):
        return StoreUnavailable, f"cannot connect to {endpoint}: check that the endpoint is right and the server runs"
    if isinstance(error, boto.HTTPClientError) or not isinstance(error, boto.BotoCoreError):
        return StoreUnavailable, f"the connection to {endpoint} broke"
    return StoreError, f"the S3 client refuses the request ({type(error).__name__})"
