"""Writes examples/airports/airports.json: the Japanese airports, from the PyPI package `airportsdata`.

Rule 1: every value comes from the package; this file cuts names into parts, and says which word of one is a nickname.
Rule 2: the same package version gives the same bytes.

Run it with `uv run --with 'airportsdata>=20260905' python tools/airports.py`.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

TARGET: Final = Path(__file__).parent.parent / "examples" / "airports"
COUNTRY: Final = "JP"
PACKAGE: Final = "airportsdata"  # imported when it is used: only this tool needs it

KINDS: Final = re.compile(
    r"( (International|Airport|Airfield|(Auxiliary )?Air Base|Army Air Field|Naval Air Facility"
    r"|Marine Corps Air Station))+$"
)
NICKNAMES: Final = {"RJCB": "Tokachi", "RJGG": "Centrair", "RJNS": "Mt. Fuji", "RJOK": "Ryoma"}
"""Airports whose name in the data carries a nickname: the word that is not part of the plain name."""


def main() -> None:
    """Write the data set."""
    airports: dict[str, dict[str, str]] = importlib.import_module(PACKAGE).load("ICAO")
    rows = [row(airport) for airport in airports.values() if airport["country"] == COUNTRY]
    missing = NICKNAMES.keys() - {row["ICAO"] for row in rows}
    if missing:
        raise SystemExit(f"{PACKAGE} no longer has {', '.join(sorted(missing))}: change NICKNAMES")
    lines = (json.dumps(row, ensure_ascii=False) for row in sorted(rows, key=lambda row: row["ICAO"]))
    (TARGET / "airports.json").write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")
    sys.stdout.write(f"{len(rows)} airports from {PACKAGE} {metadata.version(PACKAGE)}\n")


def row(airport: dict[str, str]) -> dict[str, str]:
    """One airport in the shape of the data set.

    NAME is the plain name, ANAME1 the long one where it says more, ANAME2 empty, NNAME the nickname (mostly empty),
    REGION the prefecture.
    """
    icao, name = airport["icao"], airport["name"].strip()
    nickname = NICKNAMES.get(icao, "")
    if nickname not in name:
        raise SystemExit(f"{icao} is called {name!r}, without {nickname!r}: change NICKNAMES")
    plain = KINDS.sub("", name.replace(nickname, "")).strip(" -") if nickname else KINDS.sub("", name)
    full = re.sub(r"( Airport)+$", "", name)
    return {
        "ICAO": icao,
        "IATA": airport["iata"],
        "NAME": plain.replace("  ", " "),
        "ANAME1": "" if full == plain else full,
        "ANAME2": "",
        "NNAME": nickname,
        "REGION": airport["subd"],
    }


if __name__ == "__main__":
    main()
