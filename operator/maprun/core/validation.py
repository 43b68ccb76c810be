"""From the resource's body to a `MapRunSpec`, or to the list of everything that is wrong with it.

Rule 1: the types in `model.py` say what one field may hold; `RULES` says what joins several of them.
Rule 2: each rule stands here once, for Python and, as CEL, for the API server: `tools/crd.py` copies it into the CRD.
Rule 3: a message says what must be there, in plain words; the path says where.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import inspect

from maprun.core import paths, selection
from maprun.errors import Problem, SpecInvalid, StatesError
from maprun.model import API_VERSION, KIND, MAX_NAME, S3, ItemProcessor, ItemReader, MapRunSpec, Model, Retrier

T = TypeVar("T")


class Rule(msgspec.Struct, Generic[T], frozen=True):
    """What must hold of a value. `field` is the path inside it to name when it does not.

    `cel` is the same rule for the API server; without it the CRD's schema says it already.
    """

    field: str
    message: str
    holds: Callable[[T], bool]
    cel: str = ""


NAME: Final = Rule[str](
    "metadata.name",
    f"must be at most {MAX_NAME} characters long, so that the names of its Jobs fit into a label",
    lambda name: len(name) <= MAX_NAME,
    f"size(self.metadata.name) <= {MAX_NAME}",
)

_LABEL_FORBIDDEN: Final = frozenset('?*<>{}[]:;,\\|^~$#%&`"')  # aws-distributed-map.md §4.1
_LABEL_CEL: Final = r"""'^[^\\s\\p{Z}\\p{Cc}?*<>{}\\[\\]:;,\\\\|\\^~$#%&`"]*$'"""
_LISTS: Final = "self.resource.endsWith('s3:listObjectsV2')"
_DECIMAL: Final = "'^[0-9]+([.][0-9]+)?$'"
_ALL: Final = f"'{StatesError.ALL}'"


def _plain(label: str) -> bool:
    """True without whitespace, wildcards, brackets, special and control characters."""
    return not any(c.isspace() or c in _LABEL_FORBIDDEN or unicodedata.category(c) == "Cc" for c in label)


def _has_container(template: Mapping[str, Any]) -> bool:
    """True when the Job template has a container to work in, each level of the right type."""
    pod: Any = template
    for level in ("spec", "template", "spec"):
        pod = pod.get(level) if isinstance(pod, Mapping) else None
    containers = pod.get("containers") if isinstance(pod, Mapping) else None
    return isinstance(containers, list) and bool(containers) and isinstance(containers[0], Mapping)


RULES: Final[dict[type[Model], tuple[Rule[Any], ...]]] = {
    MapRunSpec: (
        Rule[MapRunSpec](
            "label",
            'must be without whitespace, control characters and any of ? * < > { } [ ] : ; , \\ | ^ ~ $ # % & ` "',
            lambda spec: spec.label is None or _plain(spec.label),
            f"!has(self.label) || self.label.matches({_LABEL_CEL})",
        ),
        Rule[MapRunSpec](
            "toleratedFailurePercentage",
            "must be a number from 0 to 100",
            lambda spec: spec.percentage is None or spec.percentage <= 100,
            "!has(self.toleratedFailurePercentage) || type(self.toleratedFailurePercentage) == int"
            f" || !self.toleratedFailurePercentage.matches({_DECIMAL})"
            " || double(self.toleratedFailurePercentage) <= 100.0",
        ),
    ),
    ItemReader: (
        Rule[ItemReader](
            "parameters.key",
            "is required with s3:getObject: the key of the object to read",
            lambda reader: reader.resource.lists or reader.parameters.key is not None,
            f"{_LISTS} || has(self.parameters.key)",
        ),
        Rule[ItemReader](
            "parameters.key",
            "must be left out with s3:listObjectsV2; use prefix to choose among the keys",
            lambda reader: not reader.resource.lists or reader.parameters.key is None,
            f"!{_LISTS} || !has(self.parameters.key)",
        ),
        Rule[ItemReader](
            "parameters.prefix",
            "must be left out with s3:getObject, which reads one key",
            lambda reader: reader.resource.lists or reader.parameters.prefix is None,
            f"{_LISTS} || !has(self.parameters.prefix)",
        ),
        Rule[ItemReader](
            "readerConfig.inputType",
            "is required with s3:getObject: the format of the object",
            lambda reader: reader.resource.lists or reader.reader_config.input_type is not None,
            f"{_LISTS} || has(self.readerConfig.inputType)",
        ),
        Rule[ItemReader](
            "readerConfig.inputType",
            "must be left out with s3:listObjectsV2, whose items are the objects themselves",
            lambda reader: not reader.resource.lists or reader.reader_config.input_type is None,
            f"!{_LISTS} || !has(self.readerConfig.inputType)",
        ),
        Rule[ItemReader](
            "readerConfig.itemsPointer",
            "must be left out with s3:listObjectsV2: it points into the JSON of one object",
            lambda reader: not reader.resource.lists or reader.reader_config.items_pointer is None,
            f"!{_LISTS} || !has(self.readerConfig.itemsPointer)",
        ),
    ),
    ItemProcessor: (
        Rule[ItemProcessor](
            "jobTemplate.spec.template.spec.containers",
            "must be a list with at least one container, which works on the child's input",
            lambda processor: _has_container(processor.job_template),
        ),
        Rule[ItemProcessor](
            "retry",
            "must name States.ALL in the last retrier only: those behind it could never match",
            lambda processor: not any(StatesError.ALL in retrier.error_equals for retrier in processor.retry[:-1]),
            f"self.retry.filter(r, {_ALL} in r.errorEquals).size()"
            f" == (size(self.retry) > 0 && {_ALL} in self.retry[size(self.retry) - 1].errorEquals ? 1 : 0)",
        ),
    ),
    Retrier: (
        Rule[Retrier](
            "errorEquals",
            "must hold States.ALL alone: it matches the other errors too",
            lambda retrier: StatesError.ALL not in retrier.error_equals or len(retrier.error_equals) == 1,
            f"!({_ALL} in self.errorEquals) || size(self.errorEquals) == 1",
        ),
        Rule[Retrier](
            "backoffRate",
            "must be a number of 1 or more",
            lambda retrier: retrier.backoff >= 1,
            f"!has(self.backoffRate) || type(self.backoffRate) == int || !self.backoffRate.matches({_DECIMAL})"
            " || double(self.backoffRate) >= 1.0",
        ),
    ),
    S3: (
        Rule[S3](
            "credentialsSecretRef",
            "is required with an endpoint: the operator's own credentials are for its own server",
            lambda s3: s3.endpoint is None or s3.credentials_secret_ref is not None,
            "!has(self.endpoint) || has(self.credentialsSecretRef)",
        ),
    ),
}


def parse(body: Mapping[str, Any]) -> MapRunSpec:
    """The spec of a MapRun given as plain data (the whole resource, as read from YAML or from the API server).

    Raises `SpecInvalid` with every problem found: wrong types stop at the first, broken rules are all listed.
    """
    problems = list(_identity(body))
    try:
        spec = msgspec.convert(body.get("spec", {}), MapRunSpec)
    except msgspec.ValidationError as error:
        raise SpecInvalid((*problems, _type_problem(str(error)))) from error
    problems += check(spec)
    problems += _path_problems(spec)
    if problems:
        raise SpecInvalid(tuple(problems))
    return spec


def _path_problems(spec: MapRunSpec) -> Iterator[Problem]:
    """What is wrong with the paths in a spec; CEL cannot tell. With an itemReader, itemsPath is ignored as AWS does."""
    if spec.item_reader is None and (wrong := paths.problem_in_reference(spec.items_path)):
        yield Problem("spec.itemsPath", wrong)
    if spec.item_selector is not None:
        yield from selection.problems(spec.item_selector)


def _identity(body: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with apiVersion, kind and name."""
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if body.get(field) != wanted:
            yield Problem(field, f"must be {wanted}")
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        yield Problem(NAME.field, "is required")
    elif not NAME.holds(name):
        yield Problem(NAME.field, NAME.message)


def check(value: Model, path: str = "spec") -> Iterator[Problem]:
    """The broken rules of a value and of all values inside it."""
    for rule in RULES.get(type(value), ()):
        if not rule.holds(value):
            yield Problem(f"{path}.{rule.field}", rule.message)
    for field in msgspec.structs.fields(value):
        inner, place = getattr(value, field.name), f"{path}.{field.encode_name}"
        for index, element in enumerate(inner if isinstance(inner, list) else [inner]):
            if isinstance(element, Model):
                yield from check(element, f"{place}[{index}]" if isinstance(inner, list) else place)


_WHERE: Final = re.compile(r" - at `\$(?P<path>.*)`$")
_FIELD: Final = re.compile(r"(?P<kind>missing required|unknown) field `(?P<name>.*)`")
_FIELD_MESSAGE: Final = {"missing required": "is required", "unknown": "is not a field of a MapRun"}
_EXPECTED: Final = re.compile(r"Expected `(?P<types>[^`]*)`(?P<bound>.*?)(, got `(?P<got>.*)`)?$")
_WORDS: Final = {
    "int": "an integer",
    "str": "a string",
    "object": "an object",
    "array": "a list",
    "bool": "true or false",
}


def _type_problem(error: str) -> Problem:
    """A problem made of msgspec's sentence about a value of the wrong type."""
    where = _WHERE.search(error)
    path = where["path"] if where else ""
    what = error[: where.start()] if where else error
    if field := _FIELD.search(what):
        return Problem(f"spec{path}.{field['name']}", _FIELD_MESSAGE[field["kind"]])
    if what.startswith("Invalid enum value"):
        return Problem(f"spec{path}", f"must be one of {', '.join(_choices(path))}")
    return Problem(f"spec{path}", f"must be {_wanted(what)}")


def _wanted(what: str) -> str:
    """What msgspec expected, in words."""
    expected = _EXPECTED.match(what)
    if not expected:
        return what
    types = [_WORDS.get(name, name) for name in expected["types"].split(" | ") if name != "null"]
    got = f", not {expected['got']}" if expected["got"] else ""
    return " or ".join(types) + expected["bound"].replace("matching regex", "that matches") + got


def _choices(path: str) -> list[str]:
    """The values of the enum that stands at a path of the spec, such as `.retry[0].jitterStrategy`."""
    kind = inspect.type_info(MapRunSpec)
    for name in re.findall(r"[^.\[\]]+|\[", path):
        kind = _plain_type(kind)
        if isinstance(kind, inspect.StructType):
            kind = next((field.type for field in kind.fields if field.encode_name == name), kind)
        elif isinstance(kind, inspect.ListType) and name == "[":
            kind = kind.item_type
    kind = _plain_type(kind)
    return [str(member.value) for member in kind.cls] if isinstance(kind, inspect.EnumType) else []


def _plain_type(kind: inspect.Type) -> inspect.Type:
    """The type without its metadata and without null."""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        else:
            kind = next(member for member in kind.types if not isinstance(member, inspect.NoneType))
    return kind
