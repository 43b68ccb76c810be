"""What the local commands do: read, run, show. Each returns the command's exit code (app.py, Rule 1).

Rule 1: no traceback for anything that a user can mend: it is a sentence on standard error.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec

import msgspec
from rich.console import Console
from rich.text import Text

from maprun.cli import demo as airports
from maprun.cli import files, summary
from maprun.cli.local_run import LocalRun, Options, prepare, run_locally
from maprun.cli.screen import Screen, view_for
from maprun.core import status
from maprun.core.status import Snapshot
from maprun.errors import MapRunError
from maprun.records import RunStatus

SUCCEEDED: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
STOPPED: Final = 130

P = ParamSpec("P")


def in_sentences(command: Callable[P, int]) -> Callable[P, int]:
    """The command, with mistakes of the user and trouble of this machine told in sentences."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except files.BadInput as error:
            problems = error.problems
        except (MapRunError, OSError) as error:
            problems = (f"maprun: {error}",)
        for problem in problems:
            _say(problem)
        return BAD_INPUT

    return told


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
        _say(f"{_standing(screen.last)}, and nothing is running any more. Go on with:\n  {local.resume_command}")
        return STOPPED
    _report(local, last, json=json)
    return SUCCEEDED if last.status is RunStatus.SUCCEEDED else FAILED


def _report(local: LocalRun, last: Snapshot, *, json: bool) -> None:
    if json:
        rendered = msgspec.json.encode(status.render(last, 1))
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


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
