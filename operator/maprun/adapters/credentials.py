"""Which S3 access a run has: that of its own Secret, or the operator's where that is shared (design §8).

Rule 1: a run never uses the operator's credentials by accident: only where they are shared, and never with an endpoint
        of its own (`core/validation.py` demands a Secret with one).
Rule 2: what is missing is `NotReady`: the user can mend it while the run waits. No value of a Secret is ever told.
Rule 3: what the policy refuses is refused before any Secret is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.namespace_values import GOES_ON, SECRET, NotReady, values_of
from maprun.adapters.s3_access import S3Access
from maprun.adapters.s3_policy import S3Policy
from maprun.errors import Problem, Reason
from maprun.model import MapRunSpec

KEY_ID: Final = "AWS_ACCESS_KEY_ID"
SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"
TOKEN: Final = "AWS_SESSION_TOKEN"
BOTH: Final = f"{KEY_ID} and {SECRET_KEY}"
FIELD: Final = "spec.s3.credentialsSecretRef"


async def s3_access(client: ClusterClient, namespace: str, spec: MapRunSpec, policy: S3Policy) -> S3Access:
    """The access of a run in `namespace`.

    Errors: `NotAllowed`, `NotReady`; `ApiError` when the API server cannot be asked.
    """
    own, reference, endpoint = policy.own, spec.s3.credentials_secret_ref, policy.endpoint(spec)
    region = spec.s3.region or own.region
    if reference is not None:
        secret = await _secret(client, namespace, reference.name)
        access = S3Access(endpoint or own.endpoint, region, secret[KEY_ID], secret[SECRET_KEY], secret.get(TOKEN, ""))
        if not endpoint:
            return access
        return msgspec.structs.replace(access, guarded=True, loopback=policy.reaches_this_machine(endpoint))
    if policy.shared or not _needs_s3(spec):
        return msgspec.structs.replace(own, region=region)
    told = f"this operator does not share its own S3 credentials; delete the run, make it with a Secret that has {BOTH}"
    raise NotReady(Reason.CREDENTIALS_NOT_SHARED, Problem(FIELD, told))


def _needs_s3(spec: MapRunSpec) -> bool:
    reads = spec.item_reader is not None and not spec.item_reader.resource.local
    return reads or (spec.result_writer is not None and spec.result_writer.resource is not None)


async def _secret(client: ClusterClient, namespace: str, name: str) -> dict[str, str]:
    """The values of the Secret, each without white space around it; the two keys are there."""
    where = f"{FIELD}.name"
    data = await values_of(client, namespace, SECRET, name, field=where, wanted=BOTH)
    secret = {key: value.decode(errors="replace").strip() for key, value in data.items()}
    if missing := " and ".join(_missing(secret)):
        told = f"the Secret {name} in the namespace {namespace} has no {missing}; add it, {GOES_ON}"
        raise NotReady(Reason.SECRET_NOT_USABLE, Problem(where, told))
    if wrong := " and ".join(key for key in (KEY_ID, SECRET_KEY, TOKEN) if not _plain(secret.get(key, ""))):
        told = (
            f"{wrong} of the Secret {name} in the namespace {namespace} must be one word of ASCII; mend it, {GOES_ON}"
        )
        raise NotReady(Reason.SECRET_NOT_USABLE, Problem(where, told))
    return secret


def _plain(value: str) -> bool:
    """True for what can stand in a header of HTTP."""
    return all("!" <= character <= "~" for character in value)


def _missing(secret: dict[str, str]) -> Iterator[str]:
    return (key for key in (KEY_ID, SECRET_KEY) if not secret.get(key))
