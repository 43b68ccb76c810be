"""Microseconds for one path, and for one item through a selector."""

from __future__ import annotations

import timeit
from typing import Any, Final

import msgspec

from maprun.core import paths
from maprun.core.columns import Items
from maprun.core.inputs import inputs
from maprun.model import MapRunSpec

DOCUMENT: Final = {"detail": {"order": {"id": 7, "lines": [{"sku": "a"}, {"sku": "b"}]}}}
PATHS: Final = ("$.detail.order.id", "$.detail.order.lines[1].sku", "$.detail.order.lines[*].sku")
SELECTORS: Final[dict[str, dict[str, Any]]] = {
    "two paths": {"row.$": "$$.Map.Item.Value", "index.$": "$$.Map.Item.Index"},
    "four paths into the item": {f"{letter}.$": f"$$.Map.Item.Value.{letter}" for letter in "abcd"},
    "an intrinsic function": {"name.$": "States.Format('{}-{}', $$.Map.Item.Index, $$.Map.Item.Value.a)"},
    "a JSONata expression": {"name": "{% $states.context.Map.Item.Value.a & '-1' %}"},
}
ITEMS: Final = 1_000


def report() -> None:
    """Print all of it."""
    for path in PATHS:
        compiled = paths.compile_path(path)
        print(f"path  {path:<42} {_best(lambda compiled=compiled: compiled(DOCUMENT, {}), 20_000):7.2f} µs")
    values = [{letter: f"{letter}{number}" for letter in "abcd"} for number in range(ITEMS)]
    for name, selector in SELECTORS.items():
        language = "JSONPath" if any(key.endswith(".$") for key in selector) else "JSONata"
        wanted = {"itemProcessor": {"jobTemplate": {}}, "itemSelector": selector, "queryLanguage": language}
        spec = msgspec.convert(wanted, MapRunSpec)
        made = inputs(spec, {"Execution": {"Name": "bench"}, "State": {}, "StateMachine": {}})
        block = Items(0, values, None, "s3://bucket/key")
        print(f"item  {name:<42} {_best(lambda made=made, block=block: made(block), 20) / ITEMS:7.2f} µs")


def _best(work: Any, times: int) -> float:
    """Microseconds of one call, the best of five rounds."""
    return min(timeit.repeat(work, number=times, repeat=5)) / times * 1e6
