"""Retriers of ASL: which one decides, how often, and when (`aws-distributed-map.md` §5.6, §12)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import retrying
from maprun.errors import Failure
from maprun.fields import MAX_SECONDS
from maprun.model_processing import JitterStrategy, Retrier
from maprun.records import Retry

NOW = 1_000_000.0


def retrier(*errors: str, **fields: Any) -> Retrier:
    return Retrier(list(errors), **fields)


def decide(retriers: list[Retrier], error: str, spent: tuple[int, ...] = ()) -> Retry | None:
    return retrying.decide(retriers, spent, Failure(error), NOW, Random(1))


def attempts(retriers: list[Retrier], error: str) -> int:
    """How many attempts a child has that always fails with `error`."""
    spent: tuple[int, ...] = ()
    made = 1
    while retry := decide(retriers, error, spent):
        spent, made = retrying.spent_after(spent, retry), made + 1
    return made


@pytest.mark.parametrize(
    ("name", "error", "matches"),
    [
        pytest.param("Boom", "Boom", True, id="a name matches itself"),
        pytest.param("Boom", "boom", False, id="case counts"),
        pytest.param("Boom", "Boom.Inner", False, id="a name is no prefix"),
        pytest.param("States.ALL", "Boom", True, id="ALL matches an error of the work"),
        pytest.param("States.ALL", "States.Timeout", True, id="ALL matches a timeout"),
        pytest.param(
            "States.ALL", "States.DataLimitExceeded", False, id="ALL does not match an output that is too big"
        ),
        pytest.param("States.ALL", "States.Runtime", False, id="ALL does not match a wrong definition"),
        pytest.param("States.TaskFailed", "Boom", True, id="TaskFailed matches an error of the work"),
        pytest.param("States.TaskFailed", "States.TaskFailed", True, id="TaskFailed matches itself"),
        pytest.param("States.TaskFailed", "Job.OOMKilled", True, id="TaskFailed matches too little memory"),
        pytest.param("States.TaskFailed", "States.Timeout", False, id="TaskFailed does not match a timeout"),
        pytest.param("States.TaskFailed", "States.DataLimitExceeded", False, id="TaskFailed spares too big an output"),
        pytest.param("States.TaskFailed", "States.Runtime", False, id="TaskFailed spares a wrong definition"),
        pytest.param("States.Timeout", "States.Timeout", True, id="a timeout can be named"),
        pytest.param("States.DataLimitExceeded", "States.DataLimitExceeded", True, id="too big an output can be named"),
        pytest.param("States.Runtime", "States.Runtime", False, id="a wrong definition cannot even be named"),
        pytest.param("State.ALL", "Boom", False, id="State.ALL, a common slip, is a name like any other"),
    ],
)
def test_names_match(name: str, error: str, matches: bool) -> None:
    assert retrying.matches([name], error) is matches


def test_any_name_of_a_retrier_matches() -> None:
    assert retrying.matches(["A", "B"], "B")


@pytest.mark.parametrize(
    ("retriers", "error", "spent", "retry"),
    [
        pytest.param([], "Boom", (), None, id="no retrier, no retry"),
        pytest.param([retrier("Other")], "Boom", (), None, id="none that matches, no retry"),
        pytest.param([retrier("Boom")], "Boom", (), Retry(0, NOW + 1), id="defaults: after one second"),
        pytest.param(
            [retrier("A"), retrier("Boom")], "Boom", (), Retry(1, NOW + 1), id="the one that matches is named"
        ),
        pytest.param(
            [retrier("Boom", interval_seconds=7), retrier("States.ALL", interval_seconds=9)],
            "Boom",
            (),
            Retry(0, NOW + 7),
            id="the first that matches decides",
        ),
        pytest.param(
            [retrier("Boom", max_attempts=1), retrier("States.ALL")],
            "Boom",
            (1,),
            None,
            id="when it is spent, none follows",
        ),
        pytest.param([retrier("Boom", max_attempts=0)], "Boom", (), None, id="maxAttempts 0 never retries"),
        pytest.param([retrier("A"), retrier("Boom")], "Boom", (3,), Retry(1, NOW + 1), id="each has its own count"),
    ],
)
def test_decides(retriers: list[Retrier], error: str, spent: tuple[int, ...], retry: Retry | None) -> None:
    assert decide(retriers, error, spent) == retry


@pytest.mark.parametrize(
    ("fields", "delays"),
    [
        pytest.param({}, [1, 2, 4, 8], id="doubles by default"),
        pytest.param({"interval_seconds": 3, "backoff_rate": 1}, [3, 3, 3], id="rate 1 stays the same"),
        pytest.param({"backoff_rate": "1.5"}, [1, 1.5, 2.25], id="the rate may be a decimal"),
        pytest.param({"interval_seconds": 3, "max_delay_seconds": 5}, [3, 5, 5], id="never above maxDelaySeconds"),
        pytest.param({"interval_seconds": 9, "max_delay_seconds": 5}, [5], id="not even the first"),
    ],
)
def test_delays_grow(fields: dict[str, Any], delays: list[float]) -> None:
    each = retrier("Boom", max_attempts=9, **fields)
    at = [decide([each], "Boom", (made,)) for made in range(len(delays))]
    assert [retry and retry.at - NOW for retry in at] == delays


@pytest.mark.parametrize("rate", ["99999999.999999", 2, "1.000001"])
def test_a_huge_number_of_retries_is_no_huge_delay(rate: int | str) -> None:
    each = retrier("Boom", max_attempts=MAX_SECONDS, backoff_rate=rate)
    assert 0 < retrying.delay(each, MAX_SECONDS - 1) <= MAX_SECONDS


def test_counts_only_the_retrier_that_was_spent() -> None:
    assert retrying.spent_after((), Retry(2, NOW)) == (0, 0, 1)
    assert retrying.spent_after((4, 1, 1), Retry(1, NOW)) == (4, 2, 1)


RETRIERS = st.builds(
    Retrier,
    st.lists(st.sampled_from(["A", "B", "States.ALL", "States.TaskFailed"]), min_size=1, max_size=2),
    interval_seconds=st.integers(1, MAX_SECONDS),
    max_attempts=st.integers(0, 5),
    backoff_rate=st.sampled_from([1, "1.1", "2", 1000]),
    max_delay_seconds=st.none() | st.integers(1, 31_622_400),
    jitter_strategy=st.sampled_from(JitterStrategy),
)


@given(RETRIERS, st.integers(0, 10**6), st.integers())
def test_a_delay_is_bounded(each: Retrier, made: int, seed: int) -> None:
    each = Retrier(
        each.error_equals,
        each.interval_seconds,
        MAX_SECONDS,
        each.backoff_rate,
        each.max_delay_seconds,
        each.jitter_strategy,
    )
    retry = retrying.decide([each], (made,), Failure(each.error_equals[0]), NOW, Random(seed))
    full = retrying.delay(each, made)
    assert retry is not None
    assert full <= min(MAX_SECONDS, each.max_delay_seconds or MAX_SECONDS)
    if each.jitter_strategy is JitterStrategy.FULL:
        assert NOW - 0.001 <= retry.at <= NOW + full + 0.001
    else:
        assert retry.at == pytest.approx(NOW + full, abs=0.001)


@given(st.lists(RETRIERS, max_size=4), st.lists(st.sampled_from(["A", "B", "C", "States.Timeout"]), max_size=40))
def test_no_retrier_retries_more_often_than_it_may(retriers: list[Retrier], errors: list[str]) -> None:
    spent: tuple[int, ...] = ()
    for error in errors:
        if retry := decide(retriers, error, spent):
            spent = retrying.spent_after(spent, retry)
    assert all(made <= each.max_attempts for made, each in zip(spent, retriers, strict=False))


@given(st.lists(RETRIERS, max_size=4))
def test_the_first_that_matches_gives_the_number_of_attempts(retriers: list[Retrier]) -> None:
    first = next((each for each in retriers if retrying.matches(each.error_equals, "A")), None)
    assert attempts(retriers, "A") == 1 + (first.max_attempts if first else 0)
