"""What the runner prints: a table by area, a line for each failed case, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.conformance.running import Verdict


def lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The report, line by line; the last one is `N passed, N failed`."""
    areas = sorted({verdict.case.area for verdict in verdicts})
    width = max(map(len, ["area", *areas]))
    yield f"{'area':{width}}  passed  failed  cases"
    for area in areas:
        cases = [verdict for verdict in verdicts if verdict.case.area == area]
        bad = sum(1 for verdict in cases if verdict.why)
        yield f"{area:{width}}  {len(cases) - bad:6}  {bad:6}  {len(cases):5}"
    yield ""
    failed = [verdict for verdict in verdicts if verdict.why]
    for verdict in failed:
        yield f"FAILED {verdict.case.area} {verdict.case.name}: {verdict.why}"
    if failed:
        yield ""
    yield f"{len(verdicts) - len(failed)} passed, {len(failed)} failed"
