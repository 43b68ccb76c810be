"""The command line: `maprun`, and `python -m maprun`.

Rule 1: a command imports what it needs when it runs; nobody waits for what another command needs.
Rule 2: what people read goes to the screen in words, what programs read (`--json`) to standard output alone.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    from maprun.cli.app import app

    app(prog_name="maprun")
