"""What a run came to, in a few lines: the verdict, the most frequent errors, and where the results lie.

Rule 1: pure. It is made of the final snapshot and of what the manifest says.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from maprun.cli.progress_line import Piece, duration
from maprun.core import rendering, status
from maprun.core.status import Snapshot
from maprun.records import ChildStatus, RunStatus

ERRORS: Final = 5
CAUSE: Final = 160  # characters of a cause
INLINE: Final = 400  # characters of an output that is shown whole
CATEGORIES: Final = ("FAILED", "PENDING", "SUCCEEDED")  # failures first: they are what one looks for
COUNTED: Final = {
    ChildStatus.SUCCEEDED: "succeeded",
    ChildStatus.FAILED: "failed",
    ChildStatus.TIMED_OUT: "timed out",
    ChildStatus.ABORTED: "aborted",
}

Line = list[Piece]


class Places(msgspec.Struct, frozen=True):
    """Where to look: path or URL of the bucket of the results ("" without one), and the state directory."""

    results: str
    state: str


def lines(at: Snapshot, places: Places, manifest: Mapping[str, Any] | None = None) -> Iterator[Line]:
    """The summary of an ended run. `manifest` is its manifest.json, where there is one."""
    yield _verdict(at)
    if at.failure:
        yield [(status.message(at), "red")]
    yield from _errors(at)
    yield []
    yield from _results(at, places, manifest or {})
    if at.spec.redrives > at.progress.redrives:
        why = (
            "none, because abort is true" if at.spec.abort else "none, because nothing is left that it would run again"
        )
        yield [("Redrive  ", "bold"), (why, "")]
    yield [("State    ", "bold"), (places.state, "")]


def _verdict(at: Snapshot) -> Line:
    good = at.status is RunStatus.SUCCEEDED
    redrives, stopped = at.progress.redrives, at.progress.exported
    started = at.progress.round_started if redrives else at.progress.started
    took = f" in {duration(stopped.at - started)}" if started is not None and stopped else ""
    took += f" (redrive {redrives})" if redrives else ""
    items = f" for {at.plan.items} items" if at.plan.items != at.plan.children else ""
    counts = ", ".join([f"{at.plan.children} child executions{items}", *_counts(at)])
    style = "bold green" if good else "bold red"
    return [(at.run.name, "bold"), (" ", ""), (at.status.value, style), (f"{took}: {counts}", "")]


def _counts(at: Snapshot) -> Iterator[str]:
    for state, name in COUNTED.items():
        if (count := at.progress.tally(state).children) or state is ChildStatus.SUCCEEDED:
            yield f"{count} {name}"
    if pending := at.plan.children - at.progress.finished.children:
        yield f"{pending} never started"
    if at.progress.retries:
        yield f"{at.progress.retries} retried"


def _errors(at: Snapshot) -> Iterator[Line]:
    shown = status.failures(at)
    if shown:
        yield []
        yield [("Most frequent errors", "bold")]
    for failure in shown[:ERRORS]:
        example = f"  for example {failure['child']}: {_short(failure['cause'], CAUSE)}"
        yield [(f"{failure['count']:>5} × ", ""), (failure["error"], "red"), (example, "")]
    if len(shown) > ERRORS:
        yield [(f"        and {len(shown) - ERRORS} more", "")]


def _results(at: Snapshot, places: Places, manifest: Mapping[str, Any]) -> Iterator[Line]:
    rendered = rendering.render(at, 1)
    if "resultWriterDetails" in rendered:
        folder = rendered["resultWriterDetails"]["key"].rpartition("/")[0]
        files = manifest.get("ResultFiles", {})
        found = [(_beside(folder, each["Key"]), each["Size"]) for name in CATEGORIES for each in files.get(name, ())]
        yield [("Results  ", "bold"), (f"{places.results}/{folder}", "")]
        yield from _files(f"{places.results}/{folder}", found)
    elif "outputLocation" in rendered:
        yield [("Output   ", "bold"), (rendered["outputLocation"].removeprefix("file://"), "")]
    elif "output" in rendered:
        yield [("Output   ", "bold"), (_short(msgspec.json.encode(rendered["output"]).decode(), INLINE), "")]


def _files(folder: str, found: list[tuple[str, int]]) -> Iterator[Line]:
    width = max((18, *(len(name) + 1 for name, _ in found)))
    for name, count in found:
        yield [(f"         {name:<{width}}{size(count):>9}", "")]
    yield [("         manifest.json", "")]
    legible = [name for name, _ in found if not name.endswith(".parquet")]
    if legible and "://" not in folder:
        form = "--json-lines " if legible[0].endswith(".jsonl") else ""
        command = f"python3 -m json.tool {form}{shlex.quote(f'{folder}/{legible[0]}')}"
        yield [("         to look at one:  ", ""), (command, "cyan")]


def _beside(folder: str, key: str) -> str:
    """The path of a file from the folder of the manifest; those of earlier rounds lie beside it or above."""
    if key.startswith(f"{folder}/"):
        return key.removeprefix(f"{folder}/")
    return "../" + key.removeprefix(folder.rpartition("/")[0] + "/")


def _short(words: str, limit: int) -> str:
    """On one line, and no longer than `limit`."""
    line = " ".join(words.split()) or "(no cause)"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def size(count: float) -> str:
    """A number of bytes for people: `814 B`, `2.9 kB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"
