"""Numbers as Grafana writes them, for the units of the dashboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

Steps = Sequence[tuple[float, str]]

THOUSANDS: Final[Steps] = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))
BYTES: Final[Steps] = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
SECONDS: Final[Steps] = ((86_400.0, " d"), (3_600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms"))
RATES: Final = {"cps": " c/s", "reqps": " req/s"}


def written(value: float, unit: str) -> str:
    """A number with its unit. Errors: KeyError for a unit that the dashboard does not use."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{_short(value * 100)} %"
    if unit == "bytes":
        return _scaled(value, BYTES)
    if unit == "s":
        return _scaled(value, SECONDS)
    return _scaled(value, THOUSANDS) + {"none": "", "short": ""}.get(unit, RATES.get(unit, ""))


def size_of(most: float, unit: str) -> float:
    """The step of the unit's scale that suits numbers up to `most`: marks of an axis are multiples of it."""
    steps = {"bytes": BYTES, "s": SECONDS}.get(unit, THOUSANDS)
    return next((size for size, _ in steps if most >= size), 1.0 if steps is THOUSANDS else steps[-1][0])


def _scaled(value: float, steps: Steps) -> str:
    for size, name in steps:
        if abs(value) >= size:
            return _short(value / size) + name
    return _short(value) + ("" if value else steps[-1][1] if steps is not THOUSANDS else "")


def _short(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}".rstrip("0").rstrip(".")
