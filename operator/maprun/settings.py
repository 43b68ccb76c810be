"""What the operator is told at its start: by flags, or by environment variables of the same name.

Rule 1: each setting has a sentence; `maprun operator --help` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from maprun.adapters.s3_access import S3Access

DEFAULT_STATE: Final = "file:///var/lib/maprun"


class OperatorSettings(msgspec.Struct, frozen=True):
    """`namespaces`: those to watch, all when empty. `state`: URL of the state store. `ceiling`: most live children of
    one run.

    `share_s3_credentials`: runs without a Secret of their own use the operator's credentials (design §8: off unless
    said).
    `port`: of /metrics, /healthz and /readyz. `s3`: the operator's own S3 access.
    """

    namespaces: tuple[str, ...] = ()
    state: str = DEFAULT_STATE
    ceiling: int = 1_000
    share_s3_credentials: bool = False
    port: int = 8080
    kubeconfig: str | None = None
    context: str | None = None
    s3: S3Access = S3Access()


def s3_from(environment: Mapping[str, str] = os.environ) -> S3Access:
    """The operator's own S3 access, from the variables that AWS tools know. Without keys boto3 looks further
    (profile, role).
    """
    return S3Access(
        endpoint=environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", ""),
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", ""),
        access_key_id=environment.get("AWS_ACCESS_KEY_ID", ""),
        secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY", ""),
        session_token=environment.get("AWS_SESSION_TOKEN", ""),
    )
