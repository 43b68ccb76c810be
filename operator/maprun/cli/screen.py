"""Shows a run while it goes on: `ports.Reporter` for people at a terminal, or for a log.

Rule 1: at a terminal one line is redrawn, at most ten times a second. Elsewhere a line comes with each 10 %, at most
        one a second.
Rule 2: it writes to standard error: standard output is for results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from maprun.cli.progress_line import Look, Pace, look, pieces, text
from maprun.core.status import Snapshot
from maprun.records import Attempt, Outcome

REDRAW: Final = 0.1  # seconds
LOG: Final = 1.0  # seconds
STEP: Final = 10  # percent
STALE: Final = 10.0  # seconds after which a line comes even if nothing moved


class View(Protocol):
    """Where a progress line appears."""

    def show(self, look: Look) -> None:
        """The present state; called often."""

    def close(self, look: Look | None) -> None:
        """The last state, if there is one."""


class Screen:
    """`ports.Reporter` that shows progress; `last` is the latest snapshot. Leaving the context frees the terminal."""

    def __init__(self, view: View) -> None:
        self._view, self._pace = view, Pace()
        self.last: Snapshot | None = None

    def launched(self, attempt: Attempt) -> None:
        """Nothing: the snapshots tell how many there are."""

    def recorded(self, outcome: Outcome) -> None:
        """Nothing: the snapshots tell how many there are."""

    def progressed(self, snapshot: Snapshot) -> None:
        """Show the present state."""
        self.last = snapshot
        self._view.show(look(snapshot, self._pace))

    async def finished(self, snapshot: Snapshot) -> None:
        """Keep the final state; leaving the context shows it."""
        self.last = snapshot

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.close(look(self.last, self._pace) if self.last else None)


class LiveView:
    """One line of a terminal, redrawn in place."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock = console, clock
        self._drawn = -math.inf
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, look: Look) -> None:
        """Redraw, unless that was done a moment ago."""
        if self._clock() - self._drawn >= REDRAW:
            self._draw(look)

    def close(self, look: Look | None) -> None:
        """Draw the last state, and leave it on the screen."""
        if look:
            self._draw(look)
        self._live.stop()

    def _draw(self, look: Look) -> None:
        self._drawn = self._clock()
        self._live.update(Text.assemble(*pieces(look, self._console.width - 1), no_wrap=True), refresh=True)


class LogView:
    """A line from time to time. `write` gets each one, without its end."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write, self._clock = write, clock
        self._at = -math.inf
        self._percent = -STEP
        self._line = ""

    def show(self, look: Look) -> None:
        """Write a line when enough has changed, or enough time has passed."""
        now, percent = self._clock(), math.floor(look.share * 100)
        if now - self._at < LOG:
            return
        if abs(percent - self._percent) >= STEP or now - self._at >= STALE:
            self._put(look, now)

    def close(self, look: Look | None) -> None:
        """Write the last state, unless it stands there already."""
        if look and text(look) != self._line:
            self._put(look, self._clock())

    def _put(self, look: Look, now: float) -> None:
        self._at, self._percent, self._line = now, math.floor(look.share * 100), text(look)
        self._write(self._line)


class Silence:
    """No progress at all, for `--json`."""

    def show(self, look: Look) -> None:
        """Nothing."""

    def close(self, look: Look | None) -> None:
        """Nothing."""


def view_for(console: Console, clock: Callable[[], float], quiet: bool) -> View:
    """The view that suits where the output goes."""
    if quiet:
        return Silence()
    if console.is_terminal:
        return LiveView(console, clock)
    return LogView(lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False), clock)
