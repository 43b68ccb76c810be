"""Looks up one airport: the work of one child execution of airports.yaml.

Rule 1: the input is the JSON file $MAPRUN_INPUT: {"number": place in the data set, "airport": one row of it}.
Rule 2: the output is the JSON file $MAPRUN_OUTPUT. An error goes there too, as {"errorType", "errorMessage"}, and the
        exit code is 1: MapRun shows them as Error and Cause.
"""

import json
import os
import sys
import time


class AirportHasNickname(Exception):
    """This airport fails on purpose, so that a run has something to show for failures."""


class RegisterBusy(Exception):
    """A passing trouble: the next attempt works. airports.yaml retries it."""


def look_up(number: int, airport: dict[str, str], attempt: int) -> dict[str, object]:
    """The answer for one airport. It takes 0.05 to 0.15 s, as a call of a real register might."""
    time.sleep(0.05 + number % 11 / 100)
    if airport["REGION"] == "Nagasaki" and attempt == 1:
        raise RegisterBusy("the register of Nagasaki never answers the first time")
    if airport["NNAME"]:
        raise AirportHasNickname(f"{airport['NAME']} ({airport['ICAO']}) is also called {airport['NNAME']}")
    return {"body": airport}


def main() -> int:
    """Run once; returns the exit code."""
    with open(os.environ["MAPRUN_INPUT"], encoding="utf-8") as file:
        event = json.load(file)
    try:
        answer, code = look_up(event["number"], event["airport"], int(os.environ["MAPRUN_ATTEMPT"])), 0
    except Exception as error:
        answer, code = {"errorType": type(error).__name__, "errorMessage": str(error)}, 1
    with open(os.environ["MAPRUN_OUTPUT"], "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=False)
    return code


if __name__ == "__main__":
    sys.exit(main())
