"""The child contract of design §3 with real containers: the input byte for byte, and every way to end."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from maprun.errors import StatesError
from maprun.model_processing import OutputFrom
from maprun.records import ChildStatus, Outcome
from tests.adapters.job_runs import install, running, spec_of, until
from tests.cluster import images
from tests.cluster.cluster import Cluster

TRICKY = json.dumps(
    {"home": "$(HOME) $$ $(MAPRUN_NAME) $", "quotes": "\"'`\\", "words": "空港 é \u2028", "lines": "a\nb\tc"},
    ensure_ascii=False,
).encode()
LARGE = b'"' + b"x" * 200_000 + b'"'


@pytest.fixture(scope="module")
def cluster(cluster_real: Cluster) -> Cluster:
    return install(cluster_real)


def shell(script: str, **container: Any) -> dict[str, Any]:
    return {"image": images.BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **container}


async def ended(cluster: Cluster, container: dict[str, Any], text: bytes = b"{}", **spec: Any) -> Outcome:
    """The outcome of one child that runs this container."""
    async with running(cluster, spec_of(container, **spec), patience=3.0) as run:
        attempt = run.launch(text=text)
        outcome = await run.outcome()
        run.launcher.reap(attempt)
        await run.sees(lambda seen: not seen.finished)
        return outcome


@pytest.mark.parametrize(
    "text", [b'{"a": 1}\n', TRICKY, LARGE], ids=["plain", "with all that a layer might expand", "200 KB"]
)
async def test_the_input_file_is_the_input_byte_for_byte(cluster: Cluster, text: bytes) -> None:
    script = 'sum=$(sha256sum < "$MAPRUN_INPUT"); printf "%s" "${sum%% *}" > "$MAPRUN_OUTPUT"'
    outcome = await ended(cluster, shell(script), text)
    assert outcome.status is ChildStatus.SUCCEEDED
    assert json.loads(bytes(outcome.output)) == sha256(text)


@pytest.mark.parametrize("text", [b'{"a": 1}', TRICKY], ids=["plain", "with all that a layer might expand"])
async def test_the_input_variable_is_the_input_byte_for_byte(cluster: Cluster, text: bytes) -> None:
    script = 'sum=$(printf "%s" "$MAPRUN_INPUT_JSON" | sha256sum); printf "%s" "${sum%% *}" > "$MAPRUN_OUTPUT"'
    assert json.loads(bytes((await ended(cluster, shell(script), text)).output)) == sha256(text)


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


OUTPUTS = [
    pytest.param("true", None, id="nothing is null"),
    pytest.param("echo said; true", None, id="what is only printed is not the output"),
    pytest.param('cat "$MAPRUN_INPUT" > "$MAPRUN_OUTPUT"', {"a": [1, "é"]}, id="JSON is itself"),
    pytest.param('echo hello > "$MAPRUN_OUTPUT"', "hello", id="text is a string"),
    pytest.param(
        'printf \'["%s","%s","%s"]\' $MAPRUN_CHILD_INDEX $MAPRUN_ATTEMPT $MAPRUN_ITEM_COUNT > $MAPRUN_OUTPUT',
        ["0", "1", "1"],
        id="the child knows who it is",
    ),
]


@pytest.mark.parametrize(("script", "output"), OUTPUTS)
async def test_the_output(cluster: Cluster, script: str, output: Any) -> None:
    outcome = await ended(cluster, shell(script), '{"a":[1,"é"]}'.encode())
    assert outcome.status is ChildStatus.SUCCEEDED
    assert json.loads(bytes(outcome.output)) == output
    assert outcome.started is not None
    assert outcome.stopped is not None


LINES = [
    pytest.param("echo working; echo '{\"b\": 2}'", {"b": 2}, id="the last line"),
    pytest.param("printf '\"%0200000d\"' 0", "0" * 200_000, id="a line of 200 KB, which the runtime splits"),
    pytest.param("true", None, id="no line"),
]


@pytest.mark.parametrize(("script", "output"), LINES)
async def test_the_output_from_the_log(cluster: Cluster, script: str, output: Any) -> None:
    outcome = await ended(cluster, shell(script), output=OutputFrom.LOGS)
    assert outcome.status is ChildStatus.SUCCEEDED
    assert json.loads(bytes(outcome.output)) == output


SMALL = {"resources": {"limits": {"memory": "20Mi"}}}
FAILED, TIMED_OUT = ChildStatus.FAILED, ChildStatus.TIMED_OUT
MISSING = {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "a"}}}]}
FAILURES = [
    pytest.param(
        shell("echo no runway; exit 3"), FAILED, StatesError.TASK_FAILED, "exit code 3: no runway", id="an exit code"
    ),
    pytest.param(
        shell('echo \'{"errorType":"NoIATA","errorMessage":"no code"}\' > $MAPRUN_OUTPUT; exit 1'),
        *(FAILED, "NoIATA", "no code"),
        id="an error that the child names",
    ),
    pytest.param(
        shell('printf "%05000d" 0 > $MAPRUN_OUTPUT'),
        FAILED,
        StatesError.DATA_LIMIT_EXCEEDED,
        "{from: Logs}",
        id="an output that is too big",
    ),
    pytest.param(
        shell("exec tail /dev/zero", **SMALL),
        FAILED,
        StatesError.JOB_OOM_KILLED,
        "memory",
        id="out of memory",
    ),
    pytest.param(
        shell("", command=["/nowhere"]),
        FAILED,
        StatesError.JOB_START_FAILED,
        "/nowhere",
        id="a program that is not there",
    ),
    pytest.param(
        {"image": "localhost/nowhere:1"},
        FAILED,
        StatesError.JOB_START_FAILED,
        "localhost/nowhere:1",
        id="an image that is not there",
    ),
    pytest.param(
        {"image": "NO/image"},
        FAILED,
        StatesError.JOB_START_FAILED,
        "NO/image",
        id="a name that no image can have",
    ),
    pytest.param(
        shell("true", **MISSING), FAILED, StatesError.JOB_START_FAILED, "nowhere", id="a ConfigMap that is not there"
    ),
]


@pytest.mark.parametrize(("container", "status", "error", "cause"), FAILURES)
async def test_a_child_that_fails(
    cluster: Cluster, container: dict[str, Any], status: ChildStatus, error: str, cause: str
) -> None:
    outcome = await ended(cluster, container)
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.error) == (status, error)
    assert cause in outcome.failure.cause


async def test_a_child_that_takes_too_long(cluster: Cluster) -> None:
    outcome = await ended(cluster, shell("sleep 600"), timeout=2)
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.error, outcome.failure.cause) == (TIMED_OUT, StatesError.TIMEOUT, "")
    assert outcome.started is not None


async def test_a_cancelled_child_is_stopped(cluster: Cluster) -> None:
    async with running(cluster, spec_of(shell("sleep 600"))) as run:
        attempt = run.launch()
        await until(run.pods, bool)
        run.launcher.cancel(attempt)
        await run.sees(lambda seen: not seen.active)
        assert await run.jobs() == []
