"""The Job launcher against a small API server: what it starts, what it sees, and what it makes of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from maprun.adapters import jobs, jobs_reading, jobs_starting, jobs_writing
from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs import JobsLauncher
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.pacing import WriteBudget
from maprun.core import starting
from maprun.core.scheduling import Observation
from maprun.errors import StatesError
from maprun.model import MapRunSpec, RunRef
from maprun.model_processing import ItemProcessor, Output, OutputFrom
from maprun.records import Attempt, Batch, ChildStatus, Outcome
from tests.unit.fake_api import NOW, FakeApi, Refusal, serving, terminated, until

RUN = RunRef("default", "run", "run-uid", 0.0)
FIRST = Attempt(0, 1)
QUEUE = "kueue.x-k8s.io/queue-name"
LARGE = msgspec.json.encode("x" * 40_000)
TEMPLATE: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are right for a cluster are too long for a test."""
    monkeypatch.setattr(jobs, "SETTLE", 0.05)
    monkeypatch.setattr(jobs_reading, "PAUSES", (0.01, 0.01))
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "NAME_TAKEN_PAUSE"):
        monkeypatch.setattr(jobs_writing, name, 0.05)


def spec(output: OutputFrom = OutputFrom.TERMINATION_MESSAGE) -> MapRunSpec:
    return MapRunSpec(item_processor=ItemProcessor(job_template=TEMPLATE, output=Output(output)))


def batch(child: int = 0, text: bytes = b'{"a":1}') -> Batch:
    return Batch(child, 1, msgspec.Raw(text))


@dataclass
class World:
    """An API server, one operator's watch on it, and the launcher of one run."""

    api: FakeApi
    client: ClusterClient
    watch: JobsWatch
    launcher: JobsLauncher

    def launch(self, attempt: Attempt = FIRST, text: bytes = b'{"a":1}') -> None:
        self.launcher.launch(attempt, batch(attempt.child, text))

    async def launched(self, attempt: Attempt = FIRST, text: bytes = b'{"a":1}') -> str:
        """Launch, and wait for the Job; its name."""
        self.launch(attempt, text)
        name = f"run-{attempt.child}-{attempt.number}"
        await until(lambda: name in self.api.jobs() and not self.launcher._writer.creating(attempt))
        return name

    async def sees(self, condition: Callable[[Observation], object]) -> Observation:
        """Wait until an observation fulfils the condition, woken only by `changed`."""
        async with asyncio.timeout(5):
            while not condition(seen := self.launcher.observe()):
                await self.launcher.changed()
        return seen

    async def outcome(self) -> Outcome:
        """The first outcome."""
        return (await self.sees(lambda seen: seen.finished)).finished[0]


@asynccontextmanager
async def operator(
    api: FakeApi,
    client: ClusterClient,
    made: MapRunSpec,
    patience: float = 0.05,
    labels: Callable[[], Mapping[str, str]] = dict,
) -> AsyncIterator[World]:
    """One life of an operator that has this run."""
    watch = JobsWatch(client)
    await watch.start()
    launcher = JobsLauncher(RUN, made, watch, client, WriteBudget(), patience, labels)
    await launcher.open()
    yield World(api, client, watch, launcher)
    await launcher.close()
    await watch.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    api = FakeApi()
    async with serving(api) as client, operator(api, client, spec()) as made:
        yield made


async def test_a_launched_attempt_is_active_at_once_and_ends_with_its_pod(world: World) -> None:
    world.launch()
    assert world.launcher.observe().active == {0: 1}
    await until(lambda: world.api.jobs() == ["run-0-1"])
    await world.api.pod("run-0-1", "Running", {"running": {"startedAt": NOW}})
    await world.api.succeed("run-0-1", '{"b":2}')
    outcome = await world.outcome()
    assert (outcome.key, outcome.status, bytes(outcome.output)) == (FIRST, ChildStatus.SUCCEEDED, b'{"b":2}')
    assert (outcome.started, outcome.stopped) == (1790204325.0, 1790204329.0)
    assert world.launcher.observe().active == {}


async def test_a_reaped_attempt_is_seen_until_its_job_is_deleted_and_never_again(world: World) -> None:
    await world.api.succeed(await world.launched())
    await world.outcome()
    world.launcher.reap(FIRST)
    world.launcher.reap(FIRST)
    assert len(world.launcher.observe().finished) == 1
    await world.sees(lambda seen: not seen.finished)
    assert world.api.jobs() == []
    assert world.api.calls.count("DELETE jobs/run-0-1") == 1
    world.api.forget_history()
    world.api.cut_watches()
    await world.launched(Attempt(1, 1))
    assert world.launcher.observe() == Observation({1: 1})


async def test_a_large_input_rides_in_a_secret_that_goes_before_its_job(world: World) -> None:
    await world.api.succeed(await world.launched(text=LARGE))
    assert ("default", "run-0-1") in world.api.things["secrets"]
    await world.outcome()
    world.launcher.reap(FIRST)
    await world.sees(lambda seen: not seen.finished)
    writes = [call for call in world.api.calls if not call.startswith("GET")]
    assert writes == ["POST secrets", "POST jobs", "DELETE secrets/run-0-1", "DELETE jobs/run-0-1"]


async def test_a_cancelled_attempt_is_active_until_its_job_is_gone(world: World) -> None:
    name = await world.launched()
    await world.api.pod(name, "Running", {"running": {"startedAt": NOW}})
    world.launcher.cancel(FIRST)
    assert world.launcher.observe().active == {0: 1}
    assert await world.sees(lambda seen: not seen.active) == Observation({})
    assert world.api.jobs() == []


async def test_a_cancel_before_the_create_was_answered_leaves_nothing(world: World) -> None:
    for child in range(40):
        world.launch(Attempt(child, 1))
    await asyncio.sleep(0)
    for child in range(40):
        world.launcher.cancel(Attempt(child, 1))
    await world.sees(lambda seen: not seen.active)
    assert world.api.jobs() == []


async def test_what_an_earlier_operator_started_is_seen_when_open_returns() -> None:
    api = FakeApi()
    async with serving(api) as client:
        async with operator(api, client, spec()) as before:
            for child in range(3):
                await before.launched(Attempt(child, 1))
        await api.succeed("run-1-1", "1")
        async with operator(api, client, spec()) as after:
            seen = after.launcher.observe()
            assert seen.active == {0: 1, 2: 1}
            assert [outcome.key for outcome in seen.finished] == [Attempt(1, 1)]


async def test_an_earlier_attempt_that_still_exists_does_not_hide_the_present_one(world: World) -> None:
    await world.launched(Attempt(0, 1))
    await world.launched(Attempt(0, 2))
    await world.api.pod("run-0-1", "Running", {"running": {"startedAt": NOW}})
    await world.api.succeed("run-0-1")
    assert (await world.outcome()).key == Attempt(0, 1)
    assert world.launcher.observe().active == {0: 2}


async def test_a_create_whose_answer_was_lost_is_adopted(world: World) -> None:
    world.api.lose_answers = 2
    await world.launched()
    assert world.launcher.observe().active == {0: 1}
    assert world.api.jobs() == ["run-0-1"]


async def test_a_create_whose_answer_was_lost_does_not_come_again_behind_the_removal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(jobs_writing, name, 0.5)  # the child is quicker than the second try
    world.api.lose_answers = 1
    world.launch()
    await until(lambda: world.api.jobs() == ["run-0-1"])
    await world.api.succeed("run-0-1")
    await world.outcome()
    world.launcher.reap(FIRST)
    await until(lambda: world.api.jobs() == [])
    await world.launched(Attempt(1, 1))  # in line behind the second try
    assert world.api.calls.count("POST jobs") == 2


async def test_a_job_of_an_earlier_run_with_the_same_name_is_waited_out(world: World) -> None:
    other = {
        "metadata": {
            "name": "run-0-1",
            "labels": {"maprun.dev/run-uid": "other", "maprun.dev/child": "0", "maprun.dev/attempt": "1"},
        }
    }
    await world.api.put("jobs", other)
    world.launch()
    assert "is taken" in (await world.sees(lambda seen: seen.waiting)).waiting
    await world.api.remove("jobs", "run-0-1")
    await until(lambda: not world.launcher._writer.creating(FIRST))
    assert await world.sees(lambda seen: not seen.waiting) == Observation({0: 1})


TROUBLES = [
    pytest.param(
        Refusal(403, "Forbidden", "exceeded quota: jobs"), "exceeded quota: jobs", id="a quota is waited for, and told"
    ),
    pytest.param(
        Refusal(403, "Forbidden", "cannot create resource"),
        "cannot create",
        id="a missing right is waited for, and told",
    ),
    pytest.param(
        Refusal(500, "InternalError", "etcd is away"), "etcd is away", id="an error of the server is waited out"
    ),
    pytest.param(
        Refusal(429, "TooManyRequests", headers={"Retry-After": "0"}), "send less", id="too many requests slow us down"
    ),
    pytest.param(Refusal(409, "Conflict", "quota was modified"), "", id="a race for the quota's counter is run again"),
]


@pytest.mark.parametrize(("refusal", "told"), TROUBLES)
async def test_a_create_that_may_succeed_later_keeps_the_attempt_active(
    world: World, refusal: Refusal, told: str
) -> None:
    world.api.fail("POST jobs", 2, refusal)
    world.launch()
    if told:
        seen = await world.sees(lambda seen: seen.waiting)
        assert told in seen.waiting
        assert seen.active == {0: 1}
    await until(lambda: world.api.jobs() == ["run-0-1"])
    assert await world.sees(lambda seen: not seen.waiting) == Observation({0: 1})


QUOTA = Refusal(403, "Forbidden", "exceeded quota: jobs")


async def test_what_a_quota_refuses_is_given_back_but_for_one_that_finds_out_when_there_is_room(world: World) -> None:
    world.api.fail("POST jobs", 1_000, QUOTA)
    for child in range(40):
        world.launch(Attempt(child, 1))
    seen = await world.sees(lambda seen: len(seen.active) == 1)
    assert (seen.held, seen.starting, "exceeded quota" in seen.waiting) == (True, frozenset(seen.active), True)
    (probe,) = seen.active
    world.api._faults.clear()
    seen = await world.sees(lambda seen: not seen.held)
    assert (seen, world.api.jobs()) == (Observation({probe: 1}), [f"run-{probe}-1"])
    for child in range(40):
        if child != probe:
            world.launch(Attempt(child, 1))
    await until(lambda: len(world.api.jobs()) == 40)
    assert world.api.calls.count("POST jobs") < 100


async def test_what_is_withdrawn_before_it_is_created_never_exists(world: World) -> None:
    await world.launched(Attempt(9, 1))
    world.api.fail("POST jobs", 1_000, QUOTA)
    for child in range(3):
        world.launch(Attempt(child, 1))
    await world.sees(lambda seen: seen.held)
    for child in (0, 1, 2, 9):
        world.launcher.withdraw(Attempt(child, 1))
    assert await world.sees(lambda seen: len(seen.active) == 1) == Observation({9: 1})
    world.api._faults.clear()
    await world.launched(Attempt(8, 1))
    assert world.api.jobs() == ["run-8-1", "run-9-1"]


async def test_what_is_withdrawn_while_it_is_created_is_given_back_when_it_is_refused(world: World) -> None:
    world.api.fail("POST jobs", 1, Refusal(429, "TooManyRequests", headers={"Retry-After": "0"}))
    world.launch()
    await asyncio.sleep(0)
    world.launcher.withdraw(FIRST)
    assert await world.sees(lambda seen: not seen.active) == Observation({})
    await world.launched(Attempt(1, 1))
    assert world.api.jobs() == ["run-1-1"]


async def test_a_create_that_may_have_taken_effect_is_not_given_back(world: World) -> None:
    world.api.fail("POST jobs", 1, Refusal(500, "InternalError", "etcd is away"))
    world.api.fail("POST jobs", 2, QUOTA)
    world.launch()
    await world.sees(lambda seen: seen.waiting)
    world.launcher.withdraw(FIRST)
    assert world.launcher.observe().active == {0: 1}
    await until(lambda: world.api.jobs() == ["run-0-1"])


@pytest.mark.parametrize("late", [False, True], ids=["the answer was lost before", "the answer is lost behind it"])
async def test_a_cancelled_create_that_may_have_taken_effect_leaves_no_job_though_no_watch_shows_it(
    world: World, late: bool
) -> None:
    """As when the API server is restarted: answers are lost, and watches are cut."""
    world.api.fail("GET jobs", 100_000, Refusal(503, "ServiceUnavailable", "starting"))
    world.api.cut_watches()
    world.api.lose_answers = 1
    world.launch()
    if late:
        await asyncio.sleep(0)
    else:
        await until(lambda: bool(world.launcher._writer._doubtful))
    world.launcher.cancel(FIRST)
    await until(lambda: world.api.calls.count("GET jobs/run-0-1") > 1)
    assert world.api.jobs() == ["run-0-1"]
    assert world.launcher.observe().active == {0: 1}, "the run may not end while it may exist"
    world.api._faults.clear()
    assert await world.sees(lambda seen: not seen.active) == Observation({})
    assert world.api.jobs() == []
    assert world.api.calls.count("POST jobs") == 1


async def test_a_cancelled_create_that_did_not_take_effect_is_not_made_up_for(world: World) -> None:
    world.api.fail("POST jobs", 1, Refusal(500, "InternalError", "etcd is away"))
    world.launch()
    await until(lambda: bool(world.launcher._writer._doubtful))
    world.launcher.cancel(FIRST)
    assert await world.sees(lambda seen: not seen.active) == Observation({})
    assert world.api.calls.count("POST jobs") == 1


async def test_a_cancelled_create_is_looked_for_no_faster_than_the_api_server_asks(world: World) -> None:
    world.api.fail("POST jobs", 1, Refusal(500, "InternalError", "etcd is away"))
    world.launch()
    await until(lambda: bool(world.launcher._writer._doubtful))
    world.api.fail("GET jobs", 100_000, Refusal(429, "TooManyRequests", headers={"Retry-After": "1000"}))
    world.launcher.cancel(FIRST)
    await world.sees(lambda seen: "asks to send less" in seen.waiting)
    await asyncio.sleep(0.2)
    assert world.api.calls.count("GET jobs/run-0-1") == 1
    assert world.launcher.observe().active == {0: 1}


async def test_a_job_gets_the_queue_that_its_run_has_when_it_is_made_also_behind_a_refusal() -> None:
    labels = {QUEUE: "refused"}
    api = FakeApi()
    async with serving(api) as client, operator(api, client, spec(), labels=lambda: labels) as world:
        api.fail("POST jobs", 1, Refusal(403, "Forbidden", 'admission webhook "vjob.kb.io" denied the request'))
        world.launch()
        await world.sees(lambda seen: "vjob.kb.io" in seen.waiting)
        labels[QUEUE] = "lab"
        await until(lambda: api.jobs() == ["run-0-1"])
        labels[QUEUE] = "shop"
        await world.launched(Attempt(1, 1))
    queues = {name: job["metadata"]["labels"][QUEUE] for (_, name), job in api.things["jobs"].items()}
    assert queues == {"run-0-1": "lab", "run-1-1": "shop"}


@pytest.mark.parametrize("status", [400, 422])
async def test_a_template_that_the_server_refuses_is_told_with_its_words(world: World, status: int) -> None:
    world.api.fail("POST jobs", 1, Refusal(status, "Invalid", "spec.template.spec.containers[0].image: Required value"))
    world.launch()
    refused = (await world.sees(lambda seen: seen.refused)).refused
    assert refused is not None
    assert refused.error == StatesError.RUNTIME
    assert "containers[0].image: Required value" in refused.cause


async def test_a_job_that_is_too_large_fails_its_child_alone(world: World) -> None:
    world.api.fail("POST jobs", 1, Refusal(413, "RequestEntityTooLarge", "limit is 3145728"))
    world.launch()
    outcome = await world.outcome()
    assert (outcome.status, outcome.failure and outcome.failure.error) == (ChildStatus.FAILED, StatesError.JOB_REFUSED)
    world.launcher.reap(FIRST)
    assert world.launcher.observe() == Observation({})


async def test_a_job_that_somebody_deletes_is_lost(world: World) -> None:
    name = await world.launched()
    await world.api.remove("jobs", name)
    outcome = await world.outcome()
    assert (outcome.status, outcome.failure and outcome.failure.error) == (ChildStatus.LOST, StatesError.JOB_LOST)
    world.launcher.reap(FIRST)
    await world.sees(lambda seen: not seen.finished)


async def test_an_outcome_stays_when_somebody_deletes_the_job_before_it_is_reaped(world: World) -> None:
    name = await world.launched()
    await world.api.succeed(name, "7")
    await world.outcome()
    await world.api.remove("jobs", name)
    await world.launched(Attempt(1, 1))
    assert (await world.outcome()).status is ChildStatus.SUCCEEDED


@pytest.mark.parametrize(
    "forgotten", [False, True], ids=["the watch goes on where it was", "the server forgot where it was"]
)
async def test_a_cut_watch_misses_nothing(world: World, forgotten: bool) -> None:
    gone, done, alive = [await world.launched(Attempt(child, 1)) for child in range(3)]
    if forgotten:
        world.api.things["jobs"].pop(("default", gone))
        await world.api.succeed(done, "1")
        world.api.forget_history()
        world.api.cut_watches()
        seen = await world.sees(lambda seen: seen.active == {2: 1})
        assert [outcome.key.child for outcome in seen.finished] == [1]  # the one that vanished unseen does not exist
    else:
        world.api.cut_watches()
        await world.api.succeed(done, "1")
        await world.api.remove("jobs", gone)
        seen = await world.sees(lambda seen: len(seen.finished) == 2)
        assert {outcome.status for outcome in seen.finished} == {ChildStatus.SUCCEEDED, ChildStatus.LOST}
    assert alive in world.api.jobs()


async def test_a_pod_that_failed_is_judged_when_its_job_gives_up(world: World) -> None:
    name = await world.launched()
    await world.api.pod(name, "Failed", terminated(3, "no such airport"))
    await world.api.job_ends(name, "Failed", "BackoffLimitExceeded")
    outcome = await world.outcome()
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.error) == (ChildStatus.FAILED, StatesError.TASK_FAILED)
    assert outcome.failure.cause == "Container main ended with exit code 3: no such airport"


async def test_a_job_that_ended_waits_for_the_news_of_its_pod(world: World) -> None:
    name = await world.launched()
    await world.api.job_ends(name, "Complete")
    await world.api.succeed(name, "5")
    assert bytes((await world.outcome()).output) == b"5"


async def test_a_job_that_completed_without_a_pod_is_lost(world: World) -> None:
    await world.api.job_ends(await world.launched(), "Complete")
    assert (await world.outcome()).status is ChildStatus.LOST


async def test_what_a_pod_ended_with_is_known_after_the_pod_was_deleted(world: World) -> None:
    name = await world.launched()
    await world.api.pod(name, "Failed", terminated(3, "gone"))
    await world.api.remove("pods", f"{name}-pod")
    await world.api.job_ends(name, "Failed", "BackoffLimitExceeded")
    outcome = await world.outcome()
    assert outcome.failure is not None
    assert outcome.failure.cause.endswith("gone")


async def test_an_image_that_cannot_be_pulled_fails_the_attempt_after_a_while(world: World) -> None:
    name = await world.launched()
    await world.api.pod(name, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})
    assert "not found" in (await world.sees(lambda seen: seen.waiting or seen.finished)).waiting
    outcome = await world.outcome()
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.error) == (ChildStatus.FAILED, StatesError.JOB_START_FAILED)
    assert "busybox" in outcome.failure.cause
    assert world.launcher.observe().waiting == ""
    world.launcher.reap(FIRST)
    await world.sees(lambda seen: not seen.finished)
    assert world.api.jobs() == []


async def test_pull_trouble_of_an_image_that_ran_elsewhere_is_a_loss(world: World) -> None:
    await world.api.pod(await world.launched(Attempt(1, 1)), "Running", {"running": {"startedAt": NOW}})
    name = await world.launched()
    await world.api.pod(name, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "timeout"}})
    assert (await world.outcome()).status is ChildStatus.LOST


async def test_a_pod_that_nobody_can_make_is_explained_by_events(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_starting, "ASK_INTERVAL", 0.05)
    name = await world.launched()
    about = {"uid": world.api.things["jobs"]["default", name]["metadata"]["uid"]}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": about,
        "reason": "FailedCreate",
        "message": "violates PodSecurity",
    }
    await world.api.put("events", event)
    seen = await world.sees(lambda seen: seen.waiting)
    assert seen.waiting.startswith("run-0-1 does not start: FailedCreate: violates PodSecurity. spec.itemProcessor.job")
    assert seen.active == {0: 1}
    await world.api.pod(name, "Running", {"running": {"startedAt": NOW}})
    await world.sees(lambda seen: not seen.waiting)


async def test_waiting_for_a_node_is_told_and_is_no_failure(world: World) -> None:
    name = await world.launched()
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    await world.api.pod(name, "Pending", None, conditions=[condition])
    seen = await world.sees(lambda seen: seen.waiting)
    assert "0/3 nodes are available" in seen.waiting
    assert seen.active == {0: 1}
    await world.api.pod(name, "Running", {"running": {"startedAt": NOW}})
    await world.sees(lambda seen: not seen.waiting)


async def test_suspended_jobs_are_waited_for_and_told_once_for_all(world: World) -> None:
    for child in range(2):
        await world.api.suspend(await world.launched(Attempt(child, 1)))
        seen = await world.sees(lambda seen: seen.waiting)
        assert seen.waiting == "children wait because their Jobs are suspended, for instance by Kueue"
    assert world.launcher.observe().active == {0: 1, 1: 1}
    for child in range(2):
        await world.api.suspend(f"run-{child}-1", held=False)
    await world.sees(lambda seen: not seen.waiting)


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        pytest.param("Failed", terminated(143), id="its pod was stopped"),
        pytest.param("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}, id="it had no image yet"),
    ],
)
async def test_a_job_that_is_suspended_again_goes_on_when_it_is_resumed(phase: str, state: dict[str, Any]) -> None:
    api = FakeApi()
    async with serving(api) as client, operator(api, client, spec(), patience=0.0) as world:
        name = await world.launched()
        await api.suspend(name)
        await world.sees(lambda seen: seen.waiting)
        await api.pod(name, phase, state)  # what becomes of the pod may be told later than that its Job is suspended
        await until(lambda: world.watch.runs["default/run-uid"][FIRST].pod is not None)
        await api.remove("pods", f"{name}-pod")
        await world.launched(Attempt(1, 1))
        assert world.launcher.observe() == Observation({0: 1, 1: 1}, waiting=starting.SUSPENDED)
        await api.suspend(name, held=False)
        await world.sees(lambda seen: not seen.waiting)
        await api.succeed(name, "1")
        assert (await world.outcome()).status is ChildStatus.SUCCEEDED


LOGS = [
    pytest.param('working\n{"a": 1}\n', ChildStatus.SUCCEEDED, b'{"a": 1}', id="the last line is the output"),
    pytest.param("", ChildStatus.SUCCEEDED, b"null", id="no line is null"),
    pytest.param("x" * 300_000, ChildStatus.FAILED, b"", id="a line that is too long fails"),
    pytest.param(None, ChildStatus.LOST, b"", id="a log that is gone is a loss"),
]


@pytest.mark.parametrize(("log", "status", "output"), LOGS)
async def test_the_output_may_come_from_the_log(log: str | None, status: ChildStatus, output: bytes) -> None:
    api = FakeApi()
    async with serving(api) as client, operator(api, client, spec(OutputFrom.LOGS)) as world:
        name = await world.launched()
        if log is not None:
            api.logs[f"{name}-pod"] = log
        await api.succeed(name, "not this")
        outcome = await world.outcome()
        assert (outcome.status, bytes(outcome.output)) == (status, output)


async def test_three_hundred_children_come_and_go(world: World) -> None:
    for child in range(300):
        world.launch(Attempt(child, 1))
    await until(lambda: len(world.api.jobs()) == 300, 30)
    for name in world.api.jobs():
        await world.api.succeed(name, "1")
    seen = await world.sees(lambda seen: len(seen.finished) == 300)
    for outcome in seen.finished:
        world.launcher.reap(outcome.key)
    await world.sees(lambda seen: seen == Observation({}))
    assert world.api.jobs() == []
    assert world.watch._runs == {} or all(
        entry.job is None for run in world.watch._runs.values() for entry in run.values()
    )
