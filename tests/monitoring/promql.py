"""PromQL read as a tree: which series a query asks for, and whether it keeps only some of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import promql_parser

BLOCK: Final = re.compile(r"^( *)```promql\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FILTERS: Final = frozenset({"==", "!=", ">", "<", ">=", "<=", "and", "unless"})


def selectors(query: str) -> list[str]:
    """The vector selectors of a query as text: name and matchers, without range and offset."""
    found: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append(f"{node.name or ''}{node.matchers}")

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def filters(query: str) -> bool:
    """Whether its answer may be empty although all its series are there."""
    found: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.BinaryExpr):
            found.append(str(node.op))

    promql_parser.walk(promql_parser.parse(query), visit)
    return bool(FILTERS & set(found))


def blocks(file: Path) -> list[str]:
    """The queries that a page shows."""
    return [found[2] for found in BLOCK.finditer(file.read_text())]
