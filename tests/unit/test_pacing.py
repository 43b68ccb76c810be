"""How fast writes go to the API server: tables of a pace, and what a run of them adds up to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.pacing import BURST, FIRST_RATE, LEAST_RATE, MOST_RATE, SLOW, Pace

START = 1000.0


def sent_in(pace: Pace, seconds: float, latency: float = 0.01) -> tuple[int, Pace]:
    """How many writes go out when there is always one to send."""
    now, count = START, 0
    while (now := now + pace.delay(now)) < START + seconds:
        pace = pace.sent(now).answered(now, latency)
        count += 1
    return count, pace


def test_the_first_write_goes_at_once() -> None:
    assert Pace(START).delay(START) == 0


def test_a_rate_holds() -> None:
    pace, now, count = Pace(START, rate=10.0), START, 0
    while (now := now + pace.delay(now)) < START + 1.0:
        pace, count = pace.sent(now), count + 1
    assert count in (10, 11)  # rounding decides about the last one


def test_a_rate_that_limits_us_rises() -> None:
    _, pace = sent_in(Pace(START), 2.0)
    assert FIRST_RATE + 30 < pace.rate < FIRST_RATE + 50


def test_a_rate_that_is_not_used_does_not_rise() -> None:
    idle = Pace(START, tokens=FIRST_RATE * BURST)
    assert idle.sent(START).answered(START, 0.01).rate == FIRST_RATE


def test_what_was_not_used_may_be_sent_later_but_only_a_little() -> None:
    pace, now, burst = Pace(START), START + 3600, 0
    while pace.delay(now) == 0:
        pace, burst = pace.sent(now), burst + 1
    assert burst == int(FIRST_RATE * BURST)


FALLS = [
    pytest.param(lambda pace: pace.throttled(START, 0.0), FIRST_RATE / 2, 0.0, id="too many requests halve the rate"),
    pytest.param(lambda pace: pace.throttled(START, 7.0), FIRST_RATE / 2, 7.0, id="Retry-After is obeyed by all"),
    pytest.param(
        lambda pace: pace.throttled(START, 7.0).throttled(START, 2.0),
        FIRST_RATE / 2,
        7.0,
        id="the longest rest counts, and one fall",
    ),
    pytest.param(
        lambda pace: pace.throttled(START, 0.0).throttled(START + 2, 0.0),
        FIRST_RATE / 4,
        0.0,
        id="later trouble halves it again",
    ),
    pytest.param(
        lambda pace: pace.answered(START, SLOW + 0.1), FIRST_RATE / 2, 0.0, id="a slow answer halves the rate"
    ),
    pytest.param(lambda pace: pace.answered(START, SLOW - 0.1), FIRST_RATE, 0.0, id="an ordinary answer does not"),
]


@pytest.mark.parametrize(("change", "rate", "rest"), FALLS)
def test_trouble_slows_us_down(change: object, rate: float, rest: float) -> None:
    assert callable(change)
    pace = change(Pace(START))
    assert pace.rate == rate
    assert pace.delay(pace.at) == rest


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["send", "slow", "refused"])), max_size=200))
def test_the_rate_keeps_its_bounds_and_nothing_waits_for_ever(steps: list[tuple[float, str]]) -> None:
    pace, now = Pace(START), START
    for pause, step in steps:
        now += pause
        delay = pace.delay(now)
        assert 0 <= delay <= 5 + 1 / LEAST_RATE
        now += delay
        pace = pace.sent(now)
        latency = SLOW + 1 if step == "slow" else 0.01
        pace = pace.throttled(now, 5.0) if step == "refused" else pace.answered(now, latency)
        assert LEAST_RATE <= pace.rate <= MOST_RATE
