"""The same run on this machine, by `maprun run`, against the same S3 server; and what two runs have in common.

Rule 1: nothing is left out of the comparison but what must differ: times, the uid of the run, and, because times
        are written without zeros at their end, the sizes of files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.real_runs import Json, Results
from tests.operator_process import HIDDEN, SOURCES

SECONDS: Final = 60.0
TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z")
SIZE: Final = re.compile(rb'"Size":\d+')


def run_here(manifest: Path, environment: Mapping[str, str], state: Path) -> Json:
    """Run the MapRun of a file with the buckets of the S3 server that the environment names; returns its status."""
    own = {name: value for name, value in os.environ.items() if not HIDDEN.match(name)}
    own |= {"PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), own.get("PYTHONPATH"))))}
    endpoint = f"--s3-endpoint={environment['AWS_ENDPOINT_URL_S3']}"
    done = subprocess.run(
        [sys.executable, "-m", "maprun", "run", str(manifest), endpoint, f"--state={state}", "--json"],
        env=own | dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status: Json = json.loads(done.stdout)
    return status


def comparable(results: Results, status: Json) -> dict[str, bytes]:
    """The result files and the manifest as they are, but for what must differ between two runs."""
    files = {**results.raw, "manifest.json": json.dumps(results.manifest, separators=(",", ":")).encode()}
    return {name: without_times(data, uid_of(status)) for name, data in files.items()}


def without_times(data: bytes, uid: str) -> bytes:
    """The bytes with one and the same word for each time, for the uid of the run and for each size of a file."""
    return SIZE.sub(b'"Size":0', TIME.sub(b"TIME", data)).replace(uid.encode(), b"UID")


def uid_of(status: Json) -> str:
    """The uid of a run: the end of its ARN."""
    return str(status["mapRunArn"].rpartition(":")[2])
