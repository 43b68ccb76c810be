"""How many failures a run bears (`aws-distributed-map.md` §3.3, §12)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import tolerance

COUNTS = st.none() | st.integers(0, 50)
PERCENTAGES = st.none() | st.fractions(0, 100, max_denominator=1000)


@pytest.mark.parametrize(
    ("count", "percentage", "failed", "total", "breached"),
    [
        pytest.param(None, None, 0, 10, False, id="no threshold: no failure is fine"),
        pytest.param(None, None, 1, 10, True, id="no threshold: the first failure breaches"),
        pytest.param(None, None, 1, None, True, id="no threshold: even before the total is known"),
        pytest.param(2, None, 2, 10, False, id="a count: exactly as many is fine"),
        pytest.param(2, None, 3, 10, True, id="a count: one more breaches"),
        pytest.param(2, None, 3, None, True, id="a count: is judged at once"),
        pytest.param(1, None, 1, 4, False, id="only a count: 25 % failed and no percentage is applied"),
        pytest.param(5, None, 1, 5, False, id="only a count: 20 % failed and no percentage is applied"),
        pytest.param(None, 25, 1, 4, False, id="a percentage: exactly as much is fine"),
        pytest.param(None, 25, 2, 4, True, id="a percentage: more breaches"),
        pytest.param(None, 25, 2, None, False, id="a percentage: waits for the total"),
        pytest.param(None, 50, 2, 3, True, id="a percentage: of an odd total"),
        pytest.param(None, "33.333333", 1, 3, True, id="a percentage: a third is more than 33.333333 %"),
        pytest.param(None, "33.333334", 1, 3, False, id="a percentage: a third is less than 33.333334 %"),
        pytest.param(None, 100, 10, 10, False, id="100 %: never breaches"),
        pytest.param(3, 50, 4, 100, True, id="both: the count can breach"),
        pytest.param(60, 50, 51, 100, True, id="both: the percentage can breach"),
        pytest.param(60, 50, 50, 100, False, id="both: neither is exceeded"),
        pytest.param(0, None, 1, 10, True, id="only a count of 0: the first failure breaches"),
        pytest.param(None, 0, 1, 10, True, id="only 0 %: the first failure breaches"),
        pytest.param(None, 0, 1, None, True, id="only 0 %: needs no total"),
        pytest.param(0, 0, 1, 10, True, id="both 0: the first failure breaches"),
        pytest.param(0, 50, 5, 10, False, id="a count of 0 beside a percentage is not set"),
        pytest.param(5, 0, 5, 10, False, id="0 % beside a count is not set"),
        pytest.param(None, 50, 0, 0, False, id="nothing to do: nothing breaches"),
    ],
)
def test_breached(
    count: int | None, percentage: int | str | None, failed: int, total: int | None, breached: bool
) -> None:
    fraction = None if percentage is None else Fraction(str(percentage))
    assert tolerance.breached(count, fraction, failed, total) is breached


@pytest.mark.parametrize(
    ("count", "percentage", "failed", "total", "mark"),
    [
        pytest.param(10, None, 0, 100, 0, id="nothing failed"),
        pytest.param(10, None, 4, 100, 0, id="below half of a count"),
        pytest.param(10, None, 5, 100, 50, id="half of a count"),
        pytest.param(10, None, 8, None, 80, id="80 % of a count, before the total is known"),
        pytest.param(10, None, 10, 100, 100, id="all of a count"),
        pytest.param(10, None, 11, 100, 100, id="more than a count"),
        pytest.param(None, 10, 5, 100, 50, id="half of a percentage"),
        pytest.param(None, 10, 5, None, 0, id="a percentage waits for the total"),
        pytest.param(10, 50, 9, 20, 80, id="the one that is used most counts"),
        pytest.param(None, None, 1, 10, 100, id="no tolerance is used up by the first failure"),
        pytest.param(0, 50, 1, 100, 0, id="0 beside another is not set"),
    ],
)
def test_share_used(count: int | None, percentage: int | None, failed: int, total: int | None, mark: int) -> None:
    fraction = None if percentage is None else Fraction(percentage)
    assert tolerance.share_used(count, fraction, failed, total) == mark


@given(COUNTS, PERCENTAGES, st.integers(0, 60), st.none() | st.integers(0, 60))
def test_one_more_failure_never_mends_it(
    count: int | None, percentage: Fraction | None, failed: int, total: int | None
) -> None:
    one, more = ((count, percentage, each, total) for each in (failed, failed + 1))
    assert tolerance.breached(*one) <= tolerance.breached(*more)
    assert tolerance.share_used(*one) <= tolerance.share_used(*more)


@given(COUNTS, PERCENTAGES, st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_breach_has_used_all_of_it(
    count: int | None, percentage: Fraction | None, failed: int, total: int | None
) -> None:
    if tolerance.breached(count, percentage, failed, total):
        assert tolerance.share_used(count, percentage, failed, total) == 100


@given(COUNTS, st.integers(0, 60), st.integers(0, 60))
def test_all_may_fail_at_100_percent(count: int | None, failed: int, total: int) -> None:
    if not count and failed <= total:
        assert not tolerance.breached(count, Fraction(100), failed, total)


@given(COUNTS, PERCENTAGES, st.integers(0, 60), st.integers(0, 60))
def test_what_breaches_before_the_total_is_known_breaches_after(
    count: int | None, percentage: Fraction | None, failed: int, total: int
) -> None:
    assert tolerance.breached(count, percentage, failed, None) <= tolerance.breached(count, percentage, failed, total)
