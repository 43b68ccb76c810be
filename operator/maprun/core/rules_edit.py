"""What an edit of a run may do: the rules that need the spec before it and behind it.

Rule 1: as any rule (`core/rule.py`), written for Python and, as CEL, for the API server. In the CRD they stand at the
        whole resource, because only there the spec and the status are both seen.
Rule 2: what may change once a run has ended says what is wanted next (redrives, redriveFilter) or what becomes of the
        resource (ttlSecondsAfterFinished). All else would have no effect: it is refused, with the way that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from maprun.core.rule import Rule, value_at
from maprun.errors import Problem
from maprun.model import LIVE, MapRunSpec


class Edit(NamedTuple):
    """A change of a spec; `ended`: the run had ended by then."""

    old: MapRunSpec
    new: MapRunSpec
    ended: bool

    @property
    def redrives(self) -> bool:
        """True when the edit wants another redrive."""
        return self.new.redrives > self.old.redrives


_ENDED: Final = "has(oldSelf.status) && has(oldSelf.status.completionTime)"
_RAISED: Final = "self.spec.redrives > oldSelf.spec.redrives"
_OPTIONAL: Final = frozenset({"toleratedFailurePercentage", "toleratedFailureCount", "timeoutSeconds"})


def _same(field: str) -> Callable[[Edit], bool]:
    return lambda edit: value_at(edit.new, field) == value_at(edit.old, field)


def _same_cel(field: str) -> str:
    same = f"self.spec.{field} == oldSelf.spec.{field}"
    there = f"has(self.spec.{field})"
    return same if field not in _OPTIONAL else f"{there} == has(oldSelf.spec.{field}) && (!{there} || {same})"


def _kept_at_the_end(field: str) -> Rule[Edit]:
    """A field that means nothing to a run that has ended, unless it goes on by a redrive."""
    same = _same(field)
    return Rule[Edit](
        f"spec.{field}",
        "cannot be changed: the run has ended. To run again what did not succeed, raise redrives in the same edit",
        lambda edit: not edit.ended or edit.redrives or same(edit),
        f"!({_ENDED}) || {_RAISED} || ({_same_cel(field)})",
    )


EDIT_RULES: Final[tuple[Rule[Edit], ...]] = (
    Rule[Edit](
        "spec.redrives",
        "cannot be lowered: each redrive is made once",
        lambda edit: edit.new.redrives >= edit.old.redrives,
        "self.spec.redrives >= oldSelf.spec.redrives",
    ),
    Rule[Edit](
        "spec.redrives",
        "cannot be raised while abort is true: set abort to false in the same edit",
        lambda edit: not edit.redrives or not edit.new.abort,
        f"!({_RAISED}) || !self.spec.abort",
    ),
    Rule[Edit](
        "spec.abort",
        "cannot be taken back. To run again what did not succeed, raise redrives in the same edit",
        lambda edit: edit.new.abort or not edit.old.abort or edit.redrives,
        f"self.spec.abort || !oldSelf.spec.abort || {_RAISED}",
    ),
    *map(_kept_at_the_end, sorted(LIVE)),
    Rule[Edit](
        "spec.abort",
        "cannot be set: the run has ended",
        lambda edit: not edit.ended or edit.old.abort or not edit.new.abort or edit.redrives,
        f"!({_ENDED}) || oldSelf.spec.abort || !self.spec.abort || {_RAISED}",
    ),
)
"""What must hold of an edit, besides that immutable fields stay (`tools/crd.py` makes those rules)."""


def check_edit(edit: Edit) -> Iterator[Problem]:
    """The broken rules of an edit."""
    return (Problem(rule.field, rule.message) for rule in EDIT_RULES if not rule.holds(edit))
