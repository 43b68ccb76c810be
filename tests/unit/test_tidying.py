"""The state of deleted runs goes, whatever happens on the way, and nobody else's; finished runs go when due."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun import preparing, tidying
from maprun.adapters import expiring, state_removal
from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.expiring import Expiry
from maprun.adapters.state_removal import MARK, Removals, folder_of, remove
from maprun.adapters.sweeping import Sweeper
from maprun.errors import StoreUnavailable
from maprun.model import MapRunSpec, RunRef
from maprun.ports import UNOBSERVED, ObjectInfo
from maprun.preparing import Shared
from maprun.settings import OperatorSettings
from tests.unit.fake_api import until
from tests.unit.fake_store import FakeStore

HERE: Final = "lease-uid"
KEYS: Final = ("spec.json", "plan/000001", "journal/000001", MARK)


def state(store: FakeStore | DirectoryStore, folder: str, mark: str = HERE) -> None:
    """A run's state."""
    for key in KEYS:
        store.create(folder + key, mark.encode())


class Breaking(FakeStore):
    """`hurdle` runs before each call that a removal makes, and may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.hurdle: Callable[[], None] = lambda: None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        self.hurdle()
        return iter(list(super().list(prefix, start_after)))

    def delete(self, key: str) -> None:
        self.hurdle()
        super().delete(key)


# ------------------------------------------------------------------------------------------------------------- removal


def test_a_folder_goes_and_its_neighbours_stay() -> None:
    store = FakeStore()
    for folder in ("team/run-1/", "team/run-10/", "team2/run-1/"):
        state(store, folder)
    remove(store, "team/run-1/")
    assert sorted(store.objects) == sorted(f + key for f in ("team/run-10/", "team2/run-1/") for key in KEYS)


def test_in_a_directory_nothing_is_left_of_it(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "state")
    state(store, "team/run-1/")
    remove(store, "team/run-1/")
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("calls", range(len(KEYS) + 1))
def test_an_interrupted_removal_leaves_the_mark(calls: int) -> None:
    store, left = Breaking(), iter(range(calls))
    state(store, "team/run-1/")

    def hurdle() -> None:
        if next(left, None) is None:
            raise StoreUnavailable("S3 is away")

    store.hurdle = hurdle
    with pytest.raises(StoreUnavailable):
        remove(store, "team/run-1/")
    assert f"team/run-1/{MARK}" in store.objects


@pytest.fixture
async def removals(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Removals, Breaking]]:
    monkeypatch.setattr(state_removal, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(state_removal, "AGAIN_SECONDS", 0.0)
    store = Breaking()
    made = Removals(store)
    yield made, store
    await made.close()


async def test_a_removal_is_tried_again(removals: tuple[Removals, Breaking]) -> None:
    made, store = removals
    state(store, "team/run-1/")
    failures = iter([StoreUnavailable("away")] * 2)

    def hurdle() -> None:
        for failure in failures:
            raise failure

    store.hurdle = hurdle
    await made.add("team/run-1/")
    assert store.objects == {}


async def test_what_can_never_be_removed_is_given_up_and_told(
    removals: tuple[Removals, Breaking], caplog: pytest.LogCaptureFixture
) -> None:
    made, store = removals
    state(store, "team/run-1/")

    def hurdle() -> None:
        raise StoreUnavailable("bucket gone: it is away")

    store.hurdle = hurdle
    await made.add("team/run-1/")
    assert len(store.objects) == len(KEYS)
    assert "is left: team/run-1/: bucket gone: it is away" in caplog.text


async def test_what_was_being_written_goes_at_the_second_look(removals: tuple[Removals, Breaking]) -> None:
    made, store = removals
    state(store, "team/run-1/")

    def hurdle() -> None:
        if not store.objects.get("team/run-1/journal/000002") and len(store.objects) == 1:
            store.objects["team/run-1/journal/000002"] = b"late"
            store.hurdle = lambda: None

    store.hurdle = hurdle
    await made.add("team/run-1/")
    assert store.objects == {}


async def test_an_operator_that_stops_looks_again_at_what_it_has_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its mark nobody would find the rest."""
    monkeypatch.setattr(state_removal, "AGAIN_SECONDS", 3600.0)
    store = FakeStore()
    made = Removals(store)
    state(store, "team/run-1/")
    removal = made.add("team/run-1/")
    await until(lambda: store.objects == {})
    await asyncio.sleep(0.05)
    store.create("team/run-1/journal/000002", b"late")
    await made.close()
    assert removal.done()
    assert store.objects == {}


async def test_a_store_that_hangs_does_not_keep_an_operator_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_removal, "CLOSE_SECONDS", 0.01)
    store, hangs, free = Breaking(), threading.Event(), threading.Event()

    def hurdle() -> None:
        hangs.set()
        assert free.wait(20)

    store.hurdle = hurdle
    made = Removals(store)
    removal = made.add("team/run-1/")
    try:
        assert await asyncio.to_thread(hangs.wait, 10)
        await asyncio.wait_for(made.close(), 10)
        assert removal.cancelled()
    finally:
        free.set()


async def test_a_store_that_hangs_holds_nobody_up_for_long(removals: tuple[Removals, Breaking]) -> None:
    made, store = removals
    hangs, free = threading.Event(), threading.Event()

    def hurdle() -> None:
        hangs.set()
        assert free.wait(20)

    store.hurdle = hurdle
    try:
        await asyncio.wait_for(made.within(0.01, "team/run-1/"), 10)
        assert await asyncio.to_thread(hangs.wait, 10)
    finally:
        free.set()


# --------------------------------------------------------------------------------------------------------------- sweep


class World:
    """Runs and their state. A run is created in the API server first; its operator then writes state. A deleted run
    leaves its state behind. `events` happen one by one, before each step of a sweep.
    """

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.store = Stepped(self)
        self.events: list[Callable[[], None]] = []
        self.removed: list[str] = []
        self._made = 0

    def step(self) -> None:
        if self.events:
            self.events.pop(0)()

    def create(self, mark: str = HERE) -> None:
        self._made += 1
        folder = folder_of("team", "run", f"uid-{self._made}")
        self.runs.add(folder)
        state(self.store, folder, mark)

    def created_later(self) -> None:
        """The run is there, and its operator has written nothing yet."""
        self._made += 1
        self.runs.add(folder_of("team", "run", f"uid-{self._made}"))

    def write(self) -> None:
        for folder in self.runs:
            state(self.store, folder)

    def delete(self) -> None:
        self.runs -= {min(self.runs, default="")}

    async def request(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> bytes:
        """The API server: pages of one run, of one moment, as it lists them."""
        self.step()
        assert (method, path) == ("GET", "/apis/maprun.dev/v1alpha1/mapruns")
        at = int((params or {}).get("continue", 0))
        if not at:
            self.listed = sorted(self.runs)
        page = [
            {"metadata": {"namespace": "team", "name": "run", "uid": each[len("team/run-") : -1]}}
            for each in self.listed[at : at + 1]
        ]
        more = {"continue": str(at + 1)} if at + 1 < len(self.listed) else {}
        return json.dumps({"metadata": more, "items": page}).encode()

    def sweeper(self) -> Sweeper:
        return Sweeper(cast(ClusterClient, self), self.store, HERE, (), self.remove)

    def remove(self, folder: str) -> None:
        self.removed.append(folder)
        remove(self.store, folder)

    def folders(self) -> set[str]:
        return set(self.store.folders("team/"))


class Stepped(FakeStore):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def folders(self, prefix: str = "") -> Iterator[str]:
        self._world.step()
        return super().folders(prefix)

    def read(self, key: str) -> bytes:
        self._world.step()
        return super().read(key)


async def test_the_state_of_runs_that_are_gone_is_swept() -> None:
    world = World()
    for _ in range(3):
        world.create()
    world.delete()
    world.delete()
    await world.sweeper().sweep()
    assert world.folders() == world.runs
    assert len(world.removed) == 2


@pytest.mark.parametrize("mark", [b"other-lease", b"\xff", None])
async def test_what_is_not_marked_as_ours_stays(mark: bytes | None) -> None:
    world = World()
    world.create("")
    (folder,) = world.runs
    del world.store.objects[folder + MARK]
    if mark is not None:
        world.store.create(folder + MARK, mark)
    world.delete()
    await world.sweeper().sweep()
    assert world.folders() == {folder}


async def test_a_folder_that_is_no_namespace_is_not_looked_into() -> None:
    world = World()
    world.store.create("lost+found/run-1/" + MARK, HERE.encode())
    await world.sweeper().sweep()
    assert world.removed == []


async def test_when_the_runs_cannot_be_listed_nothing_is_removed() -> None:
    world = World()
    world.create()
    world.create()

    def expired() -> None:
        raise ApiError(410, "Expired", "the list is too old")

    world.events = [lambda: None] * 3 + [expired]
    with pytest.raises(ApiError):
        await world.sweeper().sweep()
    assert world.removed == []


happening = st.sampled_from(["create", "created_later", "write", "delete"])


@given(before=st.lists(happening, max_size=8), during=st.lists(happening, max_size=12))
def test_no_sweep_takes_the_state_of_a_run_that_is_there(before: list[str], during: list[str]) -> None:
    world = World()
    for name in before:
        getattr(world, name)()
    gone = world.folders() - world.runs
    world.events = [getattr(world, name) for name in during]
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(world.sweeper().sweep())
    assert world.runs.isdisjoint(world.removed)
    assert gone <= set(world.removed)


@pytest.mark.parametrize("writes", range(3))
async def test_state_is_marked_before_there_is_any(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """An operator that dies behind any write leaves nothing that a sweep would not find."""
    store, left = FakeStore(), iter(range(writes))

    def before(key: str) -> None:
        if next(left, None) is None:
            raise StoreUnavailable("the operator is dead")

    async def never_held(error: Exception) -> None:
        raise error

    store.before = before
    monkeypatch.setattr(preparing, "open_store", lambda *_: store)
    shared: Any = SimpleNamespace(
        settings=OperatorSettings(), installation=HERE, telemetry=SimpleNamespace(health=UNOBSERVED)
    )
    needs = preparing.Needs(shared, RunRef("team", "run", "1", 0.0), lambda: False, never_held)
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}}, MapRunSpec)
    with suppress(StoreUnavailable):
        await needs.frozen(spec)
    assert not store.objects or store.objects[MARK] == HERE.encode()
    assert len(store.objects) == min(writes, 2)


# ------------------------------------------------------------------------------------------------------------- expiry


class Deleting:
    """An API server that deletes runs."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.refusals: list[Exception] = []

    async def request(self, method: str, path: str, body: Any) -> bytes:
        assert method == "DELETE"
        self.calls.append((path.rpartition("/")[2], body["preconditions"]))
        if self.refusals:
            raise self.refusals.pop(0)
        return b"{}"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def finished(name: str, ttl: int | None, version: str = "1", **fields: Any) -> dict[str, Any]:
    """A resource whose run ended at second 1,000."""
    condition = {"type": "Succeeded", "status": "True"}
    return {
        "metadata": {"namespace": "team", "name": name, "uid": f"uid-{name}", "resourceVersion": version, **fields},
        "spec": {} if ttl is None else {"ttlSecondsAfterFinished": ttl},
        "status": {"conditions": [condition], "completionTime": "1970-01-01T00:16:40Z"},
    }


class Expiring:
    """An expiry under way, whose clock and API server are the test's."""

    def __init__(self) -> None:
        self.api, self.clock = Deleting(), Clock()
        self.expiry = Expiry(cast(ClusterClient, self.api), self.clock)

    @property
    def deleted(self) -> list[str]:
        return [name for name, _ in self.api.calls]

    async def settled(self) -> None:
        """All that is due now is done: a run that comes last in it shows that."""
        self.expiry.seen(finished("~last", int(self.clock.now) - 1_000))
        await until(lambda: "~last" in self.deleted)
        self.api.calls = [call for call in self.api.calls if call[0] != "~last"]


@pytest.fixture
async def at() -> AsyncIterator[Expiring]:
    made = Expiring()
    running = asyncio.create_task(made.expiry.run())
    yield made
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_runs_go_when_they_are_due_as_they_were_last_seen(at: Expiring) -> None:
    for name, ttl in (("late", 60), ("soon", 5), ("never", None), ("now", 0)):
        at.expiry.seen(finished(name, ttl))
    at.expiry.seen(finished("soon", 5, version="2"))
    await at.settled()
    assert at.deleted == ["now"]
    at.clock.now = 1_010.0
    await at.settled()
    assert at.api.calls[1:] == [("soon", {"uid": "uid-soon", "resourceVersion": "2"})]


EDITS = [
    pytest.param(lambda: finished("run", None), id="the time is taken away"),
    pytest.param(lambda: finished("run", 600), id="it is longer"),
    pytest.param(lambda: finished("run", 5) | {"status": {}}, id="it goes on again"),
    pytest.param(lambda: finished("run", 5, deletionTimestamp="2026-01-01T00:00:00Z"), id="somebody deletes it"),
]


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edit_keeps_a_run(at: Expiring, edit: Callable[[], dict[str, Any]]) -> None:
    at.expiry.seen(finished("run", 5))
    at.expiry.seen(edit())
    at.clock.now = 1_010.0
    await at.settled()
    assert at.deleted == []


async def test_an_edit_brings_it_forward(at: Expiring) -> None:
    at.expiry.seen(finished("run", 600))
    await at.settled()
    at.expiry.seen(finished("run", 0))
    await until(lambda: at.deleted == ["run"])


async def test_one_that_is_gone_is_forgotten(at: Expiring) -> None:
    at.expiry.seen(finished("run", 5))
    at.expiry.gone("uid-run")
    at.clock.now = 1_010.0
    await at.settled()
    assert at.deleted == []


@pytest.mark.parametrize("status", [404, 409])
async def test_one_that_is_gone_or_changed_meanwhile_is_left_to_the_watch(at: Expiring, status: int) -> None:
    at.api.refusals = [ApiError(status, "", "")]
    at.expiry.seen(finished("run", 0))
    await at.settled()
    at.clock.now += expiring.RETRY_SECONDS
    await at.settled()
    assert at.deleted == ["run"]


async def test_what_the_server_does_not_take_now_is_tried_again_later(at: Expiring) -> None:
    at.api.refusals = [ApiError(503, "", "")]
    at.expiry.seen(finished("run", 0))
    await at.settled()
    assert at.deleted == ["run"]
    at.clock.now += expiring.RETRY_SECONDS
    await at.settled()
    assert at.deleted == ["run", "run"]


async def test_a_defect_ends_no_tidying_for_good(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tidying, "AGAIN_SECONDS", 0.0)
    api = Deleting()
    api.refusals = [ValueError("a defect")]
    shared = SimpleNamespace(client=api, settings=OperatorSettings(keep_state=True))
    tidy = tidying.Tidying(cast(Shared, shared))
    tidy.start()
    tidy.seen(finished("one", 0))
    tidy.seen(finished("two", 0))
    await until(lambda: len(api.calls) == 2)
    await tidy.close()
    assert "the expiry of runs broke" in caplog.text
