"""Places that all runs share: never more than there are, everybody in turn, no namespace with all of them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.adapters.turns import Turns


class Askers:
    """Whoever asks for places, each with a name that begins with its namespace's letter."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}
        self.holding: list[str] = []
        self.came: list[str] = []  # everybody who ever had a place, in that order

    async def ask(self, name: str) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name))
        await settled()

    async def end(self, name: str) -> None:
        """It gives its place back by itself."""
        self.ends[name].set()
        await settled()

    async def cancel(self, name: str) -> None:
        """Whether it waits or holds a place."""
        self.tasks[name].cancel()
        await settled()

    def waiting(self) -> list[str]:
        return [name for name, task in self.tasks.items() if not task.done() and name not in self.holding]

    async def _hold(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.came.append(name)
            self.holding.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.holding.remove(name)


async def settled() -> None:
    """Everything has happened that what was done leads to."""
    for _ in range(5):
        await asyncio.sleep(0)


DEALT = [
    pytest.param(6, "a1 a2 a3 a4 a5", "a1 a2 a3", id="a namespace alone gets half"),
    pytest.param(6, "a1 a2 a3 a4 b1 b2 b3 c1 c2 d1", "a1 a2 a3 b1 b2 c1", id="the next ones half of what is left"),
    pytest.param(1, "a1 a2 b1", "a1", id="one place"),
    pytest.param(6, "a1 b1 c1 d1 e1 f1 g1", "a1 b1 c1 d1 e1 f1", id="one for each while there are any"),
]


@pytest.mark.parametrize(("places", "ask", "hold"), DEALT)
async def test_places(places: int, ask: str, hold: str) -> None:
    askers = Askers(places)
    for name in ask.split():
        await askers.ask(name)
    assert askers.holding == hold.split()
    for name in ask.split():
        await askers.end(name)
    assert sorted(askers.came) == sorted(ask.split())


async def test_namespaces_have_their_turn_one_after_the_other_however_many_ask_in_one() -> None:
    askers = Askers(1)
    for name in "a1 a2 a3 a4 b1 b2 c1".split():
        await askers.ask(name)
    while askers.holding:
        await askers.end(askers.holding[0])
    assert askers.came == "a1 a2 b1 c1 a3 b2 a4".split()


async def test_namespaces_that_never_give_back_leave_a_place_to_the_others() -> None:
    """Two hang with all that they get, for ever; a third one's come and go."""
    askers = Askers(6)
    for name in [f"{namespace}{number}" for namespace in "ab" for number in range(9)]:
        await askers.ask(name)
    hanging = list(askers.holding)
    assert Counter(name[0] for name in hanging) == {"a": 3, "b": 2}
    for number in range(20):
        await askers.ask(f"c{number}")
        await askers.end(f"c{number}")
    assert askers.came == hanging + [f"c{number}" for number in range(20)]


async def test_those_that_give_up_take_no_turn_from_the_others_of_their_namespace() -> None:
    askers = Askers(1)
    for name in "a1 b1 b2 b3 a2 b4 a3 a4".split():
        await askers.ask(name)
    for name in ("b1", "b2", "b3"):
        await askers.cancel(name)
    while askers.holding:
        await askers.end(askers.holding[0])
    assert askers.came == "a1 b4 a2 a3 a4".split()


async def test_whoever_is_cancelled_in_the_moment_of_its_turn_gives_the_place_back() -> None:
    askers = Askers(1)
    for name in ("a1", "a2", "a3"):
        await askers.ask(name)
    askers.ends["a1"].set()
    while not askers.tasks["a1"].done():
        await asyncio.sleep(0)  # the place is a2's from here on, but a2 does not know yet
    askers.tasks["a2"].cancel()
    await settled()
    assert askers.came == ["a1", "a3"]


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "end", "cancel"]), st.sampled_from("aaabcd")), max_size=60)


@given(st.integers(1, 9), STEPS)
def test_whatever_happens(places: int, steps: list[tuple[str, str]]) -> None:
    asyncio.run(_whatever(Askers(places), steps))


async def _whatever(askers: Askers, steps: list[tuple[str, str]]) -> None:
    places = askers.turns.places
    cancelled = set[str]()
    for number, (step, namespace) in enumerate(steps):
        if step == "ask":
            await askers.ask(f"{namespace}{number:02}")
        elif step == "end" and (mine := [name for name in askers.holding if name[0] == namespace]):
            await askers.end(mine[0])
        elif step == "cancel" and (mine := [name for name in askers.tasks if name[0] == namespace]):
            cancelled.add(mine[number % len(mine)])
            await askers.cancel(mine[number % len(mine)])
        held, waiting = Counter(name[0] for name in askers.holding), askers.waiting()
        assert held.total() <= places
        assert max(held.values(), default=0) <= (places + 1) // 2
        free = places - held.total()
        assert all(held[name[0]] >= free for name in waiting), "nobody waits who may have a place"
    assert_in_order([name for name in askers.came if name not in cancelled])
    while askers.holding:
        await askers.end(askers.holding[0])
    assert askers.waiting() == []
    assert askers.came == list(dict.fromkeys(askers.came))
    assert askers.tasks.keys() - cancelled <= set(askers.came)
    assert not askers.turns._lines
    assert not askers.turns._held
    await asyncio.gather(*askers.tasks.values(), return_exceptions=True)


def assert_in_order(came: list[str]) -> None:
    """Those of one namespace had their turn in the order in which they asked."""
    for namespace in "abcd":
        mine = [name for name in came if name[0] == namespace]
        assert mine == sorted(mine)
