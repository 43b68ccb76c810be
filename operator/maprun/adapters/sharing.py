"""The children that all runs of one operator may have at once: one hard ceiling for each namespace and one for all.

Rule 1: what is granted together never exceeds a ceiling; only what an operator finds at its start may.
Rule 2: the shares are `core.sharing`'s; here is only who holds what. A share that is not taken yet is kept for its
        run, which is woken for it.
Rule 3: children of runs that do not ask, because they are about to be driven again or are being deleted, count as
        long as they exist: `existing` tells what there is of each, by run key.
Rule 4: as long as everybody gets what is wanted, and when nothing changed, an ask costs microseconds; any other is
        O(runs that have asked).

It is no part of the core, because it remembers; and it knows nothing outside but `existing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sized

from maprun.core.resources import run_key
from maprun.core.sharing import Claim, nested_shares
from maprun.model import RunRef
from maprun.ports import Allowance, Capacity, Unlimited


class Capacities:
    """Shared by all runs. A ceiling of 0 is none; without any, asking costs nothing. Use it on the event loop;
    `granted` may be read in threads.
    """

    def __init__(
        self, namespace_ceiling: int, cluster_ceiling: int, existing: Callable[[], Mapping[str, Sized]] = dict
    ) -> None:
        self.namespace_ceiling, self.cluster_ceiling, self._existing = namespace_ceiling, cluster_ceiling, existing
        self._parts: dict[str, Part] = {}  # of the runs that have asked
        self._others: dict[str, int] = {}  # the children of runs that have not
        self._wanted = Counter[str]()  # by namespace, together
        self._allotted = Counter[str]()  # the shares of each namespace together, when there last was not enough
        self._turns: dict[str, int] = {}  # when each namespace last gave something back
        self._turn = 0
        self._short = False  # somebody gets less than is wanted, or was woken and has not come yet

    def of(self, run: RunRef, wake: Callable[[], None]) -> Capacity:
        """The part of one run, until it is closed. `wake` is called whenever it would be given more than it holds."""
        if not (self.namespace_ceiling or self.cluster_ceiling):
            return Unlimited()
        return Part(self, run, wake)

    @property
    def granted(self) -> int:
        """The children that are live or may be started now, of all runs together."""
        return sum(part.claim.held for part in tuple(self._parts.values())) + sum(tuple(self._others.values()))

    def ask(self, part: Part, live: int, wanted: int) -> Allowance:
        """The part's share, which it holds from now on."""
        new = self._parts.get(part.key) is not part
        if new:
            self._join(part)
        others = self._unasked()
        if new or others != self._others or (live, wanted) != (part.claim.held, part.claim.wanted):
            self._others = others
            self._claims(part, live, wanted)
        if part.share > part.claim.held:
            part.claim = Claim(part.share, wanted, part.claim.turn)
        return Allowance(part.share, self._why(part) if part.share < wanted else "")

    def close(self, part: Part) -> None:
        """The part asks no more: what it holds is free as soon as it does not exist any more."""
        if self._parts.get(part.key) is part:
            del self._parts[part.key]
            self._wanted[part.namespace] -= part.claim.wanted
            self._turns[part.namespace] = self._next_turn()
            self._others = self._unasked()
            if self._short or self._others:
                self._share()

    def _join(self, part: Part) -> None:
        """Behind all others in the line; or in the place of an earlier part of the same run."""
        before = self._parts.get(part.key)
        part.claim = before.claim if before else Claim(0, 0, self._next_turn())
        self._parts[part.key] = part
        self._turns.setdefault(part.namespace, part.claim.turn)

    def _claims(self, part: Part, live: int, wanted: int) -> None:
        """What the part has and wants now. Whoever gives something back goes to the end of the line."""
        turn = part.claim.turn
        if live < part.claim.held:
            self._turns[part.namespace] = turn = self._next_turn()
        self._wanted[part.namespace] += wanted - part.claim.wanted
        part.claim = Claim(live, wanted, turn)
        if self._short or self._others or not self._enough(part.namespace):
            self._share(part)
        else:
            part.share = wanted

    def _enough(self, namespace: str) -> bool:
        """True when all runs may have what they want, if those of all other namespaces may."""
        return not (
            0 < self.namespace_ceiling < self._wanted[namespace] or 0 < self.cluster_ceiling < self._wanted.total()
        )

    def _share(self, asking: Part | None = None) -> None:
        claims: dict[str, dict[str, Claim]] = {}
        for key, part in self._parts.items():
            claims.setdefault(part.namespace, {})[key] = part.claim
        for key, children in self._others.items():
            claims.setdefault(key.partition("/")[0], {})[key] = Claim(children, children)
        shares = nested_shares(claims, self._turns, self.namespace_ceiling, self.cluster_ceiling)
        self._allotted = Counter({namespace: sum(got.values()) for namespace, got in shares.items()})
        self._short = False
        for part in self._parts.values():
            part.share = shares[part.namespace][part.key]
            untaken = part is not asking and part.share > part.claim.held
            self._short |= untaken or part.share < part.claim.wanted
            if untaken:
                part.wake()

    def _unasked(self) -> dict[str, int]:
        found = self._existing()
        return {key: len(found[key]) for key in found.keys() - self._parts.keys()}

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _why(self, part: Part) -> str:
        mine = self._allotted[part.namespace]
        if 0 < self.namespace_ceiling <= mine:
            bound = f"{mine} of {self.namespace_ceiling} children of the runs of namespace {part.namespace} are live"
            return f"waits for capacity: {bound} (the operator's namespace ceiling)"
        bound = f"{self._allotted.total()} of {self.cluster_ceiling} children of all runs are live"
        return f"waits for capacity: {bound} (the operator's cluster ceiling)"


class Part:
    """One run's part (`ports.Capacity`): what it claims, and its share, of which it holds `claim.held`."""

    def __init__(self, whole: Capacities, run: RunRef, wake: Callable[[], None]) -> None:
        self._whole = whole
        self.key, self.namespace, self.wake = run_key(run.namespace, run.uid), run.namespace, wake
        self.claim = Claim(0, 0)
        self.share = 0

    def ask(self, live: int, wanted: int) -> Allowance:
        """How many children the run may have until it asks again."""
        return self._whole.ask(self, live, max(live, wanted))

    def close(self) -> None:
        """The run needs nothing any more."""
        self._whole.close(self)
