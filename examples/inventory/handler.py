"""Checks one file of a delivery by its entry in the listing: the work of one child execution of inventory.yaml.

Rule 1: the input is the JSON file $MAPRUN_INPUT: {"key", "bytes", "modified" (seconds since 1970)} of one object.
Rule 2: the output is the JSON file $MAPRUN_OUTPUT. An error goes there too, as {"errorType", "errorMessage"}, and the
        exit code is 1: MapRun shows them as Error and Cause.
Rule 3: the listing is all there is; the object itself is not read, so that a child needs no access to S3.
"""

import json
import os
import re
import sys
from datetime import UTC, date, datetime

NAME = re.compile(r"(?P<river>[a-z]+)-(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})\.csv")


class NotAsAgreed(Exception):
    """The name is not <river>-<year>-<month>-<day>.csv, so nobody knows what the file is."""


class NothingInside(Exception):
    """The file is empty: the gauge did not report."""


def check(key: str, size: int, modified: float) -> dict[str, object]:
    """What is known of the file. `NotAsAgreed` or `NothingInside` when it is of no use."""
    found = NAME.fullmatch(key)
    if found is None:
        raise NotAsAgreed(f"{key} is not named like rhine-2026-03-01.csv")
    try:
        day = date.fromisoformat(found["day"])
    except ValueError as error:
        raise NotAsAgreed(f"{key}: there is no such day") from error
    if size == 0:
        raise NothingInside(f"{key} is empty")
    delivered = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    return {"river": found["river"], "day": day.isoformat(), "bytes": size, "delivered": delivered}


def main() -> int:
    """Run once; returns the exit code."""
    with open(os.environ["MAPRUN_INPUT"], encoding="utf-8") as file:
        event = json.load(file)
    try:
        answer, code = check(event["key"], event["bytes"], event["modified"]), 0
    except (NotAsAgreed, NothingInside) as error:
        answer, code = {"errorType": type(error).__name__, "errorMessage": str(error)}, 1
    with open(os.environ["MAPRUN_OUTPUT"], "w", encoding="utf-8") as file:
        json.dump(answer, file)
    return code


if __name__ == "__main__":
    sys.exit(main())
