"""The dashboard as Grafana reads it: its panels, their queries with all variables filled in, its variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tools.dashboard.__main__ import TARGET

LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")
ALL: Final = {"namespace": ".*", "run": ".*", "__rate_interval": "5s", "__range": "2m"}
"""Values of all variables, also of those that Grafana itself sets."""


@dataclass(frozen=True)
class Query:
    """One query of a panel, as it is sent: variables filled in."""

    panel: str
    ref: str
    expression: str
    legend: str
    instant: bool


def dashboard() -> dict[str, Any]:
    """The dashboard that the chart ships."""
    read: dict[str, Any] = json.loads(TARGET.read_text())
    return read


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All panels but the rows' titles."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: Mapping[str, Any], chosen: Mapping[str, str] = ALL) -> Iterator[Query]:
    """Every query of every panel; `chosen` are the values of the variables."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(
                f"{panel['id']} {panel['title']}",
                target["refId"],
                filled(target["expr"], chosen),
                target.get("legendFormat", ""),
                bool(target["instant"]),
            )


def filled(text: str, chosen: Mapping[str, str] = ALL) -> str:
    """The text with its variables replaced. Errors: KeyError for one that does not exist."""
    values = ALL | dict(chosen)
    return VARIABLE.sub(lambda found: values[found[1]], text)


def variables(board: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The dashboard's variables by their names."""
    return {each["name"]: each for each in board["templating"]["list"]}


def asked(variable: Mapping[str, Any], chosen: Mapping[str, str] = ALL) -> tuple[str, str]:
    """The selector and the label that a variable of the kind `query` asks for."""
    found = LABEL_VALUES.fullmatch(variable["query"])
    assert found, variable["query"]
    return filled(found["selector"], chosen), found["label"]
