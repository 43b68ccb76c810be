"""`python -m tools.conformance DIR [--area AREA]…`: run recorded cases, print a table, exit 0 when none failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.conformance import report
from tools.conformance.cases import load
from tools.conformance.running import judge


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, run, print. Ends the program: with 0 when no case failed, else with 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the case files (or the one around its folder `cases`)")
    parser.add_argument(
        "--area", action="append", default=[], nargs="+", metavar="AREA", help="only these areas; reader-* for several"
    )
    options = parser.parse_args(arguments)
    verdicts = [judge(case) for case in load(options.folder, [area for areas in options.area for area in areas])]
    if not verdicts:
        parser.error(f"{options.folder} has no cases, or none of these areas")
    for line in report.lines(verdicts):
        print(line)
    sys.exit(any(verdict.why for verdict in verdicts))


if __name__ == "__main__":
    main()
