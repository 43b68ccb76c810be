"""The local launcher against real processes: the child contract, and that no process outlives its run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maprun.adapters.local import LocalLauncher
from maprun.adapters.local_program import expand, program
from maprun.core.scheduling import Observation
from maprun.errors import Failure, Fenced, RunFailed
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, Batch, ChildStatus, Outcome

RUN = RunRef("default", "airports", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 1_790_000_000.0)
FIRST = Attempt(0, 1)
WAIT = 20.0  # seconds; a bound, not an expectation


def container(*command: str, **more: Any) -> dict[str, Any]:
    return {"name": "work", "image": "not-used", "command": list(command), **more}


def template(first: dict[str, Any], **pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [first], **pod}}}}


def spec(job_template: dict[str, Any], **processor: Any) -> MapRunSpec:
    return msgspec.convert({"itemProcessor": {"jobTemplate": job_template, **processor}}, MapRunSpec)


def shell(script: str, **processor: Any) -> MapRunSpec:
    return spec(template(container("sh", "-c", script)), **processor)


def batch(value: Any = None, items: int = 1) -> Batch:
    return Batch(0, items, msgspec.Raw(msgspec.json.encode(value)))


@asynccontextmanager
async def opened(
    what: MapRunSpec, workdir: Path, folder: Path | None = None, **env: str
) -> AsyncIterator[LocalLauncher]:
    launcher = LocalLauncher(RUN, what, folder or workdir, workdir, time.time, {**os.environ, **env})
    await launcher.open()
    try:
        yield launcher
    finally:
        await launcher.close()


async def until(launcher: LocalLauncher, met: Callable[[Observation], object]) -> Observation:
    async with asyncio.timeout(WAIT):
        while not met(launcher.observe()):
            await launcher.changed()
    return launcher.observe()


async def outcome_of(
    what: MapRunSpec, workdir: Path, given: Batch | None = None, folder: Path | None = None, **env: str
) -> Outcome:
    async with opened(what, workdir, folder, **env) as launcher:
        launcher.launch(FIRST, given or batch())
        seen = await until(launcher, lambda seen: seen.finished)
    assert seen.active == {}
    return seen.finished[0]


def error_of(outcome: Outcome) -> str:
    return outcome.failure.error if outcome.failure else ""


async def exists(path: Path) -> None:
    async with asyncio.timeout(WAIT):
        while not (path.exists() and path.read_text().endswith("\n")):
            await asyncio.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


async def ends(process: int) -> None:
    async with asyncio.timeout(WAIT):
        while is_running(process):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "output"),
    [
        pytest.param(":", None, id="nothing written is null"),
        pytest.param("""echo '{"a": [1, 2]}' > $MAPRUN_OUTPUT""", {"a": [1, 2]}, id="JSON is itself"),
        pytest.param("printf 12.50 > $MAPRUN_OUTPUT", 12.5, id="a number is JSON too"),
        pytest.param("echo all is well > $MAPRUN_OUTPUT", "all is well", id="other text is a string"),
        pytest.param("printf '東京 🗻' > $MAPRUN_OUTPUT", "東京 🗻", id="text of any language stays as it is"),
        pytest.param("echo noise; echo more >&2", None, id="what is printed is not the output"),
        pytest.param('cp "$MAPRUN_INPUT" $MAPRUN_OUTPUT', {"北": "é"}, id="the input lies in a file"),
        pytest.param(
            'printf %s "$MAPRUN_INPUT_JSON" > $MAPRUN_OUTPUT', {"北": "é"}, id="a small input is a variable too"
        ),
        pytest.param("cat > $MAPRUN_OUTPUT", None, id="standard input is empty"),
        pytest.param(
            """echo "\\"$MAPRUN_NAME $MAPRUN_CHILD_INDEX $MAPRUN_ATTEMPT $MAPRUN_ITEM_COUNT\\"" > $MAPRUN_OUTPUT""",
            "airports 0 1 1",
            id="a child knows its run, its number, its attempt and its number of items",
        ),
    ],
)
async def test_exit_code_0_is_success(script: str, output: Any, tmp_path: Path) -> None:
    outcome = await outcome_of(shell(script), tmp_path, batch({"北": "é"}))
    assert (outcome.status, outcome.failure) == (ChildStatus.SUCCEEDED, None)
    assert json.loads(bytes(outcome.output)) == output
    assert 0 < (outcome.started or 0) <= (outcome.stopped or 0)


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        pytest.param(
            """echo '{"errorType": "NoSuchAirport", "errorMessage": "RJXX"}' > $MAPRUN_OUTPUT; exit 1""",
            Failure("NoSuchAirport", "RJXX"),
            id="an error object becomes error and cause",
        ),
        pytest.param(
            "echo lost the map > $MAPRUN_OUTPUT; exit 3",
            Failure("States.TaskFailed", "Container work ended with exit code 3: lost the map"),
            id="other text becomes the cause",
        ),
        pytest.param(
            "echo start; echo no such file >&2; exit 2",
            Failure("States.TaskFailed", "Container work ended with exit code 2: start\nno such file"),
            id="without a message, the log is the cause",
        ),
        pytest.param(
            "exit 7", Failure("States.TaskFailed", "Container work ended with exit code 7."), id="silent failure"
        ),
        pytest.param(
            "kill -KILL $$$$",
            Failure("States.TaskFailed", "Container work ended with exit code 137."),
            id="ended by a signal",
        ),
    ],
)
async def test_any_other_exit_code_is_a_failure(script: str, failure: Failure, tmp_path: Path) -> None:
    outcome = await outcome_of(shell(script), tmp_path)
    assert (outcome.status, outcome.failure, bytes(outcome.output)) == (ChildStatus.FAILED, failure, b"")


async def test_an_output_above_the_limit_fails_the_child(tmp_path: Path) -> None:
    outcome = await outcome_of(shell("head -c 4097 /dev/zero | tr '\\0' x > $MAPRUN_OUTPUT"), tmp_path)
    assert error_of(outcome) == "States.DataLimitExceeded"


@pytest.mark.parametrize(
    ("script", "output"),
    [
        pytest.param(
            "echo one; echo '{\"two\": 2}'; echo warning >&2", {"two": 2}, id="the last line of standard output"
        ),
        pytest.param("echo one > $MAPRUN_OUTPUT", None, id="and not the output file"),
        pytest.param("head -c 200000 /dev/zero | tr '\\0' x", "x" * 200_000, id="to 256 KiB"),
    ],
)
async def test_output_from_logs(script: str, output: Any, tmp_path: Path) -> None:
    outcome = await outcome_of(shell(script, output={"from": "Logs"}), tmp_path)
    assert (error_of(outcome), json.loads(bytes(outcome.output))) == ("", output)


async def test_a_last_line_above_the_limit_fails_the_child(tmp_path: Path) -> None:
    outcome = await outcome_of(shell("head -c 262145 /dev/zero | tr '\\0' x", output={"from": "Logs"}), tmp_path)
    assert error_of(outcome) == "States.DataLimitExceeded"


async def test_a_large_input_comes_as_a_file_only(tmp_path: Path) -> None:
    script = 'wc -c < "$MAPRUN_INPUT" > $MAPRUN_OUTPUT; test -z "${MAPRUN_INPUT_JSON+set}"'
    outcome = await outcome_of(shell(script), tmp_path, batch("x" * 200_000))
    assert (error_of(outcome), json.loads(bytes(outcome.output))) == ("", 200_002)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(shell("sleep 60 & wait", timeoutSeconds=1), id="timeoutSeconds"),
        pytest.param(spec(template(container("sleep", "60"), activeDeadlineSeconds=1)), id="the pod's own deadline"),
        pytest.param(shell("trap '' TERM; sleep 60 & wait; wait", timeoutSeconds=1), id="even when it will not listen"),
    ],
)
async def test_a_deadline_ends_the_attempt(what: MapRunSpec, tmp_path: Path) -> None:
    outcome = await outcome_of(what, tmp_path)
    assert (outcome.status, outcome.failure) == (ChildStatus.TIMED_OUT, Failure("States.Timeout"))


async def test_what_a_child_leaves_running_ends_with_it(tmp_path: Path) -> None:
    await outcome_of(shell(f"sleep 60 & echo $! > {tmp_path}/id"), tmp_path)
    await ends(int((tmp_path / "id").read_text()))


async def test_a_cancelled_attempt_vanishes_without_an_outcome(tmp_path: Path) -> None:
    async with opened(shell(f"echo $$$$ > {tmp_path}/id; sleep 60"), tmp_path) as launcher:
        launcher.launch(FIRST, batch())
        await exists(tmp_path / "id")
        launcher.cancel(FIRST)
        launcher.cancel(FIRST)
        assert await until(launcher, lambda seen: not seen.active) == Observation({})
    await ends(int((tmp_path / "id").read_text()))


async def test_an_ended_attempt_is_seen_until_it_is_reaped(tmp_path: Path) -> None:
    async with opened(shell(":"), tmp_path) as launcher:
        launcher.launch(FIRST, batch())
        assert launcher.observe().active == {0: 1}
        await until(launcher, lambda seen: seen.finished)
        launcher.launch(FIRST, batch())
        assert launcher.observe().active == {}
        launcher.reap(FIRST)
        await until(launcher, lambda seen: not seen.finished)


async def test_closing_ends_the_children(tmp_path: Path) -> None:
    async with opened(shell(f"echo $$$$ > {tmp_path}/id; sleep 60"), tmp_path) as launcher:
        launcher.launch(FIRST, batch())
        await exists(tmp_path / "id")
    assert not is_running(int((tmp_path / "id").read_text()))
    assert not any((tmp_path / "attempts").iterdir())


PARENT = """
import asyncio, pathlib, sys, time
sys.path[:0] = {path!r}
import msgspec
from maprun.adapters.local import LocalLauncher
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, Batch

async def main():
    spec, workdir = msgspec.json.decode({spec!r}, type=MapRunSpec), pathlib.Path({workdir!r})
    launcher = LocalLauncher(RunRef("n", "r", "u", 0.0), spec, workdir, workdir, time.time, {{}})
    await launcher.open()
    launcher.launch(Attempt(0, 1), Batch(0, 1, msgspec.Raw(b"null")))
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_children_die_with_a_killed_parent_and_the_next_one_can_start(tmp_path: Path) -> None:
    what = shell(f"trap '' TERM HUP; echo $$$$ > {tmp_path}/id; sleep 60")
    encoded = msgspec.json.encode({"itemProcessor": {"jobTemplate": what.item_processor.job_template}})
    source = PARENT.format(path=sys.path, spec=encoded, workdir=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", source]) as parent:
        await exists(tmp_path / "id")
        with pytest.raises(Fenced, match="another maprun works in"):
            await LocalLauncher(RUN, what, tmp_path, tmp_path, time.time, {}).open()
        parent.send_signal(signal.SIGKILL)
        await outcome_of(shell(":"), tmp_path)
    assert not is_running(int((tmp_path / "id").read_text()))


async def test_many_children_at_once(tmp_path: Path) -> None:
    async with opened(shell("echo $MAPRUN_CHILD_INDEX > $MAPRUN_OUTPUT"), tmp_path) as launcher:
        for child in range(40):
            launcher.launch(Attempt(child, 1), batch())
        seen = await until(launcher, lambda seen: len(seen.finished) == 40)
    assert {outcome.child: int(bytes(outcome.output)) for outcome in seen.finished} == {n: n for n in range(40)}


# What a template means here.

APP = {"volumeMounts": [{"name": "app", "mountPath": "/app"}, {"name": "data", "mountPath": "/data"}]}
VOLUMES = [{"name": "app", "configMap": {"name": "code"}}, {"name": "data", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("first", "pod", "arguments"),
    [
        pytest.param(container("sh", "-c", "x"), {}, ["-c", "x"], id="command"),
        pytest.param(container("sh", args=["-c", "x"]), {}, ["-c", "x"], id="command and args"),
        pytest.param(
            container("sh", "/app/run.sh", "/app/sub/data.csv", "/apps", "/data/x", "see /app/run.sh", **APP),
            {"volumes": VOLUMES},
            ["<>/run.sh", "<>/sub/data.csv", "/apps", "/data/x", "see /app/run.sh"],
            id="whole paths below a ConfigMap's mount are files beside the run's file; nothing else changes",
        ),
        pytest.param(
            container(
                "sh", "/app/main.sh", volumeMounts=[{"name": "app", "mountPath": "/app/main.sh", "subPath": "run.sh"}]
            ),
            {"volumes": VOLUMES},
            ["<>/run.sh"],
            id="a single file mounted",
        ),
        pytest.param(
            container("sh", "/app/main.sh", **APP),
            {"volumes": [{"name": "app", "configMap": {"name": "c", "items": [{"key": "run.sh", "path": "main.sh"}]}}]},
            ["<>/run.sh"],
            id="a file renamed by the volume",
        ),
        pytest.param(
            container(
                "sh", "$(MAPRUN_INPUT)", "$(WHO)", "$$(WHO)", "$(NOBODY)", env=[{"name": "WHO", "value": "$(HOME)/me"}]
            ),
            {"volumes": None},
            ["/in.json", "/home/me", "$(WHO)", "$(NOBODY)"],
            id="variables are replaced as Kubernetes does it",
        ),
    ],
)
def test_the_program_of_a_template(
    first: dict[str, Any], pod: dict[str, Any], arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("run.sh", "sub/data.csv"):
        (tmp_path / name).touch()
    made = program(template(first, **pod), tmp_path, {"PATH": os.environ["PATH"], "HOME": "/home"})
    env = made.env({"MAPRUN_INPUT": "/in.json"})
    assert Path(made.arguments[0]).is_absolute()
    assert made.command(env)[1:] == [argument.replace("<>", str(tmp_path)) for argument in arguments]
    assert made.folder == str(tmp_path)


def test_variables_of_the_template_win_over_the_own_ones(tmp_path: Path) -> None:
    variables = [
        {"name": "A", "value": "theirs"},
        {"name": "B"},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    made = program(
        template(container("sh", env=variables)), tmp_path, {**os.environ, "A": "mine", "S": "secret", "T": "mine"}
    )
    env = made.env({})
    assert (env["A"], env["B"], env["S"], env["T"]) == ("theirs", "", "secret", "mine")


@pytest.mark.parametrize(
    ("job_template", "message"),
    [
        pytest.param(template({"name": "work"}), ".containers[0].command: name the program to run", id="no command"),
        pytest.param(
            template(container("no-such-program")), "'no-such-program' is not on your PATH", id="unknown command"
        ),
        pytest.param(template(container("/bin/no-such-program")), "is not a program on this machine", id="wrong path"),
        pytest.param(
            template(container("sh", "/app/gone.py", **APP), volumes=VOLUMES),
            "/app/gone.py is ",
            id="a file that is missing",
        ),
        pytest.param(
            template(container("sh", workingDir="/no/such/folder")), ".workingDir: ", id="a folder that is missing"
        ),
        pytest.param(
            template(container("sh", env=[{"name": "NO_SUCH_VARIABLE", "valueFrom": {}}])),
            ".env[0].valueFrom: it comes from the cluster; here, set NO_SUCH_VARIABLE",
            id="a variable that only the cluster knows",
        ),
        pytest.param(
            {"spec": {"template": {"spec": {"containers": []}}}}, ".containers: one is needed", id="no container"
        ),
        pytest.param(
            template(container("sh", args="x")),
            "jobTemplate.spec.template.spec.containers[0].args: ",
            id="a wrong type",
        ),
    ],
)
async def test_a_template_that_cannot_start_here_is_refused(
    job_template: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RunFailed) as refused:
        program(job_template, tmp_path, os.environ)
    assert refused.value.failure.error == "Job.Refused"
    assert message in refused.value.failure.cause
    async with opened(spec(job_template), tmp_path) as launcher:
        assert launcher.observe().refused == refused.value.failure


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        pytest.param("plain", "plain", id="no dollar"),
        pytest.param("$A $(A) $$(A) $(B) $", "$A 1 $(A) $(B) $", id="only $(NAME) of a known name"),
        pytest.param("$$$(A)", "$1", id="a dollar in front of a reference"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded
