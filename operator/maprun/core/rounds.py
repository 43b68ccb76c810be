"""The rounds of a run - its first life and its redrives - as the journal tells them to whoever writes the results.

Rule 1: pure: a fold over the records, of a few bytes for each child.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from maprun.core.finals import Finals, Place
from maprun.core.results import SUCCEEDED, ResultFile
from maprun.records import Exported, Outcome, Record, Redriven


class Rounds(NamedTuple):
    """Where the children stand, the number of the redrive that is to be exported (0: the first life), and the SUCCEEDED
    files of the rounds before it.
    """

    finals: Finals
    redrive: int
    before: list[ResultFile]

    def left(self, name: str) -> Iterator[tuple[int, Place | None]]:
        """The children of a category that are to be written, each with the place of its outcome: of those that
        succeeded, the ones that no earlier file holds (§5.2).
        """
        children = self.finals.of(name)
        # Without files before, whatever they may have held: a version that did not note them wrote a manifest that
        # this one could not take over, so everything is written.
        if name != SUCCEEDED or not self.before:
            return children
        return ((child, place) for child, place in children if not self.finals.written(child))


def rounds_of(children: int, records: Iterable[tuple[int, int, Record]]) -> Rounds:
    """The fold of a whole journal: each record with its segment's number and its line in it."""
    finals, redrive = Finals(children), 0
    before: list[ResultFile] = []
    for segment, line, record in records:
        match record:
            case Outcome():
                finals.add(Place(segment, line), record)
            case Redriven():
                finals.redriven(record)
                redrive = record.number
            case Exported():
                finals.exported(record)
                before += [ResultFile(*file) for file in record.succeeded]
    return Rounds(finals, redrive, before)
