"""Runs recorded cases of AWS Step Functions against MapRun: `python -m tools.conformance DIR [--area AREA]…`.

`cases` reads them, `executions` runs their machines with the real engine in a `world` of directories, `judging`,
`one_state` and `sentences` compare what came of them with what was recorded (`matching`), `report` prints it.
"""
