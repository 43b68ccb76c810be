"""Many runs at once: few planning processes, whatever their servers do, and each run's dataset is read in its turn.

The processes are seen from outside, in /proc, all the time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from maprun.adapters.turns import PLANNERS
from tests.adapters.operator_runs import Json, Run, Space, condition, reader, spaces, spec, until, verdict
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

HANGING: Final = 20
GOOD: Final = 40
HALF: Final = (PLANNERS + 1) // 2  # what one namespace alone gets
LOOK_SECONDS: Final = 0.01
TURN: Final = f"waits for its turn to read the dataset: all runs share {PLANNERS} places for that"
TOLD_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0  # for what takes two on a machine that does nothing else
ENDS_SECONDS: Final = 60.0
SECRET: Final = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "made-up-secret"}
SHORT: Final = {"duration": "0.1s", "message": "1"}


@dataclass
class Children:
    """The processes that one process has: the most at once so far, and every one that there ever was."""

    parent: int
    most: int = 0
    ever: set[int] = field(default_factory=set)

    def look(self) -> int:
        """How many there are now."""
        found = {pid for pid in _processes() if _parent(pid) == self.parent}
        self.most = max(self.most, len(found))
        self.ever |= found
        return len(found)

    def left(self) -> set[int]:
        """Those that plan on without their parent."""
        return {pid for pid in self.ever if _plans(pid)}


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _plans(pid: int) -> bool:
    with suppress(OSError):
        return b"maprun.planning" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextmanager
def watched(parent: int) -> Iterator[Children]:
    """Looked at again and again, on a thread."""
    children, over = Children(parent), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            children.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield children
    finally:
        over.set()
        thread.join()


@contextmanager
def silent_server() -> Iterator[Json]:
    """`spec.s3` that leads to a server which takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield {"endpoint": endpoint, "region": "us-east-1", "credentialsSecretRef": {"name": "s3"}}


@dataclass
class Scene:
    """The operator has taken all runs up in one moment, with those that hang before the others."""

    operator: OperatorProcess
    children: Children
    hanging: list[Run]
    good: list[Run]


@asynccontextmanager
async def scene(cluster: Cluster, folder: Path) -> AsyncIterator[Scene]:
    """Made while no operator runs: it finds them all when it starts."""
    names = "plans-dead", "plans-good"
    options = [f"--namespace={name}" for name in names]
    operator = OperatorProcess(folder, cluster.kubeconfig, f"file://{folder}/state", options)
    async with AsyncExitStack() as stack:
        dead, good = await stack.enter_async_context(spaces(cluster, *names))
        s3 = stack.enter_context(silent_server())
        await dead.secret(SECRET)
        hanging = await _made(dead, HANGING, spec(itemReader=reader("data", "rows.json"), s3=s3))
        runs = await _made(good, GOOD, spec([1, 2], pod=SHORT))
        stack.callback(operator.kill)
        operator.start()
        yield Scene(operator, stack.enter_context(watched(operator.pid)), hanging, runs)
        await dead.close()
        await good.close()


async def _made(space: Space, count: int, body: Json) -> list[Run]:
    return list(await asyncio.gather(*(space.create(body) for _ in range(count))))


async def test_runs_whose_server_hangs_hold_up_no_other_and_no_more_than_their_places(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with scene(cluster, tmp_path) as at:
        for run in at.good:
            assert verdict(await run.ended(ENDS_SECONDS)) == "True"
        assert HALF < at.children.most <= PLANNERS
        assert at.children.look() == HALF
        await assert_waiting_runs_can_be_stopped(at)
        at.operator.terminate()
        assert len(at.children.ever) >= GOOD + HALF
        assert at.children.left() == set()
        assert "Traceback" not in at.operator.log


async def assert_waiting_runs_can_be_stopped(at: Scene) -> None:
    """They say what they wait for, and an abort, a suspension and a deletion need no turn."""
    waiting: list[Run] = []

    async def all_told() -> bool:
        waiting[:] = [run for run in at.hanging if TURN in condition(await run.status()).get("message", "")]
        return len(waiting) == HANGING - HALF

    await until(all_told, TOLD_SECONDS)
    aborted, deleted, held = waiting[:3]
    assert condition(await held.status())["reason"] == "WaitingForCapacity"
    assert "WaitingForCapacity" in [event.reason for event in await held.events()]
    resting = f'maprun_run_resting{{name="{held.name}",namespace="{held.space.name}",reason="capacity"}}'
    assert at.operator.metrics()[resting] == 1
    await aborted.change(abort=True)
    await deleted.delete()
    await held.change(suspend=True)
    assert condition(await aborted.ended(STOP_SECONDS))["reason"] == "Aborted"
    await until(deleted.gone, STOP_SECONDS)
    await held.until(lambda status: condition(status)["reason"] == "Suspended", STOP_SECONDS)
    assert at.children.look() == HALF
