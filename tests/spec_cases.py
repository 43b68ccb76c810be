"""Wrong specs, once for both judges: `core/validation.py` in tests/unit, the CRD on an API server in tests/adapters.

Rule 1: both judges name the same path. Where `message` is that of a rule, both say it; else it is Python's own wording.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from maprun.core.rule import NAME, NUMBERS
from maprun.core.rules import RULES
from maprun.model import API_VERSION, KIND

Json = dict[str, Any]

JOB: Final[Json] = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "handler:1"}]}}}}
BY_SERVER: Final = {(NAME.field, NAME.message)} | {
    (f".{rule.field}", rule.message) for rules in RULES.values() for rule in rules if rule.cel
}


class Case(NamedTuple):
    """A resource with one mistake, the path of it, and what Python says about it."""

    sentence: str
    body: Json
    path: str
    message: str

    @property
    def by_rule(self) -> bool:
        """True when the API server says the same words."""
        return any(self.path.endswith(field) and self.message == message for field, message in BY_SERVER)


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


def reading(config: Json | None = None, form: str = "parameters", **arguments: Any) -> Json:
    """A reader of one CSV object, or of something else; None leaves an argument out."""
    given = {"bucket": "data", "key": "a.csv"} | arguments
    config = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"} if config is None else config
    named = {name: value for name, value in given.items() if value is not None and name != "resource"}
    return {"resource": arguments.get("resource", "s3:getObject"), form: named, "readerConfig": config}


def read(config: Json | None = None, **arguments: Any) -> Json:
    """A MapRun with such a reader."""
    return resource(itemReader=reading(config, **arguments))


def jsonata(**spec: Any) -> Json:
    """A MapRun with expressions."""
    return resource(queryLanguage="JSONata", **spec)


def numbered(field: str, value: Any, language: str = "JSONPath", **beside: Any) -> Json:
    """A MapRun with a number at this place, and further fields `beside` it."""
    owner, _, name = field.rpartition(".")
    fields = {name: value, **beside}
    if owner == "itemReader.readerConfig":
        config = {"inputType": "JSON", **fields}
        form = "parameters" if language == "JSONPath" else "arguments"
        return resource(queryLanguage=language, itemReader=reading(config, form))
    least = {"maxItemsPerBatch": 5} if not name.startswith("maxItemsPerBatch") else {}
    return resource(queryLanguage=language, **({owner: {**least, **fields}} if owner else fields))


def redriven(**chosen: Any) -> Json:
    """A MapRun with this filter for its redrives."""
    return resource(redriveFilter=chosen)


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


FILTER: Final = "spec.redriveFilter"
NO_RANGES: Final = "must be numbers and ranges of children, such as 0-99,205"
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
NO_INTEGER: Final = "must be an integer, or with JSONata an expression in {% %}"
NO_DECIMAL: Final = (
    'must be an integer, a decimal string such as "2.5" with at most 6 places, or with JSONata an expression in {% %}'
)
JOB_PATH: Final = "spec.itemProcessor.jobTemplate"
RETRY: Final = "spec.itemProcessor.retry"
READER: Final = "spec.itemReader"
WRITER: Final = "spec.resultWriter"
CONFIG: Final = f"{READER}.readerConfig"
UNKNOWN: Final = "is not a field of a MapRun"
ONLY_JSONPATH: Final = "must be left out but with queryLanguage JSONPath"
ONLY_JSONATA: Final = "must be left out but with queryLanguage JSONata"
LISTING: Final = {"resource": "s3:listObjectsV2", "key": None}
LOCAL: Final = {"resource": "configmap", "bucket": None, "name": "data"}
PARQUET: Final = {"inputType": "PARQUET"}


def writer(config: Json | None = None, form: str = "parameters", **arguments: Any) -> Json:
    """A writer to a bucket."""
    named = {"bucket": "results"} | arguments
    given = {name: value for name, value in named.items() if value is not None}
    return {"resource": "s3:putObject", form: given} | ({"writerConfig": config} if config else {})


def _argument_cases(form: str) -> Iterator[Case]:
    """What must and must not be among the arguments of a reader, in either form."""

    def case(sentence: str, field: str, number: int, config: Json | None = None, **arguments: Any) -> Case:
        language = "JSONPath" if form == "parameters" else "JSONata"
        body = resource(queryLanguage=language, itemReader=reading(config, form, **arguments))
        message = message_of("ItemReader", f"{form}.{field}", number)
        return Case(f"{sentence}, in {form}", body, f"{READER}.{form}.{field}", message)

    yield case("one object, but no key", "key", 0, key=None)
    yield case("one object, but no bucket", "bucket", 0, bucket=None)
    yield case("a ConfigMap with a bucket", "bucket", 1, **LOCAL | {"bucket": "data"})
    yield case("a Secret with an owner", "expectedBucketOwner", 0, **LOCAL, expectedBucketOwner="123456789012")
    yield case("a ConfigMap without a name", "name", 0, **LOCAL | {"name": None})
    yield case("an object with a name", "name", 0, name="data")
    yield case("a listing with a key", "key", 1, {}, **LISTING | {"key": "a.json"})
    yield case("one object with a prefix", "prefix", 0, prefix="a/")
    yield case("a listing with a version", "versionId", 0, {}, **LISTING, versionId="1")
    yield case("a version of a Parquet file", "versionId", 0, PARQUET, versionId="1")


def _number_cases(field: str) -> Iterator[Case]:
    """What goes for every number that may be given by a path or an expression."""
    name = field.rpartition(".")[2]
    beside = f"must be left out beside {name}: only one of the two may be there"
    both = numbered(field, 5, **{f"{name}Path": "$.n"})
    yield Case(f"{field} with its path", both, f"spec.{field}Path", beside)
    with_path = numbered(f"{field}Path", "$.n", "JSONata")
    yield Case(f"{field}Path with JSONata", with_path, f"spec.{field}Path", ONLY_JSONPATH)
    needs = "must be a number; an expression in {% %} needs queryLanguage JSONata"
    yield Case(f"{field} as an expression with JSONPath", numbered(field, "{% 1 %}"), f"spec.{field}", needs)


_PER_FORM: Final = [case for form in ("parameters", "arguments") for case in _argument_cases(form)]


BAD: Final = (
    # What the resource is.
    Case("a name that is too long for its Jobs", resource(name="n" * 41), "metadata.name", NAME.message),
    Case("no itemProcessor", body({}), "spec.itemProcessor", "is required"),
    Case("a field that does not exist", resource(itemMixer={}), "spec.itemMixer", UNKNOWN),
    Case("a field that does not exist, deeper", get_object(version="1"), f"{READER}.parameters.version", UNKNOWN),
    # Numbers.
    Case("a number as text", resource(maxConcurrency="5"), "spec.maxConcurrency", NO_INTEGER),
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
    Case("a percentage in words", resource(toleratedFailurePercentage="half"), f"spec.{PERCENTAGE}", NO_DECIMAL),
    Case("a negative percentage", resource(toleratedFailurePercentage="-1"), f"spec.{PERCENTAGE}", NO_DECIMAL),
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
    # The life of a run.
    Case("no time for the run", resource(timeoutSeconds=0), "spec.timeoutSeconds", "must be an integer >= 1"),
    Case(
        "more time than a timer takes",
        resource(timeoutSeconds=100_000_000),
        "spec.timeoutSeconds",
        "must be an integer <= 99999999",
    ),
    Case("a suspension in words", resource(suspend="yes"), "spec.suspend", "must be true or false, not str"),
    Case("an abort in words", resource(abort="yes"), "spec.abort", "must be true or false, not str"),
    Case("fewer redrives than none", resource(redrives=-1), "spec.redrives", "must be an integer >= 0"),
    Case("more redrives than AWS takes", resource(redrives=1_001), "spec.redrives", "must be an integer <= 1000"),
    Case(
        "an age below nothing",
        resource(ttlSecondsAfterFinished=-1),
        "spec.ttlSecondsAfterFinished",
        "must be an integer >= 0",
    ),
    Case(
        "an age beyond all counting",
        resource(ttlSecondsAfterFinished=2**31),
        "spec.ttlSecondsAfterFinished",
        "must be an integer <= 2147483647",
    ),
    Case(
        "a filter of a redrive that names nothing",
        redriven(),
        f"{FILTER}.errorEquals",
        message_of("RedriveFilter", "errorEquals"),
    ),
    Case(
        "a filter without a name",
        redriven(errorEquals=[]),
        f"{FILTER}.errorEquals",
        "must be a list of length >= 1",
    ),
    Case(
        "a filter with an empty name",
        redriven(errorEquals=[""]),
        f"{FILTER}.errorEquals[0]",
        "must be a string of length >= 1",
    ),
    *(
        Case(f"a filter of the children {text}", redriven(indexes=text), f"{FILTER}.indexes", NO_RANGES)
        for text in ("5,", "1-", "-1", "1,,2", "1 2", "all", "1-2-3", "1234567890")
    ),
    *(
        Case(
            f"a filter of the children {text}",
            redriven(indexes=text),
            f"{FILTER}.indexes",
            message_of("RedriveFilter", "indexes"),
        )
        for text in ("9-8", "1,4-3,7", "100-99,5", "999999999-000000000")
    ),
    Case(
        "a filter of no children",
        redriven(indexes=""),
        f"{FILTER}.indexes",
        "must be a string of length >= 1",
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
        " arn:aws:states:::s3:getObject, arn:aws:states:::s3:listObjectsV2, configmap, secret",
    ),
    Case("an empty key", get_object(key=""), f"{READER}.{KEY}", "must be a string of length >= 1"),
    *(case for case in _PER_FORM if case.by_rule),
    Case(
        "a reader without parameters",
        resource(itemReader={"resource": "s3:listObjectsV2"}),
        f"{READER}.parameters",
        message_of("MapRunSpec", "itemReader.parameters"),
    ),
    Case(
        "a reader without arguments",
        jsonata(itemReader={"resource": "s3:listObjectsV2", "parameters": {"bucket": "data"}}),
        f"{READER}.arguments",
        message_of("MapRunSpec", "itemReader.arguments"),
    ),
    Case("one object of unknown format", get_object({}), f"{READER}.{TYPE}", message_of("ItemReader", TYPE)),
    Case(
        "objects of unknown format",
        listing({"transformation": "LOAD_AND_FLATTEN"}),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE),
    ),
    Case(
        "one object in a format to come",
        get_object({"inputType": "AVRO"}),
        f"{READER}.{TYPE}",
        "must be one of CSV, JSON, JSONL, PARQUET, MANIFEST",
    ),
    Case(
        "a listing with a format", listing({"inputType": "JSON"}), f"{READER}.{TYPE}", message_of("ItemReader", TYPE, 1)
    ),
    Case(
        "manifests in a listing",
        listing({"inputType": "MANIFEST", "transformation": "LOAD_AND_FLATTEN"}),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE, 2),
    ),
    Case(
        "a manifest in a ConfigMap",
        read({"inputType": "MANIFEST"}, **LOCAL),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE, 2),
    ),
    Case(
        "an inventory with a format",
        read({"inputType": "JSON", "manifestType": "S3_INVENTORY"}),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE, 3),
    ),
    Case(
        "Athena's files in JSON",
        read({"inputType": "JSON", "manifestType": "ATHENA_DATA"}),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE, 3),
    ),
    Case(
        "Athena's files without a format",
        read({"manifestType": "ATHENA_DATA"}),
        f"{READER}.{TYPE}",
        message_of("ItemReader", TYPE),
    ),
    Case(
        "a listing of a manifest",
        listing({"manifestType": "S3_INVENTORY"}),
        f"{CONFIG}.manifestType",
        message_of("ItemReader", "readerConfig.manifestType"),
    ),
    Case(
        "one object to be flattened",
        read({"inputType": "JSON", "transformation": "LOAD_AND_FLATTEN"}),
        f"{CONFIG}.transformation",
        message_of("ItemReader", "readerConfig.transformation"),
    ),
    Case(
        "a listing with a pointer",
        listing({"itemsPointer": "/a"}),
        f"{READER}.{POINTER}",
        message_of("ItemReader", POINTER),
    ),
    Case(
        "a pointer into CSV",
        read({"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW", "itemsPointer": "/a"}),
        f"{READER}.{POINTER}",
        message_of("ItemReader", POINTER),
    ),
    Case(
        "a pointer that begins nowhere",
        get_object({"inputType": "JSON", "itemsPointer": "a"}),
        f"{READER}.{POINTER}",
        "must be a string that matches '^(/.*)?$'",
    ),
    Case(
        "CSV with headers nowhere",
        read({"inputType": "CSV"}),
        f"{CONFIG}.csvHeaderLocation",
        message_of("ReaderConfig", "csvHeaderLocation"),
    ),
    Case(
        "CSV with headers to be given",
        read({"inputType": "CSV", "csvHeaderLocation": "GIVEN"}),
        f"{CONFIG}.csvHeaders",
        message_of("ReaderConfig", "csvHeaders"),
    ),
    Case(
        "an owner in words",
        read(expectedBucketOwner="me"),
        f"{READER}.parameters.expectedBucketOwner",
        "must be a string that matches '^[0-9]{12}$'",
    ),
    # Batches, and numbers by paths and expressions.
    Case(
        "batches without a size",
        resource(itemBatcher={"batchInput": {}}),
        "spec.itemBatcher.maxItemsPerBatch",
        message_of("ItemBatcher", "maxItemsPerBatch"),
    ),
    Case(
        "batches of no items",
        resource(itemBatcher={"maxItemsPerBatch": 0}),
        "spec.itemBatcher.maxItemsPerBatch",
        "must be an integer >= 1",
    ),
    Case(
        "batches beyond the payload limit",
        resource(itemBatcher={"maxInputBytesPerBatch": 262_145}),
        "spec.itemBatcher.maxInputBytesPerBatch",
        "must be an integer <= 262144",
    ),
    *(case for field in NUMBERS for case in _number_cases(field)),
    # Languages.
    Case("an unknown language", resource(queryLanguage="jq"), "spec.queryLanguage", "must be one of JSONPath, JSONata"),
    *(
        Case(f"{field} with JSONata", jsonata(**{field: "$.a"}), f"spec.{field}", ONLY_JSONPATH)
        for field in ("inputPath", "itemsPath", "resultPath")
    ),
    Case("a resultSelector with JSONata", jsonata(resultSelector={}), "spec.resultSelector", ONLY_JSONPATH),
    # The writer.
    Case(
        "a writer without parameters",
        resource(resultWriter={"resource": "s3:putObject"}),
        f"{WRITER}.parameters",
        message_of("MapRunSpec", "resultWriter.parameters"),
    ),
    Case(
        "a writer without arguments",
        jsonata(resultWriter=writer()),
        f"{WRITER}.arguments",
        message_of("MapRunSpec", "resultWriter.arguments"),
    ),
    Case(
        "a writer without a bucket",
        jsonata(resultWriter=writer(form="arguments", bucket=None)),
        f"{WRITER}.arguments.bucket",
        message_of("ResultWriter", "arguments.bucket"),
    ),
    Case(
        "arguments of no call",
        resource(resultWriter={"parameters": {"bucket": "results"}}),
        f"{WRITER}.resource",
        message_of("ResultWriter", "resource"),
    ),
    *(
        Case(
            f"Parquet files {sentence}",
            resource(resultWriter=made),
            f"{WRITER}.writerConfig.outputType",
            message_of("ResultWriter", "writerConfig.outputType"),
        )
        for sentence, made in {
            "without a bucket": {"writerConfig": {"transformation": "COMPACT", "outputType": "PARQUET"}},
            "of records with metadata": writer({"outputType": "PARQUET"}),
        }.items()
    ),
    Case(
        "result files of nothing",
        resource(resultWriter=writer({"maxBytesPerFile": 0})),
        f"{WRITER}.writerConfig.maxBytesPerFile",
        "must be an integer >= 1",
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

BAD_FOR_PYTHON: Final = (
    *(case for case in _PER_FORM if not case.by_rule),
    Case(
        "a writer without a bucket",
        resource(resultWriter=writer(bucket=None)),
        f"{WRITER}.parameters.bucket",
        message_of("ResultWriter", "parameters.bucket"),
    ),
    Case(
        "headers of more than 10 KiB",
        read({"inputType": "CSV", "csvHeaderLocation": "GIVEN", "csvHeaders": ["ü" * 5_000, "b" * 241]}),
        f"{CONFIG}.csvHeaders",
        message_of("ReaderConfig", "csvHeaders", 1),
    ),
    Case("items with JSONPath", resource(items=[1]), "spec.items", ONLY_JSONATA),
    Case("an output with JSONPath", resource(output={"a": 1}), "spec.output", ONLY_JSONATA),
    Case(
        "items and a reader",
        jsonata(items=[1], itemReader=reading(form="arguments")),
        "spec.items",
        message_of("MapRunSpec", "items", 1),
    ),
    Case(
        "items that are a number",
        jsonata(items=5),
        "spec.items",
        "must be an array, an object, or an expression in {% %} that gives one",
    ),
    # Paths.
    *(
        Case(
            f"{field} with a wildcard",
            resource(**{field: "$.a[*]"}),
            f"spec.{field}",
            "Invalid path '$.a[*]' : a reference path has only names and indexes",
        )
        for field in ("inputPath", "itemsPath", "resultPath", "maxConcurrencyPath")
    ),
    Case(
        "a resultPath into the context object",
        resource(resultPath="$$.a"),
        "spec.resultPath",
        "must begin with a single $: it points into the input",
    ),
    Case(
        "a bucket and a path to it",
        read(**{"bucket.$": "$.bucket"}),
        f"{READER}.parameters.bucket.$",
        "stands beside 'bucket'; only one of the two may be there",
    ),
    Case(
        "a path to a bucket that is none",
        resource(resultWriter=writer(bucket=None, **{"bucket.$": "$..["})),
        f"{WRITER}.parameters.bucket.$",
        "must be a valid JSONPath or a valid intrinsic function call: "
        "Invalid path '$..[' : '..[' at character 2 is not a step that is supported",
    ),
    *(
        Case(
            f"a template in {field} with a path that is none",
            resource(**{field: {"a.$": "b"}}),
            f"spec.{field}.a.$",
            "must be a valid JSONPath or a valid intrinsic function call: "
            "Invalid path 'b' : it must begin with $ (the input) or $$ (the context object)",
        )
        for field in ("itemSelector", "resultSelector")
    ),
    Case(
        "a batchInput with a call that breaks off",
        resource(itemBatcher={"maxItemsPerBatch": 1, "batchInput": {"a": [{"b.$": "States.Array("}]}}),
        "spec.itemBatcher.batchInput.a[0].b.$",
        "must be a valid JSONPath or a valid intrinsic function call: it ends at character 14,"
        " where a string in single quotes, a number, true, false, null, a path or a call is expected",
    ),
    # Expressions.
    *(
        Case(
            f"an expression in {place} that breaks off",
            jsonata(**fields),
            place,
            "must be a valid JSONata expression: S0207: Unexpected end of expression",
        )
        for place, fields in {
            "spec.items": {"items": "{% 1 + %}"},
            "spec.itemSelector.a[1]": {"itemSelector": {"a": [1, "{% 1 + %}"]}},
            "spec.output": {"output": "{% 1 + %}"},
            "spec.maxConcurrency": {"maxConcurrency": "{% 1 + %}"},
            "spec.toleratedFailurePercentage": {"toleratedFailurePercentage": "{% 1 + %}"},
            "spec.itemBatcher.batchInput.a": {"itemBatcher": {"maxItemsPerBatch": 1, "batchInput": {"a": "{% 1 + %}"}}},
            "spec.itemReader.arguments.bucket": {"itemReader": reading(form="arguments", bucket="{% 1 + %}")},
            "spec.resultWriter.arguments.prefix": {"resultWriter": writer(form="arguments", prefix="{% 1 + %}")},
        }.items()
    ),
    *(
        Case(
            f"an expression {sentence}",
            jsonata(output=text),
            "spec.output",
            "must begin with {% and end with %}, as a JSONata expression, or have neither",
        )
        for sentence, text in {"that is not closed": "{% 1", "that is not opened": "1 %}", "too short": "{%}"}.items()
    ),
    Case(
        "an endless expression",
        jsonata(output="{% " + "1+" * 4_100 + "1 %}"),
        "spec.output",
        "must be at most 8,192 bytes long",
    ),
)
"""What the API server cannot see: untyped JSON, names with a dot, the syntax of paths and expressions."""

LIFE: Final[Json] = {
    "timeoutSeconds": 86_400,
    "suspend": True,
    "abort": True,
    "redrives": 1_000,
    "redriveFilter": {"errorEquals": ["Busy", "States.Timeout"], "indexes": "0-99"},
    "ttlSecondsAfterFinished": 0,
}
GOOD: Final = (
    ("the least", resource()),
    ("the longest name", resource(name="n" * 40)),
    ("any JSON as input", resource(input=[1, None, {"a": "b"}])),
    ("one object", get_object({"inputType": "JSON", "itemsPointer": "/a/b", "maxItems": 5})),
    ("a listing", listing({"maxItems": 5}, prefix="a/")),
    ("a label with letters of any script", resource(label="空港-Zürich_1.0 ".strip())),
    ("100 percent", resource(toleratedFailurePercentage="100.000000")),
    ("no percent", resource(toleratedFailurePercentage=0)),
    ("a life with every lever", resource(**LIFE)),
    ("a redrive of some errors", redriven(errorEquals=["States.ALL"])),
    ("a redrive of some children", redriven(indexes="7,0-99,99-99,205,00-1,999999999")),
    ("as many ranges as go into a filter", redriven(indexes=",".join(["1-2"] * 1_024))),
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
    ("CSV with given headers", read({"inputType": "CSV", "csvHeaderLocation": "GIVEN", "csvHeaders": ["a", ""]})),
    ("a version of an object", read(versionId="1", expectedBucketOwner="123456789012")),
    ("an inventory", read({"manifestType": "S3_INVENTORY"})),
    ("an inventory in the older spelling", read({"inputType": "MANIFEST", "manifestType": "S3_INVENTORY"})),
    ("Athena's files", read({"manifestType": "ATHENA_DATA", "inputType": "PARQUET"})),
    (
        "objects to be flattened",
        listing({"inputType": "JSON", "itemsPointer": "/a", "transformation": "LOAD_AND_FLATTEN"}, prefix="a/"),
    ),
    ("a key of a ConfigMap", read({"inputType": "JSON"}, **LOCAL)),
    ("a key of a Secret", jsonata(itemReader=reading(PARQUET, "arguments", **LOCAL | {"resource": "secret"}))),
    (
        "everything by paths",
        resource(
            inputPath="$.a",
            itemReader=reading(
                {"inputType": "JSON", "maxItemsPath": "$.n"},
                bucket=None,
                key=None,
                **{"bucket.$": "$.bucket", "key.$": "States.Format('{}.json', $.name)"},
            ),
            itemBatcher={"maxItemsPerBatchPath": "$.n", "maxInputBytesPerBatchPath": "$.n", "batchInput": {"a.$": "$"}},
            maxConcurrencyPath="$.n",
            toleratedFailurePercentagePath="$.n",
            toleratedFailureCountPath="$.n",
            resultWriter=writer(bucket=None, **{"bucket.$": "$.bucket", "prefix.$": "$$.Execution.Name"}),
            resultSelector={"a.$": "$"},
            resultPath="$.result",
        ),
    ),
    (
        "everything by expressions",
        jsonata(
            itemReader=reading(
                {"inputType": "JSON", "maxItems": "{% 5 %}"}, "arguments", bucket="{% $states.input.bucket %}"
            ),
            itemSelector="{% $states.context.Map.Item.Value %}",
            itemBatcher={"maxItemsPerBatch": "{% 5 %}", "maxInputBytesPerBatch": "{% 5 %}", "batchInput": "{% 1 %}"},
            maxConcurrency="{% 5 %}",
            toleratedFailurePercentage="{% 5 %}",
            toleratedFailureCount="{% 5 %}",
            resultWriter=writer(form="arguments", bucket="{% $states.input.bucket %}", prefix="p"),
            output={"a": ["{% $states.result %}"]},
        ),
    ),
    ("items out of an expression", jsonata(items=["{% 1 %}", 2])),
    ("a form without a bucket", resource(resultWriter={"writerConfig": {"outputType": "JSONL"}})),
    ("Parquet files", resource(resultWriter=writer({"outputType": "PARQUET", "transformation": "COMPACT"}))),
)


class Edit(NamedTuple):
    """An edit of a spec, by the fields in it before and behind it; `ended`: the run had ended by then. `field` is the
    one that it is refused for, with these words; "" when it is taken.
    """

    sentence: str
    before: Json
    after: Json
    ended: bool = False
    field: str = ""
    words: str = ""


NEW_LIMITS: Final[Json] = {
    "maxConcurrency": 7,
    "toleratedFailureCount": 3,
    "toleratedFailurePercentage": "12.5",
    "timeoutSeconds": 60,
    "suspend": True,
}
TOO_LATE: Final = (
    "cannot be changed: the run has ended. To run again what did not succeed, raise redrives in the same edit"
)
KEPT: Final = "cannot be taken back. To run again what did not succeed, raise redrives in the same edit"
NOT_ABORTED: Final = "cannot be raised while abort is true: set abort to false in the same edit"
EDITS: Final = (
    *(Edit(f"{field} while it runs", {}, {field: value}) for field, value in NEW_LIMITS.items()),
    Edit("a limit is taken away while it runs", NEW_LIMITS, {}),
    Edit("an abort", {}, {"abort": True}),
    Edit("a redrive that is wanted for later", {}, {"redrives": 1}),
    Edit("another filter", {"redriveFilter": {"indexes": "1"}}, {"redriveFilter": {"indexes": "2"}}),
    Edit("how long it stays", {}, {"ttlSecondsAfterFinished": 60}),
    Edit("fewer redrives", {"redrives": 2}, {"redrives": 1}, False, "redrives", "cannot be lowered"),
    Edit("no more redrives", {"redrives": 2}, {}, True, "redrives", "cannot be lowered"),
    Edit("an abort is taken back", {"abort": True}, {}, False, "abort", KEPT),
    Edit("an abort is taken back when it has ended", {"abort": True}, {}, True, "abort", KEPT),
    Edit("an abort is taken back for a redrive", {"abort": True}, {"redrives": 1}, True),
    Edit(
        "an aborted run is to be redriven",
        {"abort": True},
        {"abort": True, "redrives": 1},
        True,
        "redrives",
        NOT_ABORTED,
    ),
    Edit("an abort and a redrive at once", {}, {"abort": True, "redrives": 1}, False, "redrives", NOT_ABORTED),
    *(
        Edit(f"{field} when it has ended", {}, {field: value}, True, field, TOO_LATE)
        for field, value in NEW_LIMITS.items()
    ),
    Edit("another percentage when it has ended", {PERCENTAGE: 5}, {PERCENTAGE: "5"}, True, PERCENTAGE, TOO_LATE),
    Edit(
        "no count any more when it has ended", {"toleratedFailureCount": 5}, {}, True, "toleratedFailureCount", TOO_LATE
    ),
    Edit("an abort when it has ended", {}, {"abort": True}, True, "abort", "cannot be set: the run has ended"),
    Edit("a redrive", {}, {"redrives": 1}, True),
    Edit("a redrive under other limits", {}, {"redrives": 1, **NEW_LIMITS}, True),
    Edit("a filter when it has ended", {}, {"redriveFilter": {"indexes": "1"}}, True),
    Edit("how long it stays when it has ended", {}, {"ttlSecondsAfterFinished": 0}, True),
    Edit("nothing when it has ended", NEW_LIMITS, NEW_LIMITS, True),
)
