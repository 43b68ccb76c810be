"""How far a run is, as one line: numbers first, then words made of them.

Rule 1: pure. Time comes in with each snapshot; nothing here knows a screen.
Rule 2: a line never breaks: it is cut to the width that it is given.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from maprun.core.status import Snapshot
from maprun.records import ChildStatus

WINDOW: Final = 10.0  # seconds over which the rate is measured
BAR: Final = range(8, 31)  # columns of the bar; where there is less room it is left out

GAP: Final = "  "

Piece = tuple[str, str]
"""A piece of a line, and its style: a rich style name, "" for none."""


class Look(msgspec.Struct, frozen=True):
    """What a progress line tells. Counts are of children; `rate` is ended ones a second, `left` is in seconds."""

    name: str
    done: int
    total: int
    reading: bool
    running: int
    failed: int
    retries: int
    rate: float
    left: float | None
    trouble: str = ""

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0


class Pace:
    """Measures the rate from looks at a run, in the order of time."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def rate(self, now: float, done: int) -> float:
        """Ended children a second over the last ten seconds, this look included. A redrive opens ended ones again, and
        is measured anew.
        """
        if self._points and done < self._points[-1][1]:
            self._points.clear()
        self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] <= now - WINDOW:
            self._points.popleft()
        since, before = self._points[0]
        return (done - before) / (now - since) if now > since else 0.0


def look(at: Snapshot, pace: Pace) -> Look:
    """The numbers of a snapshot."""
    done, total = at.progress.finished.children, at.plan.children
    rate = pace.rate(at.now, done)
    reading = at.plan.seal is None and at.plan.failure is None
    failed = sum(at.progress.tally(status).children for status in (ChildStatus.FAILED, ChildStatus.TIMED_OUT))
    left = None if reading or not rate else (total - done) / rate
    running = min(at.active.children, total - done)
    name = at.run.name + (f" redrive {at.progress.redrives}" if at.progress.redrives else "")
    held = "suspended" if at.progress.suspended_at is not None else ""
    trouble = "; ".join(filter(None, (held, at.held_up)))
    return Look(name, done, total, reading, running, failed, at.progress.retries, rate, left, trouble)


def pieces(look: Look, width: int) -> list[Piece]:
    """The line with its styles, at most `width` columns."""
    counts = (f"{look.done}/{look.total}{'+' if look.reading else ''}", "")
    facts = [piece for fact in (counts, *_facts(look)) for piece in ((GAP, ""), fact)]
    room = width - len(look.name) - len(GAP) - sum(len(words) for words, _ in facts)
    drawn = [(GAP, ""), *bar(look.share, min(room, BAR[-1]))] if room in BAR or room > BAR[-1] else []
    return _cut([(look.name, "bold"), *drawn, *facts], width)


def text(look: Look, width: int = 200) -> str:
    """The line without styles, for a log; it carries the percentage in place of the bar."""
    percent = f"{look.done}/{look.total}{'+' if look.reading else ''}  {math.floor(look.share * 100)} %"
    return GAP.join([look.name, percent, *(words for words, _ in _facts(look))])[:width]


def bar(share: float, width: int) -> list[Piece]:
    """A bar that is full when all is done, and not before."""
    full = math.floor(max(0.0, min(1.0, share)) * width)
    return [("━" * full, "green"), ("━" * (width - full), "bright_black")]


def duration(seconds: float) -> str:
    """A time span for people: `3.2 s`, `4 min 05 s`, `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _facts(look: Look) -> list[Piece]:
    facts = [(f"{look.running} running", ""), (f"{look.failed} failed", "red" if look.failed else "")]
    if look.retries:
        facts.append((f"{look.retries} retried", "yellow"))
    facts.append((f"{look.rate:.1f}/s", ""))
    if look.left is not None and look.done < look.total and math.isfinite(look.left):
        facts.append((f"{_whole(look.left)} left", ""))
    if look.trouble:
        facts.append((look.trouble, "yellow"))
    return facts


def _whole(seconds: float) -> str:
    """Below a minute, whole seconds: a guess has no decimals."""
    return duration(seconds) if seconds >= 60 else f"{math.ceil(seconds)} s"


def _cut(line: list[Piece], width: int) -> list[Piece]:
    kept: list[Piece] = []
    for words, style in line:
        if width <= 0:
            break
        kept.append((words[:width], style))
        width -= len(words)
    return kept
