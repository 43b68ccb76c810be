"""`ports.Store` over one S3 bucket, or one prefix of it, through boto3. Any server that speaks S3 will do.

Rule 1: a request is repeated by boto3 (standard mode, 4 tries); what is still unreachable then is `StoreUnavailable`.
Rule 2: every error names bucket and key and says what to do, and never shows a credential.
Rule 3: what was read is one version: a cut connection goes on behind the last byte, with the ETag as the condition.
Rule 4: conditional requests are the only lock: `If-None-Match: *` decides who creates a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from urllib3.exceptions import HTTPError

from maprun.adapters import s3_calls, s3_guard
from maprun.adapters.s3_access import S3Access
from maprun.adapters.s3_errors import explained, s3_answers
from maprun.core import places
from maprun.errors import AccessDenied, AlreadyExists, Changed, StoreError, StoreUnavailable
from maprun.ports import UNOBSERVED, ObjectInfo, Observer, Reading

CHUNK: Final = 1 << 18  # bytes of one read from the wire
PART: Final = 8 << 20  # bytes of one part of an upload; 10,000 parts are S3's limit, so 80 GiB an object
CONFLICTS: Final = 5  # tries when S3 answers that a conditional write ran into another one
RESUMES: Final = 4  # tries to go on after a cut connection, counted from the last byte received
PAUSE: Final = 0.1  # seconds before the first of them, doubled with each
CUT: Final = (boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError, HTTPError, ConnectionError)

T = TypeVar("T")


@lru_cache(maxsize=64)
def client(access: S3Access, observer: Observer = UNOBSERVED) -> Any:
    """A boto3 S3 client, one for each `access`. Threads may share it, but no session: so each has its own.

    `observer` is told of each request, boto3's own repetitions too.

    `StoreError`: endpoint or region have no valid form.
    """
    config = Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=32,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if access.endpoint else "auto"},
        # Checksums beyond those that an operation demands are refused by some S3 servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        aws_access_key_id=access.access_key_id or None,
        aws_secret_access_key=access.secret_access_key or None,
        aws_session_token=access.session_token or None,
        region_name=access.region or None,
    )
    region = session.region_name or "us-east-1"
    try:
        where = urlsplit(access.endpoint)
        if "@" in where.netloc or where.port == 0:
            raise ValueError("not an endpoint")
        made: Any = session.client("s3", endpoint_url=access.endpoint or None, region_name=region, config=config)
    except (ValueError, boto.BotoCoreError):  # without its text: it may show a password inside the URL
        raise StoreError("the S3 server's endpoint or region has no valid form; check both") from None
    if access.guarded:
        s3_guard.guard(made._endpoint.http_session._manager.pool_classes_by_scheme, loopback=access.loopback)
    s3_calls.observe(made.meta.events, observer)
    return made


class S3Store:
    """Keys are relative to `prefix` (empty, or ending in `/`) inside `bucket`, which the account `owner` must own.

    `owner` "" is any. The server checks it on every call, and denies access. What lies in `kept` is denied here.
    """

    def __init__(
        self, client: Any, bucket: str, prefix: str = "", owner: str = "", kept: places.Place | None = None
    ) -> None:
        self._kept = kept if kept and kept.bucket == bucket else None
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._at = {"Bucket": bucket, **({"ExpectedBucketOwner": owner} if owner else {})}

    def read(self, key: str) -> bytes:
        """All bytes of the object."""
        reading = self.open(key)
        try:
            return b"".join(reading)
        finally:
            reading.close()

    def open(self, key: str, if_match: str = "", version: str = "") -> Reading:
        """The object as a stream; `Changed` when it is not the version `if_match`."""
        return _S3Reading(self, key, if_match, {"VersionId": version} if version else {})

    def read_at(self, key: str, offset: int, length: int, if_match: str) -> bytes:
        """A part of the object, by one request or, after a cut, several."""
        reading = _S3Reading(self, key, if_match, {}, (offset, offset + length))
        try:
            if reading.size != length:  # else the server would send the whole object
                raise StoreError(f"{self._name(key)}: {reading.size} bytes instead of {length} from byte {offset} on")
            return b"".join(reading)
        finally:
            reading.close()

    def create(self, key: str, data: bytes) -> None:
        """Write if absent. Where these very bytes are there, an earlier try of ours took effect: a success."""
        for attempt in range(CONFLICTS):
            with self._call("PutObject", key):
                try:
                    self._client.put_object(**self._where(key), Body=data, IfNoneMatch="*")
                    return
                except boto.ClientError as error:
                    if _status(error) not in (409, 412):
                        raise
                    if _status(error) == 412:
                        self._adopt(key, data)
                        return
            time.sleep(0.05 * 2**attempt)
        raise StoreUnavailable(
            f"{self._name(key)}: the bucket is busy with another write of the same key; trying again later"
        )

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        """Write or replace by a multipart upload, one part in memory; it shows under its key complete or not at all."""
        where, parts = self._where(key), _parts(chunks)
        first = next(parts, b"")
        with self._errors("PutObject", key):
            with s3_answers("PutObject", self._bucket, self._prefix + key):
                if not first:  # an upload of no parts is not allowed
                    self._client.put_object(**where, Body=b"", ContentType=content_type)
                    return 0
                begun = self._client.create_multipart_upload(**where, ContentType=content_type)
                upload = {**where, "UploadId": begun["UploadId"]}
            try:
                return self._upload(upload, first, parts)
            except BaseException:
                with suppress(boto.BotoCoreError, boto.ClientError):
                    self._client.abort_multipart_upload(**upload)
                raise

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """All objects below `prefix` behind `start_after`, page by page."""
        behind = {"StartAfter": self._prefix + start_after} if start_after else {}
        yield from self._pages(prefix, behind, lambda page: map(self._info, page.get("Contents", ())))

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The common beginnings of keys, as S3 finds them itself."""
        for found in self._pages(prefix, {"Delimiter": "/"}, lambda page: page.get("CommonPrefixes", ())):
            yield found["Prefix"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """Remove the object; S3 does not mind an absent one."""
        with self._call("DeleteObject", key):
            self._client.delete_object(**self._where(key))

    def _pages(self, prefix: str, options: dict[str, str], of: Callable[[Any], Iterable[T]]) -> Iterator[T]:
        """What a listing gives, page by page; `of` a page."""
        self._check(places.text_problem(prefix), prefix)
        request: dict[str, Any] = {**self._at, "Prefix": self._prefix + prefix, **options}
        while True:
            with self._call("ListObjectsV2", prefix):
                page = self._client.list_objects_v2(**request)
                entries = list(of(page))
                request["ContinuationToken"] = page["NextContinuationToken"] if page.get("IsTruncated") else ""
            yield from entries
            if not request["ContinuationToken"]:
                return

    def _adopt(self, key: str, data: bytes) -> None:
        if self.read(key) != data:
            raise AlreadyExists(f"{self._name(key)} exists already")

    def _upload(self, upload: dict[str, Any], first: bytes, parts: Iterator[bytes]) -> int:
        done: list[dict[str, Any]] = []
        size = 0
        part = first
        while part:
            number = len(done) + 1
            with s3_answers("PutObject", self._bucket, upload["Key"]):
                answer = self._client.upload_part(**upload, PartNumber=number, Body=part)
                done.append({"PartNumber": number, "ETag": answer["ETag"]})
            size += len(part)
            part = next(parts, b"")
        with s3_answers("PutObject", self._bucket, upload["Key"]):
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
        return size

    def _info(self, entry: dict[str, Any]) -> ObjectInfo:
        return ObjectInfo(
            key=entry["Key"].removeprefix(self._prefix),
            size=entry["Size"],
            etag=entry["ETag"],
            modified=entry["LastModified"].timestamp(),
            storage_class=entry.get("StorageClass", "STANDARD"),
        )

    def _where(self, key: str) -> dict[str, str]:
        """Bucket and key of a request. `StoreError` when the key cannot be that of an object in this bucket."""
        self._check(places.key_problem(self._prefix + key), key)
        if self._kept and places.inside(self._prefix + key, self._kept):
            raise AccessDenied(f"{self._name(key)} is part of the operator's own state, which no run may reach")
        return {**self._at, "Key": self._prefix + key}

    def _check(self, problem: str, key: str) -> None:
        if problem:
            raise StoreError(f"bucket {self._bucket}, key {self._prefix + key!a}: {problem}")

    def _name(self, key: str) -> str:
        return f"bucket {self._bucket}, key {self._prefix + key}"

    @contextmanager
    def _call(self, operation: str, key: str) -> Iterator[None]:
        """Around a request and the reading of its answer, and nothing of the caller's."""
        with self._errors(operation, key), s3_answers(operation, self._bucket, self._prefix + key):
            yield

    @contextmanager
    def _errors(self, operation: str, key: str) -> Iterator[None]:
        try:
            yield
        except (boto.BotoCoreError, boto.ClientError, HTTPError, s3_guard.Forbidden) as error:
            raise explained(
                error, operation, self._bucket, self._prefix + key, self._client.meta.endpoint_url
            ) from error


class _S3Reading:
    """A GET whose body is resumed when the connection is cut. `etag` is that of the version being read, `size` how many
    bytes are read: all, or the `part` from one offset up to another.
    """

    def __init__(
        self, store: S3Store, key: str, if_match: str, version: dict[str, str], part: tuple[int, int] | None = None
    ) -> None:
        self._store, self._key, self._version = store, key, version
        self._offset = part[0] if part else 0
        span = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
        answer = self._get({"IfMatch": if_match, **span} if if_match else span)
        with s3_answers("GetObject", store._bucket, key):
            self.etag: str = answer["ETag"]
            self.size: int = answer["ContentLength"]
            self._body = answer["Body"]
        self._end = self._offset + self.size

    def __iter__(self) -> Iterator[bytes]:
        tries = 0
        while self._offset < self._end:
            try:
                chunk = self._body.read(CHUNK)
                if not chunk:
                    raise ConnectionError("the body ended early")
            except CUT as error:
                tries += 1
                self._resume(tries, error)
                continue
            tries = 0
            self._offset += len(chunk)
            yield chunk

    def close(self) -> None:
        """Release the connection."""
        self._body.close()

    def _resume(self, tries: int, error: Exception) -> None:
        self.close()
        if tries > RESUMES:
            name = self._store._name(self._key)
            raise StoreUnavailable(f"{name}: the connection broke {tries} times at byte {self._offset}") from error
        time.sleep(PAUSE * 2**tries)
        self._body = self._get({"IfMatch": self.etag, "Range": f"bytes={self._offset}-{self._end - 1}"})["Body"]

    def _get(self, condition: dict[str, str]) -> Any:
        store = self._store
        where = store._where(self._key)
        with store._call("GetObject", self._key):
            try:
                return store._client.get_object(**where, **self._version, **condition)
            except boto.ClientError as error:
                if _status(error) != 412:
                    raise
                raise Changed(
                    f"{store._name(self._key)} changed: it is no longer the version {condition['IfMatch']}"
                ) from error


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The stream in parts of 8 MiB; only the last is smaller."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= PART:
            yield bytes(buffer[:PART])
            del buffer[:PART]
    if buffer:
        yield bytes(buffer)
