"""What wakes a run that is supervised: an edit, whatever it waits for; and what brings it back after its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from maprun import supervising
from maprun.adapters import stores
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import DirectoryBuckets
from tests.unit.fake_api import terminated, until
from tests.unit.test_supervised_series import TEMPLATE, Operator, _operator

MISSING = {"s3": {"credentialsSecretRef": {"name": "nowhere"}}, "itemReader": {
    "resource": "s3:listObjectsV2", "parameters": {"bucket": "data"},
}}  # fmt: skip
KEYS = {"AWS_ACCESS_KEY_ID": "a2V5", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"}


@pytest.fixture
async def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    """One in which nothing is looked at again by itself before the test is over."""
    monkeypatch.setattr(supervising, "RESTART_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(supervising, "SECRET_SECONDS", 3600.0)
    async with _operator(tmp_path) as made:
        yield made


class Served:
    """A run that is served until `stop`."""

    def __init__(self, operator: Operator, spec: dict[str, Any] | None = None, **status: Any) -> None:
        self.operator, self.stop = operator, asyncio.Event()
        operator.supervise(TEMPLATE, **status)
        operator.supervising.cancel()
        self.supervisor = operator.supervisor
        self.body: Any = self.supervisor._body
        self.body["spec"] |= spec or {}
        operator.supervising = asyncio.create_task(self.supervisor.serve_until(self.stop.wait()))

    def edit(self, **spec: Any) -> None:
        """The resource as a watch brings it."""
        self.body["spec"] |= spec
        self.body["metadata"]["generation"] += 1
        self.supervisor.changed()

    def status(self, condition: str, **fields: Any) -> None:
        """The status as a watch brings it back."""
        self.body["status"] = {"conditions": [{"type": "Succeeded", "status": condition}], **fields}
        self.supervisor.changed()

    async def job(self, name: str, code: int) -> None:
        """Wait for the Job, and let it end."""
        await until(lambda: name in self.operator.api.jobs(), 20)
        await self.operator.api.pod(name, "Failed" if code else "Succeeded", terminated(code))
        if code:
            await self.operator.api.job_ends(name, "Failed", "BackoffLimitExceeded")

    async def idle(self) -> None:
        async with asyncio.timeout(20):
            await self.supervisor.idle.wait()


def waits(operator: Operator, reason: str) -> bool:
    return ("default", reason) in operator.waiting


async def test_a_run_that_waits_for_a_secret_is_aborted_at_once(operator: Operator) -> None:
    served = Served(operator, MISSING)
    await until(lambda: waits(operator, "SecretNotFound"), 20)
    served.edit(maxConcurrency=3)
    await asyncio.sleep(0)
    assert not served.supervisor.idle.is_set()
    served.edit(abort=True)
    await served.idle()
    assert operator.waiting == {}
    assert not operator.home.joinpath("journal").exists()


async def test_a_run_that_is_aborted_before_anyone_looks_at_it_never_starts(operator: Operator) -> None:
    served = Served(operator, {"abort": True})
    await served.idle()
    assert operator.api.jobs() == []
    assert not operator.home.exists()


async def bereft(operator: Operator) -> Served:
    """A run that an operator finds under way, with one live child, while its Secret is missing."""
    await operator.api.put("secrets", {"metadata": {"name": "theirs"}, "data": KEYS})
    writer = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "out"}}
    spec = {"s3": {"credentialsSecretRef": {"name": "theirs"}}, "resultWriter": writer}
    first = Served(operator, spec)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    first.stop.set()
    await operator.ends()
    await operator.api.remove("secrets", "theirs")
    return Served(operator, spec, startTime="2026-09-23T22:58:46Z")


class TheirBuckets(DirectoryBuckets):
    """Buckets in a folder, for whoever comes with the Secret's credentials."""

    def __init__(self, root: Path, access: S3Access) -> None:
        assert (access.access_key_id, access.secret_access_key) == ("key", "secret")
        super().__init__(root)


async def test_a_run_under_way_goes_on_without_its_secret_and_writes_its_results_with_it(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervising, "SECRET_SECONDS", 0.05)
    monkeypatch.setattr(stores, "S3Buckets", lambda access, *_: TheirBuckets(tmp_path, access))
    (tmp_path / "results").mkdir()
    served = await bereft(operator)
    await served.job("run-0-1", 0)
    await served.job("run-1-1", 0)
    looks = operator.api.calls.count("GET secrets/theirs")
    await until(lambda: operator.api.calls.count("GET secrets/theirs") > looks + 1, 20)
    assert not list((tmp_path / "results").iterdir())
    await operator.api.put("secrets", {"metadata": {"name": "theirs"}, "data": KEYS})
    await served.idle()
    assert list((tmp_path / "results").rglob("manifest.json"))
    assert operator.value("run_restarts_total") == 0


async def test_an_abort_stops_the_children_of_a_run_whose_secret_is_missing(operator: Operator) -> None:
    served = await bereft(operator)
    served.edit(abort=True)
    await until(lambda: operator.api.jobs() == [], 20)
    assert not served.supervisor.idle.is_set(), "its results are still to be written"


async def test_a_run_whose_resource_is_gone_is_served_no_more(operator: Operator) -> None:
    served = Served(operator)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    operator.api.gone = True
    await operator.api.remove("jobs", "run-0-1")  # as the garbage collector does
    async with asyncio.timeout(20):
        assert await operator.supervising
    assert not served.supervisor.idle.is_set()


async def test_a_run_that_is_stopped_is_not_taken_for_one_that_is_gone(operator: Operator) -> None:
    served = Served(operator)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    served.stop.set()
    assert not await operator.supervising


async def test_an_edit_that_asks_for_a_redrive_drives_an_ended_run_again(operator: Operator) -> None:
    served = Served(operator)
    await served.job("run-0-1", 1)
    await served.idle()
    served.status("False", startTime="2026-09-23T22:58:46Z", observedGeneration=1, redriveCount=0)
    served.edit(ttlSecondsAfterFinished=60)
    await asyncio.sleep(0)
    assert served.supervisor.idle.is_set(), "an edit that needs nothing costs nothing"
    served.edit(redrives=1)
    await served.job("run-0-2", 0)
    await served.job("run-1-1", 0)
    await served.idle()
    assert operator.value("map_runs_finished_total", "default", "succeeded") == 1


async def test_redrives_that_were_asked_for_from_the_start_follow_by_themselves(operator: Operator) -> None:
    served = Served(operator, {"redrives": 2, "toleratedFailureCount": 2})
    for number in (1, 2, 3):
        await served.job(f"run-0-{number}", 1)
        await served.job(f"run-1-{number}", 1)
    await served.idle()
    assert operator.value("run_restarts_total") == 0


async def test_a_run_that_another_operator_took_over_is_left_alone_whatever_is_edited(operator: Operator) -> None:
    served = Served(operator)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    other = Journal(DirectoryStore(operator.home))
    _ = [records async for records in other.open("other", 1.0)]
    await operator.api.succeed("run-0-1")
    await served.idle()
    served.status("False", startTime="2026-09-23T22:58:46Z", observedGeneration=1)
    served.edit(redrives=1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert served.supervisor.idle.is_set()
    await other.close()


async def test_a_run_that_is_stopped_leaves_its_children(operator: Operator) -> None:
    served = Served(operator)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    served.stop.set()
    await operator.ends()
    assert operator.api.jobs() == ["run-0-1"]


async def test_what_an_ended_run_has_still_to_tell_is_told_before_it_is_stopped(operator: Operator) -> None:
    served = Served(operator)
    await served.job("run-0-1", 0)
    await until(lambda: "run-1-1" in operator.api.jobs(), 20)
    served.status("True")  # the resource says so already
    served.stop.set()
    await served.job("run-1-1", 0)
    await operator.ends()
    assert served.supervisor.idle.is_set()


async def test_an_edit_that_is_not_valid_does_not_end_a_run_that_is_found_under_way(operator: Operator) -> None:
    first = Served(operator, {"queryLanguage": "JSONata"})
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    first.stop.set()
    await operator.ends()
    broken = {"queryLanguage": "JSONata", "toleratedFailurePercentage": "{% ( %}"}
    served = Served(operator, broken, startTime="2026-09-23T22:58:46Z")
    await until(lambda: waits(operator, "InvalidSpec"), 20)
    assert not served.supervisor.idle.is_set()
    served.edit(toleratedFailurePercentage=10)
    await served.job("run-0-1", 0)
    await served.job("run-1-1", 0)
    await served.idle()
    assert operator.value("map_runs_finished_total", "default", "succeeded") == 1


async def test_a_redrive_that_is_asked_for_with_a_mistake_begins_when_that_is_mended(operator: Operator) -> None:
    served = Served(operator, {"queryLanguage": "JSONata"})
    await served.job("run-0-1", 1)
    await served.idle()
    served.status("False", startTime="2026-09-23T22:58:46Z", observedGeneration=1, redriveCount=0)
    served.edit(redrives=1, toleratedFailurePercentage="{% ( %}")
    await until(lambda: waits(operator, "InvalidSpec"), 20)
    served.status("Unknown", startTime="2026-09-23T22:58:46Z", observedGeneration=2, redriveCount=0)
    served.edit(toleratedFailurePercentage=10)
    await served.job("run-0-2", 0)
    await served.job("run-1-1", 0)
    await served.idle()
    assert operator.value("map_runs_finished_total", "default", "succeeded") == 1


async def untold(operator: Operator) -> None:
    """An operator dies with a child under way, before any status told of it."""
    first = Served(operator)
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    first.stop.set()
    await operator.ends()


async def test_an_abort_reaches_the_children_of_a_run_whose_start_was_never_told(operator: Operator) -> None:
    await untold(operator)
    served = Served(operator, {"abort": True})
    await served.idle()
    assert operator.api.jobs() == []


async def test_a_run_whose_start_was_never_told_has_begun_in_each_life_of_its_engine(operator: Operator) -> None:
    await untold(operator)
    missing = (operator.home / "spec.json").rename(operator.home / "elsewhere")
    served = Served(operator, {"abort": True})
    await until(lambda: waits(operator, "StoreUnavailable"), 20)
    missing.rename(operator.home / "spec.json")
    await served.idle()
    assert operator.api.jobs() == []


async def test_a_template_that_is_refused_by_now_does_not_end_a_run_whose_start_was_never_told(
    operator: Operator,
) -> None:
    await untold(operator)
    operator.api.refusing = True
    served = Served(operator)
    await served.job("run-0-1", 0)
    await served.job("run-1-1", 0)
    await served.idle()
