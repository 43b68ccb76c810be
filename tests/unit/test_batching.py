"""Batches: their shape, their bytes, and the laws that make them the same whenever they are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.batching import Batched, Batcher, Batching, Single, batching
from maprun.errors import RunFailed
from maprun.fields import PAYLOAD_LIMIT
from maprun.model_processing import ItemBatcher


def made(batches: Batching, *blocks: Sequence[bytes]) -> list[Batched]:
    """All batches of these blocks; the bookmark behind an item is its index over all of them."""
    done: list[Batched] = []
    start = 0
    for block in blocks:
        done += batches.add(block, [str(start + at) for at in range(len(block))])
        start += len(block)
    return [*done, *batches.finish()]


def inputs(batcher: ItemBatcher | None, *items: Any) -> list[str]:
    return [each.input.decode() for each in made(batching(batcher), [json.dumps(item).encode() for item in items])]


ROWS: list[tuple[str, ItemBatcher | None, list[Any], list[str]]] = [
    ("without an item batcher a child gets the item itself", None, [1, "a"], ["1", '"a"']),
    ("batches are filled, the last is smaller", ItemBatcher(2), [1, 2, 3], ['{"Items":[1,2]}', '{"Items":[3]}']),
    ("a batch of one is still wrapped", ItemBatcher(1), [7], ['{"Items":[7]}']),
    ("no items, no batches", ItemBatcher(5), [], []),
    (
        "BatchInput comes first, in each",
        ItemBatcher(2, batch_input={"tag": "t"}),
        [1, 2, 3],
        ['{"BatchInput":{"tag":"t"},"Items":[1,2]}', '{"BatchInput":{"tag":"t"},"Items":[3]}'],
    ),
    (
        "BatchInput may be any JSON, empty or false too",
        ItemBatcher(9, batch_input=0),
        [1],
        ['{"BatchInput":0,"Items":[1]}'],
    ),
    (
        "a batch as large as allowed is allowed: 15 bytes",
        ItemBatcher(max_input_bytes_per_batch=15),
        [1, 2, 3],
        ['{"Items":[1,2]}', '{"Items":[3]}'],
    ),
    (
        "one byte less holds one item less",
        ItemBatcher(max_input_bytes_per_batch=14),
        [1, 2],
        ['{"Items":[1]}', '{"Items":[2]}'],
    ),
    (
        "BatchInput counts against the bytes",
        ItemBatcher(max_input_bytes_per_batch=15 + 15, batch_input=1),
        [1, 2],
        ['{"BatchInput":1,"Items":[1,2]}'],
    ),
    (
        "with both limits the one that comes first closes",
        ItemBatcher(2, max_input_bytes_per_batch=16),
        [1, 2, 3, 4444, 5],
        ['{"Items":[1,2]}', '{"Items":[3]}', '{"Items":[4444]}', '{"Items":[5]}'],
    ),
    (
        "the payload limit closes a batch that its count would not",
        ItemBatcher(100),
        ["x" * 100_000, "y" * 100_000, "z" * 100_000],
        [f'{{"Items":["{"x" * 100_000}","{"y" * 100_000}"]}}', f'{{"Items":["{"z" * 100_000}"]}}'],
    ),
]


@pytest.mark.parametrize(("batcher", "items", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_inputs(batcher: ItemBatcher | None, items: list[Any], expected: list[str]) -> None:
    assert inputs(batcher, *items) == expected


TOO_LARGE: list[tuple[str, ItemBatcher | None, list[Any], int, str]] = [
    (
        "for maxInputBytesPerBatch, behind the batches before it",
        ItemBatcher(max_input_bytes_per_batch=20),
        [1, 2, 123456789, 4],
        1,
        "Item 2 has 9 bytes. Alone in a batch, its input has 21 bytes; "
        "spec.itemBatcher.maxInputBytesPerBatch allows 20.",
    ),
    (
        "for it because of BatchInput",
        ItemBatcher(max_input_bytes_per_batch=20, batch_input="xxxxxx"),
        [1],
        0,
        "Item 0 has 1 bytes, BatchInput 8. Alone in a batch, its input has 35 bytes; "
        "spec.itemBatcher.maxInputBytesPerBatch allows 20.",
    ),
    (
        "for a child's input, in a batch",
        ItemBatcher(10),
        [1, "x" * (PAYLOAD_LIMIT - 13)],
        1,
        "Item 1 has 262133 bytes. Alone in a batch, its input has 262145 bytes; at most 262144 are allowed. "
        "Let spec.itemSelector pick what the child needs.",
    ),
    (
        "for a child's input, by itself",
        None,
        [1, "x" * (PAYLOAD_LIMIT - 1)],
        1,
        "The input of the child execution for item 1 has 262145 bytes; at most 262144 are allowed. "
        "Let spec.itemSelector pick what the child needs.",
    ),
]


@pytest.mark.parametrize(
    ("batcher", "items", "before", "cause"), [row[1:] for row in TOO_LARGE], ids=[row[0] for row in TOO_LARGE]
)
def test_an_item_is_too_large(batcher: ItemBatcher | None, items: list[Any], before: int, cause: str) -> None:
    done: list[Batched] = []
    with pytest.raises(RunFailed) as failed:
        done.extend(batching(batcher).add([json.dumps(item).encode() for item in items], ""))
    assert (failed.value.failure.error, failed.value.failure.cause) == ("States.DataLimitExceeded", cause)
    assert len(done) == before


@pytest.mark.parametrize("batcher", [None, ItemBatcher(max_input_bytes_per_batch=20)], ids=["single", "batched"])
def test_an_item_is_named_by_its_place_in_the_whole_dataset(batcher: ItemBatcher | None) -> None:
    batches = batching(batcher, first=1_000)
    assert list(batches.add([b"1", b"2"], "")) or batcher
    with pytest.raises(RunFailed, match=r"tem 1002 has"):
        list(batches.add([b"9" * PAYLOAD_LIMIT * 2], ""))


@pytest.mark.parametrize("size", [PAYLOAD_LIMIT - 12, PAYLOAD_LIMIT - 13], ids=["exactly", "one byte less"])
def test_an_item_may_fill_the_payload_limit(size: int) -> None:
    (batch,) = made(Batcher(None, None), [b"9" * size])
    assert len(batch.input) == size + 12 <= PAYLOAD_LIMIT


values = st.integers(0, 10**6) | st.text(max_size=12) | st.lists(st.integers(0, 9), max_size=4)
limits = st.tuples(st.none() | st.integers(1, 9), st.none() | st.integers(150, 260))


@given(
    blocks=st.lists(st.lists(values, max_size=12), max_size=8),
    limit=limits,
    batch_input=st.none() | st.text(max_size=8) | st.just({"a": [1, {"b": 2}]}),
)
def test_laws_of_batches(blocks: list[list[Any]], limit: tuple[int | None, int | None], batch_input: Any) -> None:
    most, size = limit
    written = [[json.dumps(item, separators=(",", ":")).encode() for item in block] for block in blocks]
    items = [item for block in written for item in block]
    batches = made(Batcher(most, size, batch_input), *written)
    parsed = [json.loads(batch.input) for batch in batches]
    envelope = {} if batch_input is None else {"BatchInput": batch_input}
    assert [item for each in parsed for item in each["Items"]] == [item for block in blocks for item in block]
    assert all({**each, "Items": None} == {**envelope, "Items": None} for each in parsed), "BatchInput is in each"
    largest = min(size or PAYLOAD_LIMIT, PAYLOAD_LIMIT)
    start = 0
    for batch in batches:
        end = start + batch.items
        assert batch.items == len(json.loads(batch.input)["Items"]) >= 1
        assert batch.items <= (most or batch.items)
        assert len(batch.input) <= largest
        if end < len(items):
            full = batch.items == most or len(batch.input) + 1 + len(items[end]) > largest
            assert full, "the next item would have fitted"
        assert batch.behind == str(end - 1), "the bookmark is the one behind the last item"
        start = end


@given(
    items=st.lists(values, max_size=40),
    limit=limits,
    cuts=st.lists(st.integers(0, 40), max_size=5),
    stop=st.integers(0, 40),
)
def test_reading_that_goes_on_behind_a_batch_makes_the_same_batches(
    items: list[Any], limit: tuple[int | None, int | None], cuts: list[int], stop: int
) -> None:
    written = [json.dumps(item).encode() for item in items]
    whole = made(Batcher(*limit), written)
    at = sum(batch.items for batch in whole[:stop])
    edges = [0, *sorted(cut for cut in cuts if cut < len(written) - at), len(written) - at]
    blocks = [written[at:][low:high] for low, high in pairwise(edges)]
    rest = made(Batcher(*limit, None, at), *blocks)
    assert [(batch.items, batch.input) for batch in rest] == [(batch.items, batch.input) for batch in whole[stop:]]


def test_one_bookmark_may_stand_for_all_items() -> None:
    assert {batch.behind for batch in Batcher(2, None).add([b"1"] * 4, "mark")} == {"mark"}
    assert {batch.behind for batch in Single().add([b"1"] * 4, "mark")} == {"mark"}
