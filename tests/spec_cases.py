"""Wrong specs, once for both judges: `core/validation.py` in tests/unit, the CRD on an API server in tests/adapters.

Rule 1: both judges name the same path. Where `message` is that of a rule, both say it; else it is Python's own wording.
"""

from __future__ import annotations

import copy
from typing import Any, Final, NamedTuple

from maprun.core.validation import NAME, RULES
from maprun.model import API_VERSION, KIND

Json = dict[str, Any]

JOB: Final[Json] = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "handler:1"}]}}}}
RULE_MESSAGES: Final = {NAME.message} | {rule.message for rules in RULES.values() for rule in rules if rule.cel}


class Case(NamedTuple):
    """A resource with one mistake, the path of it, and what Python says about it."""

    sentence: str
    body: Json
    path: str
    message: str

    @property
    def by_rule(self) -> bool:
        """True when the API server says the same words."""
        return self.message in RULE_MESSAGES


def resource(name: str = "good", **spec: Any) -> Json:
    """A MapRun with these fields, and the least of an itemProcessor."""
    return body({"itemProcessor": {"jobTemplate": JOB}, **spec}, name)


def body(spec: Any, name: str = "good") -> Json:
    """A MapRun with exactly this spec."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": copy.deepcopy(spec)}


def processor(**fields: Any) -> Json:
    """A MapRun whose itemProcessor has these fields."""
    return resource(itemProcessor={"jobTemplate": JOB, **fields})


def template(job: Any) -> Json:
    """A MapRun with this Job template."""
    return resource(itemProcessor={"jobTemplate": job})


def retriers(*each: Json) -> Json:
    """A MapRun with these retriers, which handle any failed task if they do not say what."""
    return processor(retry=[{"errorEquals": ["States.TaskFailed"], **fields} for fields in each])


def get_object(config: Json | None = None, **parameters: Any) -> Json:
    """A MapRun that reads one JSON object; None leaves a parameter out."""
    named = {"bucket": "data", "key": "a.json"} | parameters
    given = {name: value for name, value in named.items() if value is not None}
    config = {"inputType": "JSON"} if config is None else config
    return resource(itemReader={"resource": "s3:getObject", "parameters": given, "readerConfig": config})


def listing(config: Json | None = None, **parameters: Any) -> Json:
    """A MapRun that lists a bucket."""
    call = {"resource": "arn:aws:states:::s3:listObjectsV2", "parameters": {"bucket": "data", **parameters}}
    return resource(itemReader=call | ({"readerConfig": config} if config else {}))


def writing(**parameters: Any) -> Json:
    """A MapRun that writes results with these parameters."""
    return resource(resultWriter={"resource": "s3:putObject", "parameters": {"bucket": "results", **parameters}})


def message_of(kind: str, field: str, number: int = 0) -> str:
    """The message of a rule in the table, by its struct and field (the first one, or a later one)."""
    found = [
        rule.message
        for owner, rules in RULES.items()
        if owner.__name__ == kind
        for rule in rules
        if rule.field == field
    ]
    return found[number]


KEY: Final = "parameters.key"
TYPE: Final = "readerConfig.inputType"
POINTER: Final = "readerConfig.itemsPointer"
CONTAINERS: Final = "jobTemplate.spec.template.spec.containers"
PERCENTAGE: Final = "toleratedFailurePercentage"
NO_LABEL: Final = message_of("MapRunSpec", "label")
NO_PERCENTAGE: Final = message_of("MapRunSpec", PERCENTAGE)
NO_RATE: Final = message_of("Retrier", "backoffRate")
NOT_ALONE: Final = message_of("Retrier", "errorEquals")
NOT_LAST: Final = message_of("ItemProcessor", "retry")
NO_CONTAINER: Final = message_of("ItemProcessor", CONTAINERS)
DECIMAL: Final = r"must be a string that matches '^[0-9]{1,8}(\\.[0-9]{1,6})?$'"
JOB_PATH: Final = "spec.itemProcessor.jobTemplate"
RETRY: Final = "spec.itemProcessor.retry"
READER: Final = "spec.itemReader"
UNKNOWN: Final = "is not a field of a MapRun"

BAD: Final = (
    # What the resource is.
    Case("a name that is too long for its Jobs", resource(name="n" * 41), "metadata.name", NAME.message),
    Case("no itemProcessor", body({}), "spec.itemProcessor", "is required"),
    Case("a field that does not exist", resource(itemBatcher={}), "spec.itemBatcher", UNKNOWN),
    Case("a field that does not exist, deeper", get_object(versionId="1"), f"{READER}.parameters.versionId", UNKNOWN),
    # Numbers.
    Case("a number as text", resource(maxConcurrency="5"), "spec.maxConcurrency", "must be an integer, not str"),
    Case("a negative number", resource(maxConcurrency=-1), "spec.maxConcurrency", "must be an integer >= 0"),
    Case(
        "more than 10,000 at once",
        resource(maxConcurrency=10_001),
        "spec.maxConcurrency",
        "must be an integer <= 10000",
    ),
    Case(
        "a count of failures beyond the largest dataset",
        resource(toleratedFailureCount=100_000_001),
        "spec.toleratedFailureCount",
        "must be an integer <= 100000000",
    ),
    Case("101 percent", resource(toleratedFailurePercentage=101), f"spec.{PERCENTAGE}", "must be an integer <= 100"),
    Case("100.000001 percent", resource(toleratedFailurePercentage="100.000001"), f"spec.{PERCENTAGE}", NO_PERCENTAGE),
    Case("a percentage in words", resource(toleratedFailurePercentage="half"), f"spec.{PERCENTAGE}", DECIMAL),
    Case("a negative percentage", resource(toleratedFailurePercentage="-1"), f"spec.{PERCENTAGE}", DECIMAL),
    Case(
        "a percentage as a float",
        resource(toleratedFailurePercentage=5.5),
        f"spec.{PERCENTAGE}",
        "must be an integer or a string, not float",
    ),
    Case(
        "no time for an attempt",
        processor(timeoutSeconds=0),
        "spec.itemProcessor.timeoutSeconds",
        "must be an integer >= 1",
    ),
    # Names and paths.
    Case("an empty label", resource(label=""), "spec.label", "must be a string of length >= 1"),
    Case("a label of 41 characters", resource(label="l" * 41), "spec.label", "must be a string of length <= 40"),
    *(
        Case(f"a label with U+{ord(character):04X}", resource(label=f"a{character}b"), "spec.label", NO_LABEL)
        for character in ' \t\u2003?*<>{}[]:;,\\|^~$#%&`"\x01\x7f\x85'
    ),
    Case(
        "an itemsPath that is no path",
        resource(itemsPath="rows"),
        "spec.itemsPath",
        r"must be a string that matches '^\\$'",
    ),
    Case(
        "a bucket name with capitals",
        writing(bucket="Results"),
        "spec.resultWriter.parameters.bucket",
        "must be a string that matches '^[a-z0-9][a-z0-9.-]*[a-z0-9]$'",
    ),
    Case(
        "an endless prefix",
        writing(prefix="p" * 1025),
        "spec.resultWriter.parameters.prefix",
        "must be a string of length <= 1024",
    ),
    # The reader.
    Case(
        "a reader that calls something else",
        resource(itemReader={"resource": "s3:headObject", "parameters": {"bucket": "data"}}),
        f"{READER}.resource",
        "must be one of s3:getObject, s3:listObjectsV2,"
        " arn:aws:states:::s3:getObject, arn:aws:states:::s3:listObjectsV2",
    ),
    Case(
        "a reader without parameters",
        resource(itemReader={"resource": "s3:getObject"}),
        f"{READER}.parameters",
        "is required",
    ),
    Case("one object, but no key", get_object(key=None), f"{READER}.{KEY}", message_of("ItemReader", KEY)),
    Case("an empty key", get_object(key=""), f"{READER}.{KEY}", "must be a string of length >= 1"),
    Case("a listing with a key", listing(key="a.json"), f"{READER}.{KEY}", message_of("ItemReader", KEY, 1)),
    Case(
        "one object with a prefix",
        get_object(prefix="a/"),
        f"{READER}.parameters.prefix",
        message_of("ItemReader", "parameters.prefix"),
    ),
    Case("one object of unknown format", get_object({}), f"{READER}.{TYPE}", message_of("ItemReader", TYPE)),
    Case("one object in a format to come", get_object({"inputType": "CSV"}), f"{READER}.{TYPE}", "must be one of JSON"),
    Case(
        "a listing with a format", listing({"inputType": "JSON"}), f"{READER}.{TYPE}", message_of("ItemReader", TYPE, 1)
    ),
    Case(
        "a listing with a pointer",
        listing({"itemsPointer": "/a"}),
        f"{READER}.{POINTER}",
        message_of("ItemReader", POINTER),
    ),
    Case(
        "a pointer that begins nowhere",
        get_object({"inputType": "JSON", "itemsPointer": "a"}),
        f"{READER}.{POINTER}",
        "must be a string that matches '^(/.*)?$'",
    ),
    # The work.
    Case("no Job template", resource(itemProcessor={}), JOB_PATH, "is required"),
    Case("a Job template that is a list", template([]), JOB_PATH, "must be an object, not array"),
    Case(
        "a pod without containers",
        template({"spec": {"template": {"spec": {}}}}),
        f"spec.itemProcessor.{CONTAINERS}",
        NO_CONTAINER,
    ),
    Case(
        "a pod with an empty list of containers",
        template({"spec": {"template": {"spec": {"containers": []}}}}),
        f"spec.itemProcessor.{CONTAINERS}",
        NO_CONTAINER,
    ),
    Case(
        "a pod with one container instead of a list",
        template({"spec": {"template": {"spec": {"containers": {"image": "handler:1"}}}}}),
        f"spec.itemProcessor.{CONTAINERS}",
        NO_CONTAINER,
    ),
    Case(
        "children of a type to come",
        processor(processorConfig={"executionType": "EXPRESS"}),
        "spec.itemProcessor.processorConfig.executionType",
        "must be one of STANDARD",
    ),
    Case(
        "an output from nowhere",
        processor(output={"from": "Stdout"}),
        "spec.itemProcessor.output.from",
        "must be one of TerminationMessage, Logs",
    ),
    # Retriers.
    Case(
        "a retrier for no error",
        retriers({"errorEquals": []}),
        f"{RETRY}[0].errorEquals",
        "must be a list of length >= 1",
    ),
    Case(
        "States.ALL with a companion",
        retriers({"errorEquals": ["States.ALL", "X"]}),
        f"{RETRY}[0].errorEquals",
        NOT_ALONE,
    ),
    Case("States.ALL before the last retrier", retriers({"errorEquals": ["States.ALL"]}, {}), RETRY, NOT_LAST),
    Case("two retriers for States.ALL", retriers(*2 * [{"errorEquals": ["States.ALL"]}]), RETRY, NOT_LAST),
    Case("an interval that shrinks", retriers({"backoffRate": "0.9"}), f"{RETRY}[0].backoffRate", NO_RATE),
    Case(
        "an interval that shrinks to 0",
        retriers({}, {"backoffRate": 0}),
        f"{RETRY}[1].backoffRate",
        "must be an integer >= 1",
    ),
    Case(
        "an interval of 0", retriers({"intervalSeconds": 0}), f"{RETRY}[0].intervalSeconds", "must be an integer >= 1"
    ),
    Case(
        "a delay of over a year",
        retriers({"maxDelaySeconds": 31_622_401}),
        f"{RETRY}[0].maxDelaySeconds",
        "must be an integer <= 31622400",
    ),
    Case(
        "an unknown jitter",
        retriers({"jitterStrategy": "HALF"}),
        f"{RETRY}[0].jitterStrategy",
        "must be one of FULL, NONE",
    ),
    Case("33 retriers", retriers(*33 * [{}]), RETRY, "must be a list of length <= 32"),
    # The server.
    Case(
        "another server with the operator's credentials",
        resource(s3={"endpoint": "http://minio:9000"}),
        "spec.s3.credentialsSecretRef",
        message_of("S3", "credentialsSecretRef"),
    ),
    Case(
        "an endpoint that is no URL",
        resource(s3={"endpoint": "minio:9000", "credentialsSecretRef": {"name": "s3"}}),
        "spec.s3.endpoint",
        r"must be a string that matches '^https?://[^\\s/?#@]+/?$'",
    ),
)

GOOD: Final = (
    ("the least", resource()),
    ("the longest name", resource(name="n" * 40)),
    ("any JSON as input", resource(input=[1, None, {"a": "b"}])),
    ("one object", get_object({"inputType": "JSON", "itemsPointer": "/a/b", "maxItems": 5})),
    ("a listing", listing({"maxItems": 5}, prefix="a/")),
    ("a label with letters of any script", resource(label="空港-Zürich_1.0 ".strip())),
    ("100 percent", resource(toleratedFailurePercentage="100.000000")),
    ("no percent", resource(toleratedFailurePercentage=0)),
    ("an interval that stays", retriers({"backoffRate": "1"})),
    (
        "States.ALL in the last retrier",
        retriers({}, {"errorEquals": ["States.ALL"], "backoffRate": "1.5", "maxDelaySeconds": 60}),
    ),
    (
        "another server with its own credentials",
        resource(s3={"endpoint": "http://minio:9000", "credentialsSecretRef": {"name": "s3"}}),
    ),
    ("results", writing(prefix="a/b")),
)
