"""Greets one planet: the work of one child execution of hello.yaml.

Rule 1: the input is the JSON file $MAPRUN_INPUT, as itemSelector makes it; the output is the JSON file $MAPRUN_OUTPUT.
"""

import json
import os


def greet(event: dict[str, object]) -> str:
    """The greeting. Items are counted from 0, planets from 1."""
    return f"{event['greeting']}, {event['planet']}, number {int(str(event['place'])) + 1} from the sun!"


def main() -> None:
    """Run once."""
    with open(os.environ["MAPRUN_INPUT"], encoding="utf-8") as file:
        event = json.load(file)
    with open(os.environ["MAPRUN_OUTPUT"], "w", encoding="utf-8") as file:
        json.dump(greet(event), file)


if __name__ == "__main__":
    main()
