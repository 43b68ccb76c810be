"""The spec as it is now: read away from the event loop, in any order, and never an invalid one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from maprun import live_spec
from maprun.core import validation
from maprun.errors import SpecInvalid
from maprun.live_spec import LiveSpec
from maprun.model import API_VERSION, KIND, MapRunSpec
from tests.unit.fake_api import until

TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}}


def resource(**spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "default", "name": "run", "uid": "0f9c", "generation": 1}
    spec = {"input": [1], "itemProcessor": {"jobTemplate": TEMPLATE}, **spec}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


class Edited:
    """A resource that is edited, and how often somebody was told so."""

    def __init__(self) -> None:
        self.body = resource(maxConcurrency=1)
        self.told = 0
        self.live = LiveSpec(self.body, self.tell)

    def tell(self) -> None:
        self.told += 1

    def change(self, **spec: Any) -> None:
        """The resource as a watch brings it."""
        generation = self.body["metadata"]["generation"] + 1
        self.body["metadata"] = {**self.body["metadata"], "generation": generation}
        self.body["spec"] = {**self.body["spec"], **spec}

    def edit(self, **spec: Any) -> None:
        self.change(**spec)
        self.live.edited()

    @property
    def seen(self) -> tuple[int, int | None]:
        return self.live.generation, self.live.newest.max_concurrency


async def test_an_edit_is_in_force_when_it_is_told() -> None:
    at = Edited()
    await at.live.read()
    at.edit(maxConcurrency=2)
    assert at.seen == (1, 1)
    await until(lambda: at.told == 1, 20)
    assert at.seen == (2, 2)


async def test_an_edit_that_is_not_valid_counts_as_looked_at_and_leaves_the_spec() -> None:
    at = Edited()
    await at.live.read()
    at.edit(maxConcurrency=-1)
    await until(lambda: at.told == 1, 20)
    assert at.seen == (2, 1)
    with pytest.raises(SpecInvalid):
        await at.live.read()


async def test_edits_that_come_while_one_is_read_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    at, go, parse = Edited(), threading.Event(), validation.parse
    await at.live.read()

    def slow(body: Any) -> MapRunSpec:
        assert go.wait(20)
        return parse(body)

    monkeypatch.setattr(live_spec.validation, "parse", slow)
    at.edit(maxConcurrency=2)
    await asyncio.sleep(0)
    at.edit(maxConcurrency=3)
    await asyncio.sleep(0)
    assert at.seen == (1, 1)
    go.set()
    await until(lambda: at.told == 1, 20)
    assert at.seen == (3, 3)


async def test_what_is_read_last_but_was_edited_first_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    at, go, parse = Edited(), threading.Event(), validation.parse
    await at.live.read()

    def first_is_slow(body: Any) -> MapRunSpec:
        assert body["spec"]["maxConcurrency"] != 2 or go.wait(20)
        return parse(body)

    monkeypatch.setattr(live_spec.validation, "parse", first_is_slow)
    at.change(maxConcurrency=2)
    first = asyncio.create_task(at.live.read())
    await asyncio.sleep(0.05)
    at.change(maxConcurrency=3)
    await at.live.read()
    go.set()
    assert (await first).max_concurrency == 2
    assert at.seen == (3, 3)


async def test_a_defect_is_told_and_later_edits_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at, parse = Edited(), validation.parse
    await at.live.read()

    def broken(body: Any) -> MapRunSpec:
        raise ZeroDivisionError

    monkeypatch.setattr(live_spec.validation, "parse", broken)
    at.edit(maxConcurrency=2)
    await until(lambda: at.told == 1, 20)
    assert "default/run: an edit cannot be read" in caplog.text
    monkeypatch.setattr(live_spec.validation, "parse", parse)
    at.edit(maxConcurrency=3)
    await until(lambda: at.told == 2, 20)
    assert at.seen == (3, 3)


async def test_a_megabyte_of_filters_leaves_the_event_loop_free() -> None:
    """Each `JSONPath` filter takes a third of a millisecond to read."""
    at = Edited()
    at.body["spec"]["itemSelector"] = {f"k{n}.$": f"$.x[?(@.a=={n})].b" for n in range(3_000)}
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    counting = asyncio.create_task(count())
    await at.live.read()
    counting.cancel()
    assert turns > 10
