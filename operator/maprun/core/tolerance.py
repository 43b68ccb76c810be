"""How many failures a run bears (`aws-distributed-map.md` §3.3, §12).

Rule 1: a threshold is breached when strictly more failed than it allows; exactly as many is fine.
Rule 2: what is counted are items, never children: a failed batch counts all its items.
Rule 3: a threshold that is not set is not applied. An explicit 0 beside a threshold above 0 is "not set"
        (measured, §12).
Rule 4: with no threshold set, or both 0, the first failure breaches.
Rule 5: a count is judged at once; a percentage against the total of the sealed plan. Only 0 % needs no total.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

MARKS: Final = (100, 80, 50)  # percent of a tolerance at which users are told (design §2), the highest first


def breached(count: int | None, percentage: Fraction | None, failed_items: int, total: int | None) -> bool:
    """Whether `failed_items` exceed what is tolerated.

    `count` is toleratedFailureCount, `percentage` toleratedFailurePercentage (0 to 100), None when unset;
    `total` is the number of items in the plan, None until it is sealed.
    """
    return any(failed_items > limit for limit in _limits(count, percentage, total))


def share_used(count: int | None, percentage: Fraction | None, failed_items: int, total: int | None) -> int:
    """The highest of 0, 50, 80 and 100 percent of a tolerance that `failed_items` reached; arguments as in `breached`.

    100 means that the tolerance is used up: the next failure breaches it, or this one did.
    """
    if not failed_items:
        return 0
    limits = _limits(count, percentage, total)
    return next((mark for mark in MARKS if any(100 * failed_items >= mark * limit for limit in limits)), 0)


def _limits(count: int | None, percentage: Fraction | None, total: int | None) -> list[Fraction]:
    """The thresholds that apply at this moment, in items."""
    if not count and not percentage:
        return [Fraction(0)]
    limits = [Fraction(count)] if count else []
    if percentage and total is not None:
        limits.append(percentage * total / 100)
    return limits
