"""What the operator is told at its start: by flags, or by environment variables of the same name.

Rule 1: each setting has a sentence; `maprun operator --help` shows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from maprun.adapters.s3_access import S3Access
from maprun.adapters.s3_policy import FORM, S3Policy, origin
from maprun.adapters.stores import s3_place
from maprun.errors import MapRunError

DEFAULT_STATE: Final = "file:///var/lib/maprun"
NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LEASE: Final = re.compile(NAMESPACE.pattern + r"/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class OperatorSettings(msgspec.Struct, frozen=True):
    """`namespaces`: those to watch, all when empty. `state`: URL of the state store. `ceiling`: most live children of
    one run.

    `namespace_ceiling`, `cluster_ceiling`: most live children of all runs of a namespace, and of all together; 0: no
    bound. `lease`: `NAMESPACE/NAME` of the Lease by which one of several operators leads; "": this one is alone.
    `keep_state`: plan and journal stay when their run is deleted.

    `share_s3_credentials`: runs without a Secret of their own use the operator's credentials (design §8: off unless
    said).
    `port`: of /metrics, /healthz and /readyz. `s3`: the operator's own S3 access.
    `s3_endpoints`: those that runs may name in `spec.s3.endpoint`; all when empty.
    """

    namespaces: tuple[str, ...] = ()
    state: str = DEFAULT_STATE
    ceiling: int = 1_000
    namespace_ceiling: int = 0
    cluster_ceiling: int = 0
    lease: str = ""
    keep_state: bool = False
    share_s3_credentials: bool = False
    port: int = 8080
    kubeconfig: str | None = None
    context: str | None = None
    s3: S3Access = S3Access()
    s3_endpoints: tuple[str, ...] = ()

    @property
    def s3_policy(self) -> S3Policy:
        """What runs may do with S3. In a pod, this machine is the operator's own ports and its sidecars'."""
        in_pod = self.kubeconfig is None and self.context is None and "KUBERNETES_SERVICE_HOST" in os.environ
        state = s3_place(self.state)
        return S3Policy(self.s3, self.share_s3_credentials, self.s3_endpoints, state, loopback=not in_pod)


def check(settings: OperatorSettings) -> None:
    """Raises `MapRunError` when a setting can never work."""
    for name in settings.namespaces:
        if not NAMESPACE.fullmatch(name):
            raise MapRunError(f"--namespace {name!r}: must be the name of a namespace; repeat the option for more")
    if settings.lease and not LEASE.fullmatch(settings.lease):
        wanted = "NAMESPACE/NAME, both in lower case, as in maprun-system/maprun"
        raise MapRunError(f"--lease {settings.lease!r} (MAPRUN_LEASE): must be {wanted}")
    for url in settings.s3_endpoints:
        try:
            origin(url)
        except ValueError:  # without the URL: it may hold a password
            raise MapRunError(f"--s3-endpoint (MAPRUN_S3_ENDPOINTS): each must be {FORM}") from None


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
