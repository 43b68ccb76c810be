"""The child contract of design §3 as rows, and the runs whose children are these rows.

Rule 1: a row is what a child does (child.py) and what must come of it; the tests only look up the row's record.
"""

from __future__ import annotations

import json
from typing import Final

from tests.cluster import images
from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.real_runs import Json, Project

BUCKET: Final = "contract-results"
NASTY: Final = (
    "日本語 é 😀 \u2028 line\nline\ttab \"quoted\" 'single' back\\slash $(HOME) $$(HOME) $HOME ${HOME} `id` %s {{x}}"
)
LARGEST: Final = 256 * 1024
ERROR: Final = '{"errorType": "NoSuchAirport", "errorMessage": "there is no ICAO code \\"RJXX\\""}'


def mirrored(text: str, size: int = 0) -> Json:
    """An item that makes its child tell what it received; its compact JSON has `size` bytes if that is more."""
    item = {"mirror": True, "text": text}
    return item | {"text": text + "x" * (size - len(real_runs.compact(item).encode()))}


# What a child does, and what comes of it: its output as the record shows it, or error and a pattern of the cause.
OUTPUTS: Final[dict[str, tuple[Json, str]]] = {
    "nothing written is null": ({}, "null"),
    "JSON is itself": ({"write": '{"a": [1, 2.50, "日本"]}'}, '{"a": [1, 2.50, "日本"]}'),
    "text is a JSON string": ({"write": 'a "quoted" word\n'}, '"a \\"quoted\\" word"'),
}
FAILURES: Final[dict[str, tuple[Json, str, str]]] = {
    "an error that the child names": ({"write": ERROR, "exit": 1}, "NoSuchAirport", 'there is no ICAO code "RJXX"$'),
    "a plain failure shows the end of the log": (
        *({"print": "line\nthe disk is full", "exit": 7}, "States.TaskFailed"),
        r"(?s)Container main ended with exit code 7: .*the disk is full",
    ),
    "an output that does not fit": ({"write": "x" * 5000}, "States.DataLimitExceeded", "4096 bytes.*from: Logs"),
    "too much memory": ({"memory": 200}, "Job.OOMKilled", "needed more memory.*resources.limits.memory"),
}
INPUTS: Final[dict[str, Json]] = {
    "a small input, in the file and in the variable": mirrored(NASTY),
    "the largest input that fits into the variable": mirrored(NASTY, 32 * 1024),
    "one byte more, through a Secret": mirrored(NASTY, 32 * 1024 + 1),
    "the largest input that AWS allows": mirrored(NASTY, LARGEST),
}
LOGGED: Final[dict[str, tuple[Json, str]]] = {
    "the last line is JSON": ({"print": 'working\n{"a": 1}'}, '{"a": 1}'),
    "the last line is long": ({"print": "word ", "times": 50_000}, json.dumps(("word " * 50_000).strip())),
    "the last line is text": ({"print": "working\ndone: 5 %"}, '"done: 5 %"'),
}
VARIABLE: Final = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "nothing-here", "key": "level"}}}
# A child that cannot start: its template, and a pattern of the cause.
MISSING: Final[dict[str, tuple[Json, str]]] = {
    "image": (
        real_runs.template("localhost/nothing-here:1", ["true"]),
        "check the name of image localhost/nothing-here:1.*: ErrImagePull: ",
    ),
    "variable": (
        real_runs.template(images.BUSYBOX, ["true"], env=[VARIABLE]),
        'configmap "nothing-here" not found',
    ),
}


def start(project: Project) -> None:
    """All runs of this file, side by side."""
    start_missing(project)
    start_rows(project)
    start_slow(project)


def start_missing(project: Project) -> None:
    """Runs whose only child cannot start: `missing-…`."""
    for what, (child, _) in MISSING.items():
        project.run(f"missing-{what}", input=[1], itemProcessor={"jobTemplate": child})
    project.run("missing-volume", input=[1], itemProcessor={"jobTemplate": without_volume()})


def without_volume() -> Json:
    """A child with a volume of a ConfigMap that does not exist: its pod waits until it does."""
    volume = {"name": "settings", "configMap": {"name": "nothing-here"}}
    mount = {"name": "settings", "mountPath": "/settings"}
    return real_runs.template(images.BUSYBOX, ["true"], volumes=[volume], volumeMounts=[mount])


def start_rows(project: Project) -> None:
    """The runs `files` and `logs`, with a child for each row above, in their order, inputs first."""
    program = (REPOSITORY / "tests/e2e/child.py").read_text()
    project.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child"}, "data": {"child.py": program}}
    )
    child = real_runs.template(
        "python:3.13-slim",
        ["python3", "/app/child.py"],
        volumes=[{"name": "app", "configMap": {"name": "child"}}],
        volumeMounts=[{"name": "app", "mountPath": "/app"}],
        resources={"limits": {"memory": "64Mi"}},
    )
    items = [*INPUTS.values(), *(item for item, *_ in (*OUTPUTS.values(), *FAILURES.values()))]
    common = {"toleratedFailurePercentage": 100, "maxConcurrency": 8, "s3": real_runs.s3_spec(project.cluster)}
    common["resultWriter"] = {"resource": "s3:putObject", "parameters": {"bucket": BUCKET}}
    project.run("files", input=items, itemProcessor={"jobTemplate": child}, **common)
    logs = {"jobTemplate": child, "output": {"from": "Logs"}}
    project.run("logs", input=[item for item, _ in LOGGED.values()], itemProcessor=logs, **common)


def start_slow(project: Project) -> None:
    """The run `slow`, whose child takes longer than it may."""
    child = real_runs.template(images.BUSYBOX, ["sleep", "60"])
    project.run("slow", input=[1], itemProcessor={"jobTemplate": child, "timeoutSeconds": 2})
