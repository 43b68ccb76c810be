"""What a user is told who made a mistake: which field, and what to do; and that nobody else notices.

Each row has a second run beside it that must succeed. No credential may show anywhere.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

import pytest

from maprun.adapters.cluster import ApiError
from tests.adapters.operator_runs import (
    Buckets,
    Event,
    Json,
    Run,
    Space,
    access,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.operator_process import OperatorProcess

PLACE: Final = "bad-input"
WRONG: Final = "a-wrong-key-that-nobody-may-see"
RIGHT: Final = "s3"
FORGED: Final = "forged"  # a Secret with a wrong secret key
STRANGE: Final = "strange"  # one with an access key id that the server does not know
NOWHERE: Final = "http://127.0.0.1:9"
JOB: Final = "spec.itemProcessor.jobTemplate"
REFUSED: Final = f"{JOB}: the API server refuses a Job made of it: "


class Made(NamedTuple):
    """What specs are made of: a bucket with datasets, and the S3 server that has it."""

    bucket: str
    server: S3Server

    def reads(self, key: str, secret: str = RIGHT, bucket: str = "", **config: Any) -> Json:
        """A spec that reads this object with the credentials of this Secret."""
        return spec(itemReader=reader(bucket or self.bucket, key, **config), s3=access(self.server, secret))


class Mistake(NamedTuple):
    """A spec, and what is told about it: the condition's reason, the AWS error, and parts of the message."""

    sentence: str
    spec: Callable[[Made], Json]
    reason: str
    error: str
    told: tuple[str, ...]


def reading(sentence: str, made: Callable[[Made], Json], *told: str) -> Mistake:
    return Mistake(sentence, made, "ItemReaderFailed", "States.ItemReaderFailed", told)


def path(sentence: str, made: Json, *told: str) -> Mistake:
    return Mistake(sentence, lambda _: made, "RuntimeError", "States.Runtime", told)


def template(sentence: str, *told: str, container: Json | None = None, **job: Any) -> Mistake:
    """A Job template with these fields in its spec and in its container."""
    made = spec([1])
    job_spec = made["itemProcessor"]["jobTemplate"]["spec"]
    job_spec["template"]["spec"]["containers"][0] |= container or {}
    job_spec |= job
    return Mistake(sentence, lambda _: made, "InvalidJobTemplate", "States.Runtime", told)


ENDS: Final = (
    reading(
        "a bucket that is not there",
        lambda made: made.reads("data.json", bucket="no-such-bucket"),
        "spec.itemReader.parameters: ",
        "no-such-bucket",
        "the bucket does not exist: check its name, and that this is the right S3 server",
    ),
    reading(
        "a bucket to list that is not there",
        lambda made: spec(itemReader=reader("no-such-bucket"), s3=access(made.server)),
        "spec.itemReader.parameters: ",
        "the bucket does not exist: check its name",
    ),
    reading(
        "a key that is not there",
        lambda made: made.reads("nothing.json"),
        "spec.itemReader.parameters: ",
        "key nothing.json: the object does not exist: check the key",
    ),
    reading(
        "a wrong secret key",
        lambda made: made.reads("data.json", FORGED),
        "check the access key id and the secret access key",
        "HTTP 403",
        "spec.s3.credentialsSecretRef names the Secret with the credentials",
    ),
    reading(
        "an access key id that the server does not know",
        lambda made: made.reads("data.json", STRANGE),
        "the server does not know the access key id",
        "spec.s3.credentialsSecretRef names the Secret with the credentials",
    ),
    reading(
        "JSON that is neither an array nor an object",
        lambda made: made.reads("text.json"),
        "Attempting to map over non-iterable node.",
        "(spec.itemReader: s3://b-",
        "/text.json must be a JSON array or object)",
    ),
    reading(
        "broken JSON",
        lambda made: made.reads("broken.json"),
        "cannot be read as JSON at byte 15",
        "/broken.json must be a JSON array or object)",
    ),
    reading(
        "an empty file",
        lambda made: made.reads("empty.json"),
        "found the end of the file",
        "/empty.json must be a JSON array or object)",
    ),
    reading(
        "a pointer that leads to nothing",
        lambda made: made.reads("data.json", itemsPointer="/rows"),
        "the pointer '/rows' leads to nothing: there is no 'rows' in an array",
        "must be a JSON array or object at the itemsPointer /rows)",
    ),
    path(
        "an itemsPath that does not exist",
        spec({"rows": [1]}, itemsPath="$.lines"),
        "Invalid path '$.lines'",
        "(spec.itemsPath, $.lines, must lead to an array or an object in spec.input)",
    ),
    path(
        "an itemsPath to a number",
        spec({"rows": 3}, itemsPath="$.rows"),
        'Reference path "$.rows" must point to array.',
        "(spec.itemsPath, $.rows, must lead to an array or an object in spec.input)",
    ),
    path(
        "a path to a number that is none",
        spec({"rows": [1], "n": "many"}, itemsPath="$.rows", maxConcurrencyPath="$.n"),
        "An error occurred while executing the state 'run-",
        'The MaxConcurrencyPath field refers to value "many" which is not a valid integer: $.n',
        "(spec.maxConcurrencyPath)",
    ),
    Mistake(
        "an expression that gives nothing",
        lambda _: spec({"rows": [1]}, queryLanguage="JSONata") | {"items": "{% $states.input.lines %}"},
        "RuntimeError",
        "States.QueryEvaluationError",
        (
            "The JSONata expression '$states.input.lines' specified for the field 'Items'",
            "returned nothing (undefined).",
            "(spec.items must give an array or an object)",
        ),
    ),
    path(
        "a path of the selector that an item does not have",
        spec([{"a": 1}, {"b": 1}], itemSelector={"c.$": "$$.Map.Item.Value.a"}),
        "The JSONPath '$.Map.Item.Value.a' specified for the field 'c.$' could not be found in the input",
        "(spec.itemSelector does not fit item 1, counted from 0)",
    ),
    Mistake(
        "a path of the selector that is no path",
        lambda _: spec([1], itemSelector={"deep": [{"c.$": "Map.Item"}]}),
        "InvalidSpec",
        "States.Runtime",
        ("spec.itemSelector.deep[0].c.$: must be a valid JSONPath", "it must begin with $"),
    ),
    Mistake(
        "a bucket for the results that is not there",
        lambda made: spec([1], resultWriter=writer("no-such-bucket"), s3=access(made.server)),
        "ResultWriterFailed",
        "States.ResultWriterFailed",
        ("spec.resultWriter.parameters: ", "no-such-bucket", "the bucket does not exist: check its name"),
    ),
    Mistake(
        "more failures than are tolerated",
        lambda _: spec([1, 2], pod={"outcome": "fail", "message": "no runway"}, maxConcurrency=1),
        "ToleratedFailureThresholdExceeded",
        "States.ExceedToleratedFailureThreshold",
        (
            "The specified tolerated failure threshold was exceeded ",
            "(1 of 2 items failed, most with States.TaskFailed: ",
            "no runway",
        ),
    ),
    Mistake(
        "an output that is larger than 256 KiB",
        lambda _: spec(list(range(66)), pod={"message": json.dumps("x" * 4000)}),
        "DataLimitExceeded",
        "States.DataLimitExceeded",
        ("262144 bytes", "set spec.resultWriter.resource to write the results to a bucket"),
    ),
    Mistake(
        "an item that is larger than 256 KiB",
        lambda made: made.reads("large.json"),
        "DataLimitExceeded",
        "States.DataLimitExceeded",
        ("item 0 has 300002 bytes", "Let spec.itemSelector pick what the child needs"),
    ),
    template(
        "a field that Jobs do not have",
        REFUSED,
        'unknown field "spec.template.spec.containers[0].imagePulPolicy"',
        container={"imagePulPolicy": "Never"},
    ),
    template(
        "an image pull policy that does not exist",
        REFUSED,
        'spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes"',
        container={"imagePullPolicy": "Sometimes"},
    ),
    template(
        "two fields that MapRun sets itself",
        f"{JOB}.spec.backoffLimit: leave it out; retries are spec.itemProcessor.retry",
        f"{JOB}.spec.ttlSecondsAfterFinished: leave it out",
        backoffLimit=3,
        ttlSecondsAfterFinished=5,
    ),
)


@pytest.fixture(scope="module")
def operator(
    cluster_fake: Cluster, server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """One operator for the whole file, with S3 credentials of its own that it does not share."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(folder, cluster_fake.kubeconfig, f"file://{folder}/state", s3=server) as process:
        yield process
        assert "Traceback" not in process.log
        assert_no_secret(process.log, server)
    cluster_fake.kubectl("delete", "namespace", PLACE, "--wait=false")


@pytest.fixture(scope="module")
def made(server: S3Server) -> Made:
    """The datasets."""
    broken, large = b'[{"a": 1}, {"b"', ["x" * 300_000]
    with closing(Buckets(server)) as buckets:
        return Made(buckets.make(data=[1], text="text", broken=broken, large=large, empty=b""), server)


@pytest.fixture
async def place(operator: OperatorProcess, cluster_fake: Cluster, server: S3Server) -> AsyncIterator[Space]:
    """The namespace, with a good Secret and two bad ones."""
    right = secret_of(server)
    async with spaces(cluster_fake, PLACE) as (space,):
        await space.secret(right)
        await space.secret(right | {"AWS_SECRET_ACCESS_KEY": WRONG}, FORGED)
        await space.secret({"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": WRONG}, STRANGE)
        yield space


def assert_no_secret(text: str, server: S3Server) -> None:
    assert server.secret_key not in text
    assert WRONG not in text


async def assert_told(run: Run, server: S3Server, reason: str, *parts: str) -> None:
    """The condition and a Warning event with this reason say so, and show no credential."""
    said = condition(await run.status())
    for part in parts:
        assert part in said["message"]
    events: list[Event] = []

    async def in_an_event() -> bool:
        events[:] = [event for event in await run.events() if (event.type, event.reason) == ("Warning", reason)]
        return bool(events)

    await until(in_an_event, told=lambda: f"no event with the reason {reason}")
    assert all(part in events[0].note for part in parts)
    assert_no_secret(json.dumps(await run.get()) + str(await run.events()), server)


@pytest.mark.parametrize("mistake", ENDS, ids=lambda mistake: mistake.sentence)
async def test_a_mistake_ends_the_run(place: Space, made: Made, mistake: Mistake) -> None:
    run, beside = await place.create(mistake.spec(made)), await place.create(spec([1]))
    said = condition(await run.ended())
    assert (said["status"], said["reason"]) == ("False", mistake.reason)
    await assert_told(run, made.server, mistake.reason, f"{mistake.error}: ", *mistake.told)
    assert verdict(await beside.ended()) == "True"


class Obstacle(NamedTuple):
    """A spec, what stands in its way, what is told about it, and how it is removed."""

    sentence: str
    spec: Callable[[Made], Json]
    put: Callable[[Space], Awaitable[object]]
    event: str
    told: tuple[str, ...]
    remove: Callable[[Space, S3Server], Awaitable[object]]


async def nothing(*_: object) -> None:
    """No step is needed."""


async def no_jobs(space: Space) -> None:
    """A quota that allows no Job, in force."""
    body = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    await space.client.request("POST", space.path("resourcequotas"), body)

    async def in_force() -> bool:
        quota = json.loads(await space.client.request("GET", space.path("resourcequotas", "none")))
        return "hard" in quota.get("status", {})

    await until(in_force)


OBSTACLES: Final = (
    Obstacle(
        "a Secret that is not there yet",
        lambda made: made.reads("data.json", "later"),
        nothing,
        "SecretNotFound",
        (
            "spec.s3.credentialsSecretRef.name: there is no Secret later in the namespace obstacle",
            "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the run then goes on by itself",
        ),
        lambda space, server: space.secret(secret_of(server), "later"),
    ),
    Obstacle(
        "a Secret without one of its keys",
        lambda made: made.reads("data.json", "half"),
        lambda space: space.secret({"AWS_ACCESS_KEY_ID": "somebody", "PASSWORD": WRONG}, "half"),
        "SecretNotUsable",
        (
            "spec.s3.credentialsSecretRef.name: the Secret half in the namespace obstacle",
            " has no AWS_SECRET_ACCESS_KEY; add it, the run then goes on by itself",
        ),
        lambda space, server: space.secret(secret_of(server), "half"),
    ),
    Obstacle(
        "a quota that allows no Job",
        lambda made: spec([1]),
        no_jobs,
        "ChildrenWaiting",
        ("The API server does not take the Job: ", "exceeded quota: none", "count/jobs.batch=0"),
        lambda space, _: space.client.request("DELETE", space.path("resourcequotas", "none")),
    ),
)


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.sentence)
async def test_a_run_waits_until_an_obstacle_is_gone(
    place: Space, cluster_fake: Cluster, made: Made, obstacle: Obstacle
) -> None:
    async with spaces(cluster_fake, f"obstacle-{OBSTACLES.index(obstacle)}") as (space,):
        await obstacle.put(space)
        run, beside = await space.create(obstacle.spec(made)), await place.create(spec([1]))
        await run.until(lambda status: obstacle.told[0] in condition(status).get("message", ""))
        assert verdict(await run.status()) == "Unknown"
        await assert_told(run, made.server, obstacle.event, *obstacle.told)
        await obstacle.remove(space, made.server)
        assert verdict(await run.ended()) == "True"
        assert verdict(await beside.ended()) == "True"
        await space.close()


HOLDS: Final = (
    pytest.param(
        lambda made: spec(itemReader=reader(made.bucket, "data.json")),
        "CredentialsNotShared",
        (
            "spec.s3.credentialsSecretRef: this operator does not share its own S3 credentials; ",
            "make it with a Secret that has AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        id="no Secret, and an operator that does not share its own credentials",
    ),
    pytest.param(
        lambda made: spec(itemReader=reader(made.bucket, "data.json"), s3=access(made.server) | {"endpoint": NOWHERE}),
        "StoreUnavailable",
        (f"cannot connect to {NOWHERE}", "check that the endpoint is right and the server runs"),
        id="an S3 server that does not answer",
    ),
    pytest.param(
        lambda made: spec([1], resultWriter=writer(made.bucket), s3=access(made.server) | {"endpoint": NOWHERE}),
        "StoreUnavailable",
        ("1 of 1 items succeeded", "the results cannot be written yet", f"cannot connect to {NOWHERE}"),
        id="an S3 server for the results that does not answer",
    ),
)


@pytest.mark.parametrize(("spec_of", "event", "told"), HOLDS)
async def test_a_run_that_waits_says_so_and_can_be_deleted(
    place: Space, made: Made, spec_of: Callable[[Made], Json], event: str, told: tuple[str, ...]
) -> None:
    run, beside = await place.create(spec_of(made)), await place.create(spec([1]))
    await run.until(lambda status: all(part in condition(status).get("message", "") for part in told))
    assert verdict(await run.status()) == "Unknown"
    await assert_told(run, made.server, event, *told[1:])
    assert verdict(await beside.ended()) == "True"
    await run.delete()
    await until(run.gone, 10)


REFUSALS: Final = (
    pytest.param(
        {"itemReader": {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": "a"}}},
        "spec.itemReader.readerConfig.inputType: Invalid value: is required: the format of what is read",
        id="no format",
    ),
    pytest.param(
        {"toleratedFailurePercentage": "101"},
        "must be a number from 0 to 100",
        id="101 percent",
    ),
    pytest.param({"itemBatching": {"maxItems": 5}}, 'unknown field "spec.itemBatching"', id="no such field"),
)


@pytest.mark.parametrize(("fields", "told"), REFUSALS)
async def test_the_api_server_refuses_at_once_what_can_never_run(place: Space, fields: Json, told: str) -> None:
    with pytest.raises(ApiError) as refused:
        await place.create(spec([1], **fields))
    assert told in refused.value.message
