"""What a run takes from its input once, before anything is read: numbers, arguments of calls, batchInput (§1-§3).

Rule 1: `resolve` puts the literal in the place of each path and expression. Planner and engine see only the result,
        which is kept as the run's frozen spec, so that a restart sees the same.
Rule 2: errors have AWS's names and words (§12). A number's path takes a string of digits, too. A whole number with a
        fraction of 0 counts as whole: the API server drops the fraction, so that the two cannot be told apart.
Rule 3: a number above its bound becomes the bound: it asks for no limit. (AWS clips maxItems in this way.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from maprun.core import expressions, jsonata, nesting, paths
from maprun.core.expressions import compile_template, effective_input, in_state
from maprun.core.intrinsics import shown
from maprun.core.rule import is_expression, value_at
from maprun.core.validation import type_problem
from maprun.errors import RunFailed, StatesError
from maprun.fields import MAX_ITEMS, PAYLOAD_LIMIT, Model
from maprun.model import MAX_CONCURRENCY, MapRunSpec, QueryLanguage
from maprun.model_processing import ItemBatcher
from maprun.model_reading import ItemReader, ReaderConfig, ReaderParameters
from maprun.model_writing import ResultWriter, WriterParameters

T = TypeVar("T", bound=Model)
Parse = Callable[[Any], int | str | None]

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?(\d{1,18}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_PLACES: Final = 6  # behind the point of a percentage, as in the model


class _Run(msgspec.Struct, frozen=True):
    """What the fields of one run are resolved from."""

    spec: MapRunSpec
    document: Any
    context: dict[str, Any]

    def value(self, template: Any, field: str) -> Any:
        """What a template gives."""
        return compile_template(template, f"spec.{field}", self.spec.query_language)(self.document, self.context)


def resolve(spec: MapRunSpec, context: dict[str, Any]) -> MapRunSpec:
    """The spec with literals only, but for what is evaluated for each item (itemSelector), for the items, and for the
    result. `context` is the context object without `Map`.

    Errors: `RunFailed` with States.Runtime, States.QueryEvaluationError, States.ItemReaderFailed (maxItems, and what
    is no bucket or key) or States.ResultWriterFailed.
    """
    with in_state(context):
        run = _Run(spec, effective_input(spec, context), context)
        return replace(
            spec,
            max_concurrency=_integer(run, "maxConcurrency", MAX_CONCURRENCY) or 0,
            max_concurrency_path=None,
            tolerated_failure_count=_integer(run, "toleratedFailureCount", MAX_ITEMS),
            tolerated_failure_count_path=None,
            tolerated_failure_percentage=_percentage(run),
            tolerated_failure_percentage_path=None,
            item_batcher=spec.item_batcher and _batcher(run, spec.item_batcher),
            item_reader=spec.item_reader and _reader(run, spec.item_reader),
            result_writer=spec.result_writer and _writer(run, spec.result_writer),
        )


def items(spec: MapRunSpec, context: dict[str, Any]) -> list[Any] | dict[str, Any]:
    """The items of a run without a reader: the array or object at `itemsPath`, or what `items` gives.

    Errors: `RunFailed` with States.Runtime or States.QueryEvaluationError.
    """
    by_path = spec.query_language is QueryLanguage.JSONPATH
    place = f"spec.itemsPath, {spec.items_path}, must lead to" if by_path else "spec.items must give"
    with in_state(context, f"{place} an array or an object{' in spec.input' if by_path else ''}"):
        document = effective_input(spec, context)
        if by_path:
            return paths.reference(spec.items_path, document, context)
        if spec.items is None:
            if not isinstance(document, list | dict):
                raise RunFailed(
                    StatesError.QUERY_EVALUATION_ERROR, f"Map state input must be an array but was: {shown(document)}"
                )
            return document
        found = compile_template(spec.items, "spec.items", QueryLanguage.JSONATA)(document, context)
        if not isinstance(found, list | dict):
            raise jsonata.unexpected(spec.items, "spec.items", "array", found)
        return found


# ------------------------------------------------------------------------------------------------------------- numbers


def _number(run: _Run, field: str, parse: Callable[[Any], Any], kind: str) -> Any:
    """The literal of a number that may be given by a path or an expression, None where it is not given at all."""
    path, literal = value_at(run.spec, f"{field}Path"), value_at(run.spec, field)
    if path is None and not is_expression(literal):
        return literal
    value = run.value(literal, field) if path is None else paths.evaluate(path, run.document, run.context)
    try:
        if path is None and (isinstance(value, str | bool) or not isinstance(value, int | float)):
            raise jsonata.unexpected(literal, f"spec.{field}", "number", value)
        return parse(value)
    except (ValueError, OverflowError):  # an integer may be beyond every double
        if path is None:
            raise jsonata.unexpected(literal, f"spec.{field}", kind, value) from None
        told = f'The {_name(field)}Path field refers to value "{_text(value)}" which is not a valid {kind}: {path}'
        raise _wrong(told, f"{field}Path") from None


def _integer(run: _Run, field: str, most: int, least: int = 0) -> int | None:
    number = _number(run, field, _whole, "integer")
    if number is not None and number < least:
        raise _wrong(f"{_name(field)} {'must be positive' if least else 'cannot be negative'}.", field)
    return None if number is None else min(number, most)


def _percentage(run: _Run) -> int | str | None:
    field = "toleratedFailurePercentage"
    number: int | str | float | None = _number(run, field, _decimal, "float")
    if not isinstance(number, float):
        return number  # a literal, which the model has judged
    if not 0 <= number <= 100:
        raise _wrong(f"{_name(field)} must be between 0 and 100.", field)
    return f"{abs(number):.{_PLACES}f}".rstrip("0").rstrip(".")  # abs: of -0.0


def _whole(value: Any) -> int:
    """ValueError for what is no whole number."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != math.floor(value):
        raise ValueError
    return int(value)


def _decimal(value: Any) -> float:
    """ValueError for what is no number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError
    return float(value)


def _wrong(cause: str, field: str) -> RunFailed:
    return RunFailed(StatesError.RUNTIME, cause).with_hint(f"spec.{field}")


def _name(field: str) -> str:
    """ASL's name of a field: the last part, in its case."""
    last = field.rpartition(".")[2]
    return last[0].upper() + last[1:]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


# --------------------------------------------------------------------------------------------- reader, batcher, writer


def _batcher(run: _Run, batcher: ItemBatcher) -> ItemBatcher:
    return ItemBatcher(
        max_items_per_batch=_integer(run, "itemBatcher.maxItemsPerBatch", MAX_ITEMS, least=1),
        max_input_bytes_per_batch=_integer(run, "itemBatcher.maxInputBytesPerBatch", PAYLOAD_LIMIT, least=1),
        batch_input=None if batcher.batch_input is None else _batch_input(run, batcher.batch_input),
    )


def _batch_input(run: _Run, template: Any) -> Any:
    """What is kept with the frozen spec and goes into each plan: it must be JSON that can be read again."""
    field = "itemBatcher.batchInput"
    value = run.value(template, field)
    try:
        nesting.bounded(msgspec.json.encode(value))
    except (UnicodeEncodeError, RecursionError):
        cause = f"spec.{field} cannot be written as JSON: it holds half a character, or is nested too deeply"
        raise RunFailed(StatesError.RUNTIME, cause) from None
    return value


def _reader(run: _Run, reader: ItemReader) -> ItemReader:
    called = reader.arguments if reader.parameters is None else reader.parameters
    return replace(
        reader,
        parameters=_called(run, "itemReader", called, ReaderParameters, StatesError.ITEM_READER_FAILED),
        arguments=None,
        reader_config=_config(run, reader.reader_config),
    )


def _config(run: _Run, config: ReaderConfig) -> ReaderConfig:
    most = _number(run, "itemReader.readerConfig.maxItems", _whole, "integer")
    if most < 0:
        raise RunFailed(StatesError.ITEM_READER_FAILED, "field MaxItems must be positive")
    return replace(config, max_items=min(most, MAX_ITEMS), max_items_path=None)


def _writer(run: _Run, writer: ResultWriter) -> ResultWriter:
    if writer.resource is None:
        return writer
    called = writer.arguments if writer.parameters is None else writer.parameters
    parameters = _called(run, "resultWriter", called, WriterParameters, StatesError.RESULT_WRITER_FAILED)
    return replace(writer, parameters=parameters, arguments=None)


def _called(run: _Run, field: str, call: Model | None, kind: type[T], error: StatesError) -> T:
    """The arguments of a call as literals; what is no bucket or key fails as the call would."""
    form = "arguments" if run.spec.query_language is QueryLanguage.JSONATA else "parameters"
    given = run.value(expressions.plain(call), f"{field}.{form}")
    for name, value in given.items():
        if not isinstance(value, str):
            raise RunFailed(error, f"spec.{field}.{form}.{name}: must be a string, not {shown(value)}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as wrong:
        raise RunFailed(error, str(type_problem(wrong, f"spec.{field}.{form}"))) from None
