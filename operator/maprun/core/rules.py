"""What joins several fields of a spec: the rules that types alone cannot say, by the struct that they are about.

Rule 1: what a rule is, and what CEL can see, is said in `core/rule.py`; `tools/crd.py` copies the CEL into the CRD.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

from maprun.core.rule import NUMBERS, Rule, number, only_with, twin, value_at
from maprun.core.rules_reader import READER_RULES
from maprun.errors import StatesError
from maprun.fields import Model
from maprun.model import S3, MapRunSpec, QueryLanguage, RedriveFilter
from maprun.model_processing import ItemProcessor, Retrier
from maprun.model_writing import OutputType, ResultWriter, Transformation

JSONPATH, JSONATA = QueryLanguage.JSONPATH, QueryLanguage.JSONATA

_LABEL_FORBIDDEN: Final = frozenset('?*<>{}[]:;,\\|^~$#%&`"')  # aws-distributed-map.md §4.1
_LABEL_CEL: Final = r"""'^[^\\s\\p{Z}\\p{Cc}?*<>{}\\[\\]:;,\\\\|\\^~$#%&`"]*$'"""
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


def _at_most_all(spec: MapRunSpec) -> bool:
    return not _is_decimal(spec.tolerated_failure_percentage) or (spec.percentage or 0) <= 100


def _is_decimal(value: object) -> bool:
    return isinstance(value, str) and not value.startswith("{%")


def _ascends(numbers: str) -> bool:
    first, last = map(int, numbers.split("-"))
    return first <= last


def _calls(field: str, called: str) -> Iterator[Rule[MapRunSpec]]:
    """A call has its arguments in the field of the spec's language. `called` is CEL for a call being made."""
    for language, wanted, other in ((JSONPATH, "parameters", "arguments"), (JSONATA, "arguments", "parameters")):

        def holds(
            spec: MapRunSpec, language: QueryLanguage = language, wanted: str = wanted, other: str = other
        ) -> bool:
            call = value_at(spec, field)
            if spec.query_language is not language or getattr(call, "resource", None) is None:
                return True
            return getattr(call, wanted) is not None and getattr(call, other) is None

        yield Rule[MapRunSpec](
            f"{field}.{wanted}",
            f"is required with queryLanguage {language}, in place of {other}",
            holds,
            f"self.queryLanguage != '{language}' || !({called})"
            f" || (has(self.{field}.{wanted}) && !has(self.{field}.{other}))",
        )


_SPEC: Final = (
    Rule[MapRunSpec](
        "label",
        'must be without whitespace, control characters and any of ? * < > { } [ ] : ; , \\ | ^ ~ $ # % & ` "',
        lambda spec: spec.label is None or _plain(spec.label),
        f"!has(self.label) || self.label.matches({_LABEL_CEL})",
    ),
    Rule[MapRunSpec](
        "toleratedFailurePercentage",
        "must be a number from 0 to 100",
        _at_most_all,
        "!has(self.toleratedFailurePercentage) || type(self.toleratedFailurePercentage) == int"
        f" || !self.toleratedFailurePercentage.matches({_DECIMAL})"
        " || double(self.toleratedFailurePercentage) <= 100.0",
    ),
    twin("maxConcurrency", 0),
    twin("toleratedFailurePercentage"),
    twin("toleratedFailureCount"),
    *(only_with(JSONPATH, field, "$") for field in ("inputPath", "itemsPath", "resultPath")),
    *(only_with(JSONPATH, f"{field}Path") for field in NUMBERS),
    only_with(JSONPATH, "resultSelector"),
    only_with(JSONATA, "items", typed=False),
    only_with(JSONATA, "output", typed=False),
    *map(number, NUMBERS),
    Rule[MapRunSpec](
        "items",
        "must be left out beside itemReader: the items come from one of the two",
        lambda spec: spec.items is None or spec.item_reader is None,
    ),
    *_calls("itemReader", "has(self.itemReader)"),
    *_calls("resultWriter", "has(self.resultWriter) && has(self.resultWriter.resource)"),
)

_ITEM_PROCESSOR: Final = (
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
)

_RETRIER: Final = (
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
)

_RESULT_WRITER: Final = (
    Rule[ResultWriter](
        "resource",
        "is required with parameters and arguments",
        lambda writer: writer.resource is not None or (writer.parameters is None and writer.arguments is None),
        "has(self.resource) || (!has(self.parameters) && !has(self.arguments))",
    ),
    Rule[ResultWriter](
        "parameters.bucket",
        "is required",  # CEL does not see the path in its place
        lambda writer: (
            writer.parameters is None
            or writer.parameters.bucket is not None
            or writer.parameters.bucket_path is not None
        ),
    ),
    Rule[ResultWriter](
        "arguments.bucket",
        "is required",
        lambda writer: writer.arguments is None or writer.arguments.bucket is not None,
        "!has(self.arguments) || has(self.arguments.bucket)",
    ),
    Rule[ResultWriter](
        "writerConfig.outputType",
        "must be JSON or JSONL; PARQUET is for the transformation COMPACT, with a resource",
        lambda writer: (
            writer.writer_config.output_type is not OutputType.PARQUET
            or (writer.resource is not None and writer.writer_config.transformation is Transformation.COMPACT)
        ),
        "self.writerConfig.outputType != 'PARQUET' || (has(self.resource)"
        " && has(self.writerConfig.transformation) && self.writerConfig.transformation == 'COMPACT')",
    ),
)

_S3: Final = (
    Rule[S3](
        "credentialsSecretRef",
        "is required with an endpoint: the operator's own credentials are for its own server",
        lambda s3: s3.endpoint is None or s3.credentials_secret_ref is not None,
        "!has(self.endpoint) || has(self.credentialsSecretRef)",
    ),
)

_REDRIVE_FILTER: Final = (
    Rule[RedriveFilter](
        "errorEquals",
        "is required without indexes: a filter names errors, children or both",
        lambda chosen: chosen.error_equals is not None or chosen.indexes is not None,
        "has(self.errorEquals) || has(self.indexes)",
    ),
    Rule[RedriveFilter](
        "indexes",
        "must name the smaller number of a range first, as in 0-99",
        lambda chosen: all(_ascends(part) for part in (chosen.indexes or "").split(",") if "-" in part),
        "!has(self.indexes) || self.indexes.split(',').all(r, !r.contains('-')"
        " || int(r.split('-')[0]) <= int(r.split('-')[1]))",
    ),
)

RULES: Final[dict[type[Model], tuple[Rule[Any], ...]]] = {
    MapRunSpec: _SPEC,
    **READER_RULES,
    ItemProcessor: _ITEM_PROCESSOR,
    Retrier: _RETRIER,
    ResultWriter: _RESULT_WRITER,
    RedriveFilter: _REDRIVE_FILTER,
    S3: _S3,
}
"""What must hold of each struct of the model."""
