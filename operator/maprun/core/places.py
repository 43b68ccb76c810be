"""Where keys lie in a bucket, and whether a run's places touch the operator's own state.

Rule 1: some S3 servers, and proxies, resolve `.`, `..` and empty parts of a path, and AWS does not: a key is judged
        both as it stands and as it is resolved.
Rule 2: a prefix is a plain beginning of keys, no folder: `map` begins `maprun/…` too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from maprun.core import results
from maprun.errors import Problem
from maprun.model import MapRunSpec

READER: Final = "spec.itemReader.parameters"
WRITER: Final = "spec.resultWriter.parameters"
LONGEST: Final = 1024  # bytes of a key, in UTF-8


class Place(NamedTuple):
    """All keys of a bucket that begin with `prefix`, which is empty or ends in `/`."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def resolved(key: str) -> str | None:
    """The key without its `.`, `..` and empty parts. None when it climbs above its bucket, as in `a/../../b`."""
    kept: list[str] = []
    for part in key.split("/"):
        if part == "..":
            if not kept:
                return None
            kept.pop()
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def key_problem(key: str) -> str:
    """Why a key cannot be that of an object, in words; "" when it can. AWS has these rules; other servers answer what
    breaks them with an error that looks as if it would pass.
    """
    if problem := text_problem(key):
        return problem
    if len(key.encode()) > LONGEST:
        return "the key is longer than 1,024 bytes"
    return "with its .. the key leads out of its bucket" if resolved(key) is None else ""


def text_problem(key: str) -> str:
    """Why a text cannot be a key or the beginning of one."""
    if "\0" in key:
        return "a key holds no NUL"
    if any("\ud800" <= character <= "\udfff" for character in key):
        return "a key is Unicode text, and half a character is none"
    return ""


def state_problem(spec: MapRunSpec, state: Place) -> Problem | None:
    """What of a run's reader or writer lies in the state, or has the state inside; None when nothing does. It is
    assumed that the run's buckets and the state are on one server. The spec is resolved.
    """
    field, found, must = next(_touching(spec, state), ("", "", ""))
    if not field:
        return None
    return Problem(field, f"{found} meets {state}, where the operator keeps the state of all runs; {must}")


def _touching(spec: MapRunSpec, state: Place) -> Iterator[tuple[str, str, str]]:
    reader, writer = spec.item_reader, spec.result_writer
    if reader and reader.bucket == state.bucket:
        key, prefix = reader.key, reader.prefix
        if reader.resource.lists and (inside(prefix, state) or state.prefix.startswith((prefix, _meant(prefix)))):
            yield f"{READER}.prefix", f"the listing of {Place(state.bucket, prefix)}", _must(state, "choose a prefix")
        if not reader.resource.lists and inside(key, state):
            yield f"{READER}.key", f"the key {key}", _must(state, "choose a key")
    if writer and writer.resource and writer.bucket == state.bucket:
        folder = results.folder(writer.prefix, "")[:-1]
        if inside(folder, state):
            yield f"{WRITER}.prefix", f"the folder {Place(state.bucket, folder)}", _must(state, "choose a prefix")


def inside(key: str, state: Place) -> bool:
    """True when a key of the state's bucket, or all that begins with it, lies in the state."""
    return key.startswith(state.prefix) or _meant(key).startswith(_meant(state.prefix))


def _meant(key: str) -> str:
    """The key as it is resolved, still a folder when it was one."""
    meant = resolved(key) or ""
    return meant + "/" if meant and key.endswith("/") else meant


def _must(state: Place, choose: str) -> str:
    return f"{choose} outside of it, or another bucket" if state.prefix else "it fills that bucket: choose another one"
