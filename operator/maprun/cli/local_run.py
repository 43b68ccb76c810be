"""One run on this machine: the operator's engine, with local processes, a state directory, and local or S3 buckets.

Rule 1: a state directory belongs to one run. Started again with it, the run goes on where its journal ends; one that
        has ended is redriven as often as `redrives` says, or told again.
Rule 2: whatever ends this early (Ctrl-C, SIGTERM) ends the children first; what was done is durable.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from maprun.adapters.local import LocalLauncher
from maprun.adapters.stores import BucketsRef
from maprun.cli import local_dataset
from maprun.cli.files import RunFile, changed_fields, check_here
from maprun.cli.screen import Screen
from maprun.cli.sentences import BadInput
from maprun.core.status import Snapshot
from maprun.errors import RunFailed
from maprun.model import MapRunSpec, RunRef
from maprun.model_reading import ItemReader
from maprun.ports import Store
from maprun.running import Home, engine_for, frozen_spec, needs_local, resolved_spec, with_live_fields
from maprun.settings import s3_from

NAMESPACE: Final = "local"
RUN_KEY: Final = "run.json"  # in the state directory: which run it belongs to
STATES: Final = Path("maprun-runs")  # default place of state directories, below the current one
CHILDREN_PER_CPU: Final = 4  # live children where the spec sets no maxConcurrency


class Options(msgspec.Struct, frozen=True):
    """Where things lie: the state directory (None: a new one), the directory of the buckets or an S3 server."""

    state: Path | None = None
    buckets: Path = Path()
    s3_endpoint: str = ""


class LocalRun(msgspec.Struct, frozen=True):
    """A run made ready. `spec` is the one it started with; `environment` holds the variables that children inherit;
    below `folder` lie ConfigMaps and Secrets, `local` is the value of the one that the run reads first.
    """

    file: RunFile
    run: RunRef
    spec: MapRunSpec
    state: Path
    buckets: BucketsRef
    environment: dict[str, str]
    folder: Path = Path()
    local: bytes | None = None

    def __repr__(self) -> str:
        return f"LocalRun({self.state})"

    @property
    def results(self) -> str:
        """Path or URL of the bucket of the results; "" when the run writes none."""
        writer = self.spec.result_writer
        if not writer or not writer.resource:
            return ""
        bucket = writer.bucket
        return _shown(Path(self.buckets.root) / bucket) if self.buckets.root else f"s3://{bucket}"

    @property
    def shown_state(self) -> str:
        """The state directory, as a person would type it."""
        return _shown(self.state)

    @property
    def resume_command(self) -> str:
        """What a user types to go on with this run."""
        root, endpoint = self.buckets.root, self.buckets.access.endpoint
        words = [*_own_name(), "run", _shown(self.file.path), "--state", self.shown_state]
        words += ["--bucket-dir", _shown(Path(root))] if root else ["--s3-endpoint", endpoint]
        words += [word for setting in self.file.settings for word in ("--set", setting)]
        return shlex.join(words)

    def manifest(self, at: Snapshot) -> dict[str, Any] | None:
        """The manifest of an ended run, None where there is none."""
        writer, exported = self.spec.result_writer, at.progress.exported
        if not writer or not exported or not exported.manifest:
            return None
        bucket = self.buckets.open().bucket(writer.bucket)
        manifest: dict[str, Any] = msgspec.json.decode(bucket.read(exported.manifest))
        return manifest


def prepare(file: RunFile, options: Options, environment: Mapping[str, str]) -> LocalRun:
    """Check everything that can be checked before anything runs. `BadInput` with what to do."""
    check_here(file, environment)
    state = (options.state or STATES / f"{file.name}-{secrets.token_hex(3)}").absolute()
    run = _run_of(file, state)
    try:
        now = resolved_spec(run, file.spec, s3_from(environment).region)
    except RunFailed as failed:
        raise BadInput(f"{file.path}: {failed}") from None
    buckets = _buckets(now, options, environment)
    local = _local(_home(state, buckets).store(), now, options.buckets)
    _keep(run, state)
    spec = frozen_spec(_home(state, buckets).store(), now)
    changed = changed_fields(with_live_fields(spec, file.spec), with_live_fields(now, file.spec))
    if changed:
        what = f"{', '.join(changed)} changed since the run in {_shown(state)} began"
        raise BadInput(f"{file.path}: {what}; undo that, or start a new run without --state")
    return LocalRun(file, run, spec, state, buckets, dict(environment), options.buckets, local)


async def run_locally(local: LocalRun, screen: Screen) -> Snapshot:
    """Drive the run to its end, and through the redrives that are wanted; returns its last snapshot. Cancelling it
    (SIGTERM does) stops the children. Errors: `BadInput` when a redrive lacks its dataset.
    """
    task = asyncio.current_task()
    assert task is not None, "runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    last, spec = await _life(local, screen, local.local), with_live_fields(local.spec, local.file.spec)
    before = -1
    while before < last.progress.redrives < spec.redrives and not spec.abort:
        before = last.progress.redrives
        value = await asyncio.to_thread(_local, _home(local.state, local.buckets).store(), spec, local.folder)
        last = await _life(local, screen, value)
    return last


async def _life(local: LocalRun, screen: Screen, value: bytes | None) -> Snapshot:
    """From where the journal ends to the next end of the run. `value` is that of a ConfigMap or Secret."""
    launcher = LocalLauncher(
        local.run, local.spec, local.file.folder, local.state / "local", time.time, local.environment
    )
    await launcher.open()  # before the journal is taken over: a run that is still alive here keeps it
    try:
        spec = local.file.spec
        ceiling = with_live_fields(local.spec, spec).concurrency or CHILDREN_PER_CPU * (os.cpu_count() or 1)
        home = _home(local.state, local.buckets)
        parts = local.run, local.spec, lambda: spec, home, launcher, screen
        return await engine_for(*parts, ceiling=ceiling, local=value).run()
    finally:
        await launcher.close()


def _home(state: Path, buckets: BucketsRef) -> Home:
    return Home(url=state.as_uri(), access=buckets.access, buckets=buckets, region=buckets.access.region)


def _run_of(file: RunFile, state: Path) -> RunRef:
    """The run of a state directory: the one written there, or a new one that is not written yet."""
    path = state / RUN_KEY
    if path.exists():
        run = msgspec.json.decode(path.read_bytes(), type=RunRef)
        if run.name != file.name:
            raise BadInput(
                f"--state {_shown(state)}: belongs to the run {run.name}, not to {file.name}; name another directory"
            )
        return run
    if state.exists() and any(state.iterdir()):
        raise BadInput(
            f"--state {_shown(state)}: is not empty and holds no run; name a new directory, or that of a run"
        )
    return RunRef(NAMESPACE, file.name, str(uuid4()), round(time.time(), 3))


def _keep(run: RunRef, state: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / RUN_KEY).write_bytes(msgspec.json.encode(run))


def _buckets(spec: MapRunSpec, options: Options, environment: Mapping[str, str]) -> BucketsRef:
    access = s3_from(environment)
    if options.s3_endpoint:
        return BucketsRef(access=msgspec.structs.replace(access, endpoint=options.s3_endpoint))
    root = options.buckets.absolute()
    if spec.item_reader and not spec.item_reader.resource.local:
        _check_source(spec.item_reader, root)
    if spec.result_writer and spec.result_writer.resource:
        (root / spec.result_writer.bucket).mkdir(parents=True, exist_ok=True)
    return BucketsRef(root=str(root))


def _local(store: Store, spec: MapRunSpec, folder: Path) -> bytes | None:
    """The value of the ConfigMap or Secret that the run is going to read. `BadInput` when it is not there."""
    if not needs_local(store, spec, spec.redrives):
        return None
    assert spec.item_reader is not None
    root = folder.absolute()
    return local_dataset.read_value(spec.item_reader, root, _shown(root))


def _check_source(reader: ItemReader, root: Path) -> None:
    directory = root / reader.bucket
    advice = "put the data there, or say with --bucket-dir or --s3-endpoint where the buckets are"
    if not directory.is_dir():
        raise BadInput(f"spec.itemReader.parameters.bucket: {_shown(directory)} is not a directory; {advice}")
    if reader.key and not (directory / reader.key).is_file():
        raise BadInput(f"spec.itemReader.parameters.key: {_shown(directory / reader.key)} is not a file; {advice}")


def _own_name() -> list[str]:
    """How this program was called."""
    called = Path(sys.argv[0])
    return [called.name] if called.name == "maprun" else [_shown(Path(sys.executable)), "-m", "maprun"]


def _shown(path: Path) -> str:
    """A path as a person would type it: relative where it lies below the current directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
