"""`python -m tests.faults.operator_with_fuse operator …`: the operator as it is, with faults from inside.

Rule 1: what it does is said by variables of the environment: FAULT_STEP=`NUMBER:COUNT` kills it behind a step of
        fuses.py; FAULT_CLOCK names a file that holds by how many seconds the clock of its runs is wrong;
        FAULT_SILENCE is after how many seconds a silent watch is given up, in place of a minute and more.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

import kopf

from maprun import handlers, running, supervising
from maprun.adapters import watching
from maprun.adapters.s3 import S3Store
from maprun.cli import main
from maprun.engine import Engine
from maprun.settings import OperatorSettings
from tests.faults.fuses import STEPS, Fuse, fused

PORTS: Final = ("journal", "plan", "launcher", "exporter", "reporter", "redriver")
WRITTEN: Final = next(step.number for step in STEPS if step.port == "bucket")


def with_fuse(step: int, count: int) -> None:
    """Every engine's ports pass through one fuse."""
    fuse, engine = Fuse(step, count), Engine

    def made(*args: Any, **ports: Any) -> Engine:
        return engine(
            *args, **{name: fused(name, port, fuse) if name in PORTS else port for name, port in ports.items()}
        )

    setattr(running, "Engine", made)  # noqa: B010 - for mypy it is a class
    setattr(S3Store, "write", fuse.behind(WRITTEN, S3Store.write))  # noqa: B010


def with_clock(offset: Path) -> None:
    """Every engine's clock is wrong by what the file says now."""
    engine_for = running.engine_for

    def clock() -> float:
        return time.time() + float(offset.read_text())

    def made(*args: Any, **named: Any) -> Engine:
        return engine_for(*args, **named, clock=clock)

    setattr(supervising, "engine_for", made)  # noqa: B010


def with_silence(seconds: float) -> None:
    """Silent watches are given up sooner."""
    settings_of = handlers.kopf_settings

    def settings(own: OperatorSettings) -> kopf.OperatorSettings:
        made = settings_of(own)
        made.watching.inactivity_timeout = seconds
        return made

    setattr(watching, "SILENCE", seconds)  # noqa: B010
    setattr(handlers, "kopf_settings", settings)  # noqa: B010


if __name__ == "__main__":
    if step := os.environ.get("FAULT_STEP"):
        with_fuse(*map(int, step.split(":")))
    if clock_file := os.environ.get("FAULT_CLOCK"):
        with_clock(Path(clock_file))
    if silence := os.environ.get("FAULT_SILENCE"):
        with_silence(float(silence))
    main()
