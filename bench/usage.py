"""What a process and those that it started have used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

TICK = os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """Processor seconds, of ended children too, and the sum of the peaks of memory, in bytes."""

    processor: float
    memory: int


def usage_of(pid: int) -> Usage:
    """The use of a process and of all processes below it."""
    own = Path(f"/proc/{pid}")
    # Behind the command, which may hold spaces: state is field 3, utime, stime, cutime and cstime are 14 to 17.
    fields = (own / "stat").read_text().rpartition(")")[2].split()
    processor = sum(int(ticks) for ticks in fields[11:15]) / TICK
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines() if ":" in line)
    memory = int(status["VmHWM"].split()[0]) * 1024
    below = [usage_of(int(child)) for child in (own / f"task/{pid}/children").read_text().split()]
    return Usage(processor + sum(each.processor for each in below), memory + sum(each.memory for each in below))
