"""Laws of interval sets: they behave as Python's sets do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.intervals import IntervalSet

NUMBERS = st.lists(st.integers(0, 60), max_size=20)


def built(batches: list[list[int]]) -> tuple[IntervalSet, set[int]]:
    interval_set, plain = IntervalSet(), set()
    for batch in batches:
        interval_set = interval_set.with_all(batch)
        plain |= set(batch)
    return interval_set, plain


@given(st.lists(NUMBERS, max_size=6))
def test_has_the_members_of_a_plain_set(batches: list[list[int]]) -> None:
    interval_set, plain = built(batches)
    assert list(interval_set) == sorted(plain)
    assert len(interval_set) == len(plain)
    assert all((number in interval_set) == (number in plain) for number in range(-2, 64))


@given(st.lists(NUMBERS, max_size=6))
def test_equals_the_set_that_was_built_at_once(batches: list[list[int]]) -> None:
    interval_set, plain = built(batches)
    assert interval_set == IntervalSet(plain)
    assert hash(interval_set) == hash(IntervalSet(plain))


@given(st.lists(NUMBERS, max_size=6))
def test_ranges_are_sorted_and_never_touch(batches: list[list[int]]) -> None:
    ranges = list(built(batches)[0].ranges)
    assert all(ranges)
    assert all(left.stop < right.start for left, right in pairwise(ranges))


@given(NUMBERS, NUMBERS)
def test_an_operation_leaves_its_operands_alone(first: list[int], second: list[int]) -> None:
    before = IntervalSet(first)
    before.with_all(second)
    before.union(IntervalSet(second))
    before.minus(IntervalSet(second))
    assert list(before) == sorted(set(first))


@given(NUMBERS, NUMBERS)
def test_a_union_is_what_either_has(first: list[int], second: list[int]) -> None:
    union = IntervalSet(first).union(IntervalSet(second))
    assert union == IntervalSet(second).union(IntervalSet(first)) == IntervalSet(first + second)
    assert len(union) == len({*first, *second})


@given(NUMBERS, NUMBERS)
def test_a_difference_is_what_only_the_first_has(first: list[int], second: list[int]) -> None:
    difference = IntervalSet(first).minus(IntervalSet(second))
    assert difference == IntervalSet(set(first) - set(second))
    assert len(difference) == len(set(first) - set(second))
    assert hash(difference) == hash(IntervalSet(set(first) - set(second)))


@given(NUMBERS, NUMBERS)
def test_an_intersection_is_what_both_have(first: list[int], second: list[int]) -> None:
    both = IntervalSet(first).both(IntervalSet(second))
    assert both == IntervalSet(second).both(IntervalSet(first)) == IntervalSet(set(first) & set(second))
    assert len(both) == len(set(first) & set(second))


@given(NUMBERS, NUMBERS)
def test_what_is_taken_away_and_added_again_is_the_union(first: list[int], second: list[int]) -> None:
    whole, part = IntervalSet(first), IntervalSet(second)
    assert whole.minus(part).union(part) == whole.union(part)


def test_taking_a_few_from_many_ranges_costs_no_walk_through_them() -> None:
    every_second, walked = IntervalSet(range(0, 200_000, 2)), [0]

    class Counted(IntervalSet):
        def _pairs(self) -> Iterator[tuple[int, int]]:
            for pair in super()._pairs():
                walked[0] += 1
                yield pair

    few = Counted([10, 11, 12, 777])
    assert len(every_second.minus(few)) == 100_000 - 2
    assert walked == [2]


@given(NUMBERS)
def test_the_runs_of_a_set_give_it_back(numbers: list[int]) -> None:
    interval_set = IntervalSet(numbers)
    assert IntervalSet.of_runs((each.start, each.stop) for each in interval_set.ranges) == interval_set


@given(NUMBERS, st.integers(0, 70), st.integers(0, 70))
def test_what_is_missing_is_the_rest(numbers: list[int], stop: int, start: int) -> None:
    interval_set = IntervalSet(numbers)
    rest = [number for number in range(start, stop) if number not in numbers]
    assert list(interval_set.missing(stop, start)) == rest
    assert [number for gap in interval_set.gaps(stop, start) for number in gap] == rest
    assert all(interval_set.gaps(stop, start))


@given(NUMBERS, st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_added_like_its_numbers(numbers: list[int], start: int, stop: int) -> None:
    one_by_one = IntervalSet(numbers).with_all(list(range(start, stop)))
    assert IntervalSet(numbers).with_all(range(start, stop)) == one_by_one


@given(NUMBERS)
def test_the_text_gives_the_set_back(numbers: list[int]) -> None:
    interval_set = IntervalSet(numbers)
    assert IntervalSet.decode(interval_set.encode()) == interval_set
    assert len(IntervalSet.decode(interval_set.encode())) == len(interval_set)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        pytest.param([], "", id="nothing is the empty text"),
        pytest.param([7], "7", id="one number stands alone"),
        pytest.param([*range(100), 101], "0-99,101", id="a run is its first and last number"),
        pytest.param([3, 2, 2, 1], "1-3", id="order and repeats do not matter"),
        pytest.param([2**62], str(2**62), id="numbers may be large"),
    ],
)
def test_the_text_is_short(members: list[int], text: str) -> None:
    assert IntervalSet(members).encode() == text


def test_shows_its_text() -> None:
    assert repr(IntervalSet([1, 2])) == "IntervalSet('1-2')"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x", id="no number"),
        pytest.param("3-1", id="backwards"),
        pytest.param("4,2", id="not in order"),
        pytest.param("1-2,3", id="ranges that touch"),
        pytest.param("1-3,2", id="ranges that overlap"),
        pytest.param("5-5", id="a run of one"),
        pytest.param("1,", id="a comma at the end"),
        pytest.param(" 1", id="a space"),
        pytest.param("-1", id="a negative number"),
        pytest.param("1-2-3", id="two dashes"),
    ],
)
def test_refuses_text_that_it_never_writes(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval set|invalid literal"):
        IntervalSet.decode(text)


@pytest.mark.parametrize("members", [[-1], [3, -2], range(-1, 1)], ids=["alone", "among others", "in a range"])
def test_refuses_a_negative_number(members: list[int]) -> None:
    with pytest.raises(ValueError, match="no negative number"):
        IntervalSet(members)
