"""A real S3 server over a directory (versitygw): conditional writes, multipart, versions of signatures and all.

Needs neither a cluster nor root. The access keys are fixed and meant for nothing but tests.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import binaries
from .processes import Supervisor, wait_for

ACCESS_KEY = "maprun-test"
SECRET_KEY = "maprun-test-secret"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """How to reach the server; `endpoint_from_pods` is None where pods have no way to it."""

    endpoint: str
    endpoint_from_pods: str | None
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    def environment(self) -> dict[str, str]:
        """The variables that the AWS libraries and command line read."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }


def start(supervisor: Supervisor, port: int, addresses: Sequence[str] = ("127.0.0.1",)) -> S3Server:
    """Start it on each of the addresses; the second one, if any, is the one that pods dial."""
    data = supervisor.state_dir / "s3"
    buckets = data / "buckets"
    versions = data / "versions"
    for folder in (buckets, versions):
        folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [binaries.tool(binaries.VERSITYGW), f"--access={ACCESS_KEY}", f"--secret={SECRET_KEY}"]
    command += [f"--region={REGION}", "--quiet", *(f"--port={address}:{port}" for address in addresses)]
    supervisor.start("versitygw", [*command, "posix", f"--versioning-dir={versions}", *_metadata(data), buckets])
    await_ready(supervisor, port)
    endpoints = [f"http://{address}:{port}" for address in addresses]
    return S3Server(endpoints[0], endpoints[1] if len(endpoints) > 1 else None)


def await_ready(supervisor: Supervisor, port: int) -> None:
    ready = wait_for(lambda: not supervisor.alive("versitygw") or _listens(port), 15)
    if not ready or not supervisor.alive("versitygw"):
        raise supervisor.failed("versitygw", "does not answer")


def from_environment() -> S3Server | None:
    """A server that somebody else runs, for use with a cluster that somebody else runs."""
    endpoint = os.environ.get("MAPRUN_TEST_S3_ENDPOINT")
    if endpoint is None:
        return None
    return S3Server(
        endpoint,
        os.environ.get("MAPRUN_TEST_S3_ENDPOINT_FROM_PODS", endpoint),
        os.environ.get("MAPRUN_TEST_S3_ACCESS_KEY", ACCESS_KEY),
        os.environ.get("MAPRUN_TEST_S3_SECRET_KEY", SECRET_KEY),
        os.environ.get("MAPRUN_TEST_S3_REGION", REGION),
    )


@contextlib.contextmanager
def server() -> Iterator[S3Server]:
    """A server of its own, gone with all its data at the end."""
    with tempfile.TemporaryDirectory(prefix="maprun-s3-") as folder:
        supervisor = Supervisor(Path(folder))
        try:
            yield start(supervisor, _free_port())
        finally:
            supervisor.stop("versitygw", grace_seconds=0.5)


def _metadata(data: Path) -> list[str]:
    """Metadata lives in extended attributes; in files beside the data where the file system has none (some tmpfs)."""
    probe = data / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.maprun", b"1")
    except OSError:
        sidecar = data / "metadata"
        sidecar.mkdir(exist_ok=True)
        return [f"--sidecar={sidecar}"]
    finally:
        probe.unlink()
    return []


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
