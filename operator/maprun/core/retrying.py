"""Whether a failed attempt is tried again, and when: the retriers of ASL (`aws-distributed-map.md` §5.6, §12).

Rule 1: retriers are asked in order. The first that matches the error decides; when its
        attempts are spent, nothing is retried.
Rule 2: States.ALL and States.TaskFailed never match States.DataLimitExceeded, which must be named.
Rule 3: States.Runtime is never retried, not even by name: it means that the definition is wrong.
Rule 4: an infrastructure loss is no failure of the work; it is never brought here (design §3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from maprun.errors import Failure, StatesError
from maprun.fields import MAX_SECONDS
from maprun.model_processing import JitterStrategy, Retrier
from maprun.records import Retry

_BY_NAME_ONLY: Final = frozenset({StatesError.DATA_LIMIT_EXCEEDED})
_NEVER: Final = frozenset({StatesError.RUNTIME})


class Rng(Protocol):
    """What is asked of a source of randomness; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number between `a` and `b`."""


def decide(retriers: Sequence[Retrier], spent: Sequence[int], failure: Failure, now: float, rng: Rng) -> Retry | None:
    """The retry that follows `failure`, None when there is none.

    `spent` counts the retries that each retrier has made for this child so far; a missing count is 0.
    `now` and the answer's `at` are seconds since the epoch.
    """
    for index, retrier in enumerate(retriers):
        if matches(retrier.error_equals, failure.error):
            made = spent[index] if index < len(spent) else 0
            return Retry(index, round(now + _delay(retrier, made, rng), 3)) if made < retrier.max_attempts else None
    return None


def spent_after(spent: Sequence[int], retry: Retry) -> tuple[int, ...]:
    """`spent` with one more retry of the retrier that was decided."""
    counts = [*spent, *[0] * (retry.retrier + 1 - len(spent))]
    counts[retry.retrier] += 1
    return tuple(counts)


def matches(error_equals: Iterable[str], error: str) -> bool:
    """Whether one of the names in `errorEquals` stands for `error`."""
    return error not in _NEVER and any(_matches(name, error) for name in error_equals)


def _matches(name: str, error: str) -> bool:
    if name == error:
        return True
    if error in _BY_NAME_ONLY:
        return False
    return name == StatesError.ALL or (name == StatesError.TASK_FAILED and error != StatesError.TIMEOUT)


def delay(retrier: Retrier, made: int) -> float:
    """Seconds before the next retry, without jitter: intervalSeconds x backoffRate to the power of the retries `made`.

    At most maxDelaySeconds; without it at most 99,999,999, the largest interval of ASL.
    """
    longest = float(retrier.max_delay_seconds or MAX_SECONDS)
    try:
        return min(longest, retrier.interval_seconds * float(retrier.backoff) ** made)
    except OverflowError:
        return longest


def longest(retriers: Iterable[Retrier]) -> float:
    """Most seconds that a retry of one of these may wait; 0 without any."""
    return max((delay(retrier, max(0, retrier.max_attempts - 1)) for retrier in retriers), default=0.0)


def _delay(retrier: Retrier, made: int, rng: Rng) -> float:
    full = delay(retrier, made)
    return rng.uniform(0, full) if retrier.jitter_strategy is JitterStrategy.FULL else full
