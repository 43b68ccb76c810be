"""What the local commands do: read, run, show. Each returns the command's exit code (app.py, Rule 1)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from maprun.cli import demo as airports
from maprun.cli import files, summary
from maprun.cli.local_run import LocalRun, Options, prepare, run_locally
from maprun.cli.screen import Screen, view_for
from maprun.cli.sentences import in_sentences, say
from maprun.core import rendering
from maprun.core.status import Snapshot
from maprun.records import RunStatus

SUCCEEDED: Final = 0
FAILED: Final = 1
STOPPED: Final = 130


@in_sentences
def run(file: Path, replace: Sequence[str], state: Path | None, buckets: Path, s3_endpoint: str, *, json: bool) -> int:
    """`maprun run`."""
    return _drive(prepare(files.read(file, replace), Options(state, buckets, s3_endpoint), os.environ), json=json)


@in_sentences
def demo(directory: Path, *, json: bool) -> int:
    """`maprun demo`."""
    example = airports.prepare(directory)
    options = Options(directory / airports.STATE, directory)
    return _drive(prepare(files.read(example), options, airports.environment(os.environ)), json=json)


@in_sentences
def validate(file: Path, replace: Sequence[str]) -> int:
    """`maprun validate`."""
    checked = files.read(file, replace)
    sys.stdout.write(f"{file}: the MapRun {checked.name} is valid\n")
    return SUCCEEDED


def _drive(local: LocalRun, *, json: bool) -> int:
    screen = Screen(view_for(Console(stderr=True), time.monotonic, quiet=json))
    try:
        # With a factory the runner leaves the thread's own event loop, if there is one, alone.
        with screen, asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            last = runner.run(run_locally(local, screen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(f"{_standing(screen.last)}, and nothing is running any more. Go on with:\n  {local.resume_command}")
        return STOPPED
    _report(local, last, json=json)
    return SUCCEEDED if last.status is RunStatus.SUCCEEDED else FAILED


def _report(local: LocalRun, last: Snapshot, *, json: bool) -> None:
    if json:
        rendered = msgspec.json.encode(rendering.render(last, 1))
        sys.stdout.write(msgspec.json.format(rendered).decode() + "\n")
        return
    console = Console()
    places = summary.Places(local.results, local.shown_state)
    for line in summary.lines(last, places, local.manifest(last)):
        console.print(Text.assemble(*line), soft_wrap=True)


def _standing(last: Snapshot | None) -> str:
    if last is None:
        return "Stopped before anything was done"
    return f"Stopped: {last.progress.finished.children} of {last.plan.children} child executions are done"
