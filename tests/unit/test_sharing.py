"""Shares of runs that want more than there is room for: the laws of the arithmetic, and who holds what over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.adapters.sharing import Capacities
from maprun.core.sharing import Claim, nested_shares, shares
from maprun.model import RunRef
from maprun.ports import Capacity, Unlimited

# The arithmetic.

CLAIMS = st.builds(
    lambda held, more, turn: Claim(held, held + more, turn), st.integers(0, 20), st.integers(0, 20), st.integers(0, 3)
)
MANY = st.dictionaries(st.sampled_from("abcdefgh"), CLAIMS, max_size=8)
NESTED = st.dictionaries(st.sampled_from("xyz"), MANY, max_size=3)
ROOM = st.integers(0, 100)


def of(**claims: tuple[int, int]) -> dict[str, Claim]:
    return {key: Claim(*claim) for key, claim in claims.items()}


TABLE = [
    pytest.param({}, 10, {}, id="nobody"),
    pytest.param(of(a=(0, 30)), 10, {"a": 10}, id="one alone gets all"),
    pytest.param(of(a=(0, 30), b=(0, 30)), 10, {"a": 5, "b": 5}, id="two get half each"),
    pytest.param(of(a=(0, 2), b=(0, 30)), 10, {"a": 2, "b": 8}, id="what one leaves is the other's"),
    pytest.param(of(a=(0, 3), b=(0, 4)), 10, {"a": 3, "b": 4}, id="with room for all each gets what it wants"),
    pytest.param(of(a=(8, 30), b=(0, 30), c=(0, 30)), 10, {"a": 8, "b": 1, "c": 1}, id="who holds more gets no more"),
    pytest.param(of(a=(30, 30), b=(0, 9)), 10, {"a": 30, "b": 0}, id="what is held is never taken away"),
    pytest.param(of(a=(0, 9), b=(0, 9), c=(0, 9)), 10, {"a": 4, "b": 3, "c": 3}, id="the odd one goes to one"),
    pytest.param(
        {"a": Claim(0, 9, 7), "b": Claim(0, 9, 5), "c": Claim(0, 9, 6)}, 2, {"a": 0, "b": 1, "c": 1}, id="in turn"
    ),
]


@pytest.mark.parametrize(("claims", "room", "expected"), TABLE)
def test_shares(claims: dict[str, Claim], room: int, expected: dict[str, int]) -> None:
    assert shares(claims, room) == expected


@given(MANY, ROOM)
def test_each_share_is_between_what_is_held_and_what_is_wanted(claims: dict[str, Claim], room: int) -> None:
    got = shares(claims, room)
    assert got.keys() == claims.keys()
    assert all(claim.held <= got[key] <= claim.wanted for key, claim in claims.items())


@given(MANY, ROOM)
def test_the_room_is_used_up_or_nobody_wants_more_and_only_what_was_held_exceeds_it(
    claims: dict[str, Claim], room: int
) -> None:
    held, wanted = (sum(getattr(each, which) for each in claims.values()) for which in ("held", "wanted"))
    assert sum(shares(claims, room).values()) == max(held, min(wanted, room))


@given(MANY, ROOM)
def test_nobody_is_given_more_while_another_has_less_and_wants_more(claims: dict[str, Claim], room: int) -> None:
    assert_fair(claims, shares(claims, room))


def assert_fair(claims: Mapping[str, Claim], got: Mapping[str, int]) -> None:
    least = min((got[key] for key, claim in claims.items() if got[key] < claim.wanted), default=None)
    given_more = (got[key] for key, claim in claims.items() if got[key] > claim.held)
    assert least is None or max(given_more, default=0) <= least + 1


@given(MANY, ROOM, st.randoms(use_true_random=False))
def test_the_order_in_which_claims_are_listed_does_not_matter(
    claims: dict[str, Claim], room: int, random: Random
) -> None:
    order = list(claims)
    random.shuffle(order)
    assert shares({key: claims[key] for key in order}, room) == shares(claims, room)


@given(MANY, ROOM, st.sampled_from("abcdefgh"))
def test_whoever_takes_its_share_changes_nobody_elses(claims: dict[str, Claim], room: int, taker: str) -> None:
    got = shares(claims, room)
    if taker in got and got[taker] > claims[taker].held:
        claims[taker] = Claim(got[taker], claims[taker].wanted, turn=9)
    assert shares(claims, room) == got


@given(NESTED, st.integers(0, 30), ROOM)
def test_both_ceilings_hold_and_nothing_is_left_over(
    runs: dict[str, dict[str, Claim]], namespace_ceiling: int, cluster_ceiling: int
) -> None:
    got = nested_shares(runs, {}, namespace_ceiling, cluster_ceiling)
    may = {
        namespace: Claim(held, max(held, min(wanted, namespace_ceiling or wanted)))
        for namespace, claims in runs.items()
        for held, wanted in [(sum(c.held for c in claims.values()), sum(c.wanted for c in claims.values()))]
    }
    together = {namespace: sum(each.values()) for namespace, each in got.items()}
    assert all(may[namespace].held <= together[namespace] <= may[namespace].wanted for namespace in runs)
    wanted = sum(claim.wanted for claim in may.values())
    room = max(sum(claim.held for claim in may.values()), min(wanted, cluster_ceiling or wanted))
    assert sum(together.values()) == room
    assert_fair(may, together)
    for namespace, claims in runs.items():
        assert_fair(claims, got[namespace])


def test_many_runs_of_one_namespace_get_no_more_than_one_of_another() -> None:
    runs = {"many": {key: Claim(0, 50) for key in "abcde"}, "one": {"f": Claim(0, 50)}}
    assert nested_shares(runs, {}, 0, 20) == {"many": dict.fromkeys("abcde", 2), "one": {"f": 10}}


# Who holds what, over time.


class Runs:
    """Runs that ask as engines do: each time that something ended, and each time that they are woken."""

    def __init__(self, namespace_ceiling: int = 0, cluster_ceiling: int = 0) -> None:
        self.exist: dict[str, list[int]] = {}
        self.capacities = Capacities(namespace_ceiling, cluster_ceiling, lambda: self.exist)
        self.live: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.woken: set[str] = set()
        self.parts: dict[str, Capacity] = {}

    def add(self, name: str, work: int, live: int = 0, namespace: str = "lab") -> None:
        """A run that has yet to start so many children."""
        self.live[name], self.left[name] = live, work
        ref = RunRef(namespace, name, name, 0.0)
        self.parts[name] = self.capacities.of(ref, lambda: self.woken.add(name))

    def ask(self, name: str) -> str:
        """It asks and starts what it may; why it may not start more."""
        self.woken.discard(name)
        allowance = self.parts[name].ask(self.live[name], self.live[name] + self.left[name])
        assert self.live[name] <= allowance.children <= self.live[name] + self.left[name]
        started = allowance.children - self.live[name]
        self.live[name] += started
        self.left[name] -= started
        return allowance.why

    def ends(self, name: str, children: int = 1) -> None:
        """Some of its children end."""
        self.live[name] -= children
        self.ask(name)

    def settle(self) -> None:
        """All that were woken ask."""
        while self.woken:
            self.ask(min(self.woken))


def test_two_runs_share_half_each_as_the_first_ones_children_end() -> None:
    runs = Runs(cluster_ceiling=10)
    runs.add("a", 100)
    runs.add("b", 100)
    assert runs.ask("a") == (
        "waits for capacity: 10 of 10 children of all runs are live (the operator's cluster ceiling)"
    )
    runs.ask("b")
    held = []
    for _ in range(6):
        runs.ends("a")
        runs.settle()
        held.append((runs.live["a"], runs.live["b"]))
    assert held == [(9, 1), (8, 2), (7, 3), (6, 4), (5, 5), (5, 5)]


def test_the_namespace_that_is_full_is_named() -> None:
    runs = Runs(namespace_ceiling=4, cluster_ceiling=10)
    runs.add("a", 100)
    assert runs.ask("a") == (
        "waits for capacity: 4 of 4 children of the runs of namespace lab are live (the operator's namespace ceiling)"
    )
    runs.add("b", 3, namespace="shop")
    assert runs.ask("b") == ""
    assert (runs.live["a"], runs.live["b"]) == (4, 3)


def test_with_less_room_than_runs_each_has_its_turn() -> None:
    runs = Runs(cluster_ceiling=1)
    for name in "abc":
        runs.add(name, 100)
        runs.ask(name)
    turns = []
    for _ in range(9):
        (running,) = [name for name, live in runs.live.items() if live]
        turns.append(running)
        runs.ends(running)
        runs.settle()
    assert turns == [*"abc"] * 3


def test_with_less_room_than_namespaces_each_namespace_has_its_turn() -> None:
    runs = Runs(cluster_ceiling=1)
    for name, namespace in (("a", "lab"), ("b", "lab"), ("c", "shop")):
        runs.add(name, 100, namespace=namespace)
        runs.ask(name)
    turns = []
    for _ in range(8):
        (running,) = [name for name, live in runs.live.items() if live]
        turns.append(running)
        runs.ends(running)
        runs.settle()
    assert turns == ["a", "c", "b", "c"] * 2


def test_a_run_that_closes_wakes_those_that_were_denied() -> None:
    runs = Runs(cluster_ceiling=2)
    for name in "ab":
        runs.add(name, 2)
        runs.ask(name)
    assert runs.live == {"a": 2, "b": 0}
    runs.parts["a"].close()
    assert runs.woken == {"b"}
    assert runs.ask("b") == ""


def test_what_a_restart_finds_is_kept_even_above_the_ceiling_and_nothing_is_added() -> None:
    runs = Runs(cluster_ceiling=10)
    runs.add("a", 50, live=9)
    runs.add("b", 50, live=8)
    runs.ask("a")
    assert runs.ask("b") == (
        "waits for capacity: 18 of 10 children of all runs are live (the operator's cluster ceiling)"
    )


def test_children_of_runs_that_have_not_asked_yet_count() -> None:
    runs = Runs(cluster_ceiling=10)
    runs.exist = {"lab/b": [0] * 8, "lab/a": [0] * 1}
    runs.add("a", 50, live=1)
    runs.add("b", 50, live=8)
    runs.ask("a")
    assert (runs.live, runs.capacities.granted) == ({"a": 2, "b": 8}, 10)
    runs.ask("b")
    assert (runs.live, runs.capacities.granted) == ({"a": 2, "b": 8}, 10)


def test_children_of_a_run_that_was_deleted_count_until_they_are_gone() -> None:
    runs = Runs(cluster_ceiling=3)
    for name in "ab":
        runs.add(name, 3)
        runs.ask(name)
    runs.exist = {"lab/a": [0] * 3}
    runs.parts["a"].close()
    runs.ask("b")
    assert (runs.live["b"], runs.woken) == (0, set())
    runs.exist = {"lab/a": [0]}
    runs.ask("b")
    assert runs.live["b"] == 2


def test_another_life_of_the_same_run_takes_the_place_of_the_earlier_one() -> None:
    runs = Runs(cluster_ceiling=3)
    runs.add("a", 9)
    runs.ask("a")
    earlier = runs.parts["a"]
    runs.add("a", 6, live=3)
    runs.ask("a")
    earlier.close()
    assert (runs.live["a"], runs.capacities.granted) == (3, 3)


def test_without_ceilings_nobody_is_counted() -> None:
    capacity = Capacities(0, 0).of(RunRef("lab", "a", "a", 0.0), lambda: None)
    assert isinstance(capacity, Unlimited)
    assert capacity.ask(3, 9).children == 9


def test_a_run_that_wants_no_more_is_not_waiting() -> None:
    runs = Runs(cluster_ceiling=3)
    for name, work in (("a", 3), ("b", 2)):
        runs.add(name, work)
        runs.ask(name)
    runs.left["b"] = 0
    assert runs.ask("b") == ""
    runs.ends("a", 3)
    assert runs.woken == set()


STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["ask", "end", "close", "more"])), max_size=60)
ORDERS = list(permutations(range(3)))


@given(STEPS, st.integers(0, 5), st.integers(0, 8))
def test_whatever_happens_no_ceiling_is_exceeded_and_nothing_stays_free_that_somebody_may_have(
    steps: list[tuple[str, str]], namespace_ceiling: int, cluster_ceiling: int
) -> None:
    runs = Runs(namespace_ceiling, cluster_ceiling)
    spaces = {name: "lab" if name in "abc" else "shop" for name in "abcdef"}
    for name, step in steps:
        happens(runs, name, step, spaces[name])
        assert_bounded(runs, spaces)
    runs.settle()
    assert_bounded(runs, spaces)
    for name, namespace in spaces.items():
        if runs.left.get(name):
            mine = sum(live for each, live in runs.live.items() if spaces[each] == namespace)
            full = 0 < namespace_ceiling <= mine or 0 < cluster_ceiling <= sum(runs.live.values())
            assert full, f"{name} could go on"


def happens(runs: Runs, name: str, step: str, namespace: str) -> None:
    if name not in runs.parts:
        runs.add(name, 6, namespace=namespace)
    actions: dict[str, Callable[[], object]] = {
        "ask": lambda: runs.ask(name),
        "end": lambda: runs.ends(name, min(1, runs.live[name])),
        "close": lambda: closed(runs, name),
        "more": lambda: runs.left.__setitem__(name, runs.left[name] + 2) or runs.ask(name),
    }
    actions[step]()


def closed(runs: Runs, name: str) -> None:
    runs.parts.pop(name).close()
    del runs.live[name], runs.left[name]
    runs.woken.discard(name)


def assert_bounded(runs: Runs, spaces: dict[str, str]) -> None:
    ceilings = runs.capacities
    assert sum(runs.live.values()) <= (ceilings.cluster_ceiling or 99)
    for namespace in set(spaces.values()):
        mine = sum(live for name, live in runs.live.items() if spaces[name] == namespace)
        assert mine <= (ceilings.namespace_ceiling or 99)
