"""What the pages show is tried: every query on a real Prometheus, and kubectl's commands of the runbooks on a cluster.

Not tried here: logs, for fake nodes have none.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.monitoring import promql
from tests.monitoring.watched import Watched
from tests.operator_process import eventually
from tools.dashboard.__main__ import REPOSITORY

DOCS: Final = REPOSITORY / "docs"
PAGES: Final = sorted([DOCS / "metrics.md", DOCS / "dashboard.md", *(DOCS / "runbooks").glob("*.md")])
QUERIES: Final = [(page, query) for page in PAGES for query in promql.blocks(page)]
SHELL: Final = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`(kubectl [^`]+)`")
READING: Final = ("get", "describe")
CHANGING: Final = ("patch", "delete")
UNTRIED: Final = ("logs",)
RUN: Final = {"NAMESPACE": "etl", "RUN": "orders"}


def commands(page: Path) -> list[list[str]]:
    """The kubectl commands of a page, in blocks and in sentences, for a run that is live."""
    text = page.read_text()
    lines = [line.strip() for block in SHELL.findall(text) for line in block.splitlines()] + INLINE.findall(text)
    for name, value in RUN.items():
        lines = [line.replace(f'"${name}"', value) for line in lines]
    return [shlex.split(line)[1:] for line in lines if line.startswith("kubectl ")]


COMMANDS: Final = [(page, each) for page in PAGES for each in commands(page)]


@pytest.mark.parametrize(("page", "query"), QUERIES, ids=[f"{page.stem}: {query}" for page, query in QUERIES])
def test_a_query_of_a_page_is_answered(page: Path, query: str, live: Watched) -> None:
    for selector in promql.selectors(query):
        assert live.prometheus.query(f"last_over_time({selector}[1h])"), f"{page}: nothing is called {selector}"
    if promql.filters(query):
        live.prometheus.query(query)
    else:
        eventually(lambda: live.prometheus.query(query), told=lambda: f"{page}: no answer to {query}")


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.stem}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_a_command_of_a_page_works(page: Path, words: list[str], live: Watched) -> None:
    assert words[0] in (*READING, *CHANGING, *UNTRIED), page
    if words[0] in READING:
        live.cluster.kubectl(*words)
    elif words[0] in CHANGING:
        live.cluster.kubectl(*words, "--dry-run=server")


def test_there_is_something_to_try() -> None:
    assert len(QUERIES) >= 15
    assert len([words for _, words in COMMANDS if words[0] in READING]) >= 10
