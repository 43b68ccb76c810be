"""docs/operations.md is one story that a real operator tells: each command of it works, one after the other."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from maprun.errors import Reason
from tests.adapters.job_runs import install
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess
from tools import crd

PAGE: Final = (crd.REPOSITORY / "docs" / "operations.md").read_text("utf-8")
TURNS: Final = (
    *(Reason.STARTED, Reason.CONCURRENCY_CHANGED, Reason.TOLERANCE_CHANGED, Reason.SUSPENDED, Reason.RESUMED),
    *(Reason.ABORTED, Reason.REDRIVEN, Reason.TIMEOUT_CHANGED, Reason.TIMED_OUT),
)


@pytest.fixture(scope="module")
def namespace(cluster_fake: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace of an operator."""
    name, folder = f"levers-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("operator")
    install(cluster_fake).kubectl("create", "namespace", name)
    state = f"file://{folder}/state"
    with OperatorProcess(folder, cluster_fake.kubeconfig, state, [f"--namespace={name}"]) as process:
        yield name
        assert "Traceback" not in process.log
    cluster_fake.kubectl("delete", "namespace", name, "--wait=false")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Each command of the page, and what it prints where the page shows it."""
    console = "".join(blocks("console"))
    return re.findall(r"^\$ kubectl (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE)


def manifest() -> str:
    """The page's run; on the fake nodes a pod does what its annotations say, in place of its command."""
    run = yaml.safe_load(blocks("yaml")[0])
    template = run["spec"]["itemProcessor"]["jobTemplate"]["spec"]["template"]
    template["metadata"] = {"annotations": {"maprun.dev/test-outcome": "hang"}}
    return json.dumps(run)


def test_the_story_of_the_page(
    cluster_fake: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nightly.yaml").write_text(manifest())
    monkeypatch.chdir(tmp_path)
    told: set[str] = set()
    for command, shown in commands():
        done = cluster_fake.kubectl(f"--namespace={namespace}", *shlex.split(command))
        if shown:
            assert done.stdout.strip() == shown.strip()
        query = "jsonpath={.items[*].reason}"
        told |= set(cluster_fake.kubectl(f"--namespace={namespace}", "get", "events", "-o", query).stdout.split())
    assert set(TURNS) <= told
    assert len(commands()) >= 15


def test_every_lever_is_on_the_page() -> None:
    (table,) = re.findall(r"^\| to \| set .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    levers = {field for row in table.strip().splitlines() for field in re.findall(r"`(\w+)", row.split("|")[2])}
    assert levers == set(crd.MUTABLE)


def test_the_page_quotes_what_the_api_server_says() -> None:
    said = " ".join(PAGE.split())
    for rule in crd.root()[crd.VALIDATIONS]:
        if rule["fieldPath"] == ".spec.suspend":
            assert rule["message"] in said
