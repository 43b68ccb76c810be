"""Who may have how many live children when all together want more than there is room for: max-min fair shares.

Rule 1: pure. What a run holds is never taken away, so every share is at least what is held, and the room is exceeded
        only where more than it is held already.
Rule 2: nothing is left over while somebody wants it.
Rule 3: namespaces share the cluster's room first, then the runs of each share what their namespace got: many runs in
        one namespace get no more than one run in another.
Rule 4: what cannot be divided goes to whoever's turn it is, so that with less room than claims each has its turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

UNBOUNDED: Final = 2**62


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Somebody `held` so many children and has `wanted` so many, at least `held`; a lower `turn` comes first."""

    held: int
    wanted: int
    turn: int = 0


def shares(claims: Mapping[str, Claim], room: int) -> dict[str, int]:
    """How many each may have. Shares above what is held are as equal as the wants and the room let them be."""
    if sum(claim.wanted for claim in claims.values()) <= room:
        return {key: claim.wanted for key, claim in claims.items()}
    level = _level(claims.values(), room)
    got = {key: max(claim.held, min(claim.wanted, level)) for key, claim in claims.items()}
    rest = room - sum(got.values())
    if rest > 0:
        higher = ((claim.turn, key) for key, claim in claims.items() if claim.held <= level < claim.wanted)
        for _, key in sorted(higher)[:rest]:
            got[key] += 1
    return got


def nested_shares(
    runs: Mapping[str, Mapping[str, Claim]], turns: Mapping[str, int], namespace_ceiling: int, cluster_ceiling: int
) -> dict[str, dict[str, int]]:
    """The share of each run, by namespace. `turns` are those of the namespaces; a ceiling of 0 is none."""
    claims = {
        namespace: _joined(claims.values(), turns.get(namespace, 0), namespace_ceiling or UNBOUNDED)
        for namespace, claims in runs.items()
    }
    rooms = shares(claims, cluster_ceiling or UNBOUNDED)
    return {namespace: shares(claims, rooms[namespace]) for namespace, claims in runs.items()}


def _joined(claims: Iterable[Claim], turn: int, ceiling: int) -> Claim:
    """What the runs of a namespace claim together, within its ceiling."""
    held = wanted = 0
    for claim in claims:
        held += claim.held
        wanted += claim.wanted
    return Claim(held, max(held, min(wanted, ceiling)), turn)


def _level(claims: Iterable[Claim], room: int) -> int:
    """The highest level to which all that want more can be filled; they want more than the room together.

    Filling is a sweep from 0 upwards over the levels at which somebody begins to rise (at what it holds) or has enough.
    """
    left, steps = room, []
    for claim in claims:
        left -= claim.held
        if claim.held < claim.wanted:
            steps += [(claim.held, 1), (claim.wanted, -1)]
    level = rising = 0
    for at, change in sorted(steps) if left > 0 else ():
        if rising * (at - level) > left:
            return level + left // rising
        left -= rising * (at - level)
        level, rising = at, rising + change
    return level
