"""How to reach an S3 server, as a value that travels to other processes.

Rule 1: secrets never show: not in `repr`, not in an error, not in a log.
"""

from __future__ import annotations

import msgspec


class S3Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to reach an S3 server. All empty: AWS, with the process's own credentials (environment, profile, role).

    `endpoint` is a URL; with one, buckets are addressed in the path (`endpoint/bucket/key`), as servers other than AWS
    need it. `guarded`: the endpoint comes from a run, so that it must not lead to what `s3_guard` forbids; `loopback`
    then says whether this machine is allowed.
    """

    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    guarded: bool = False
    loopback: bool = False

    def __repr__(self) -> str:
        credentials = "its own credentials" if self.access_key_id else "default credentials"
        return f"S3Access({self.endpoint or 'AWS'}, {self.region or 'default region'}, {credentials})"
