"""Where a spec holds paths and expressions, and what both query languages have in common.

Rule 1: `$` (JSONPath) and `$states.input` (JSONata) are the effective input: the part of the input at `inputPath`.
Rule 2: what fails while it is evaluated ends the run in AWS's words, behind the sentence that names the state (§12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from maprun.core import jsonata, paths, payload
from maprun.core.rule import NUMBERS, is_expression, value_at
from maprun.errors import Problem, RunFailed, StatesError
from maprun.model import MapRunSpec, QueryLanguage

Evaluate = Callable[[Any, dict[str, Any]], Any]
"""The value for (effective input, context object). `RunFailed` when there is none."""

_SENTENCE: Final = "An error occurred while executing the state"
EVALUATION: Final = frozenset({StatesError.RUNTIME, StatesError.QUERY_EVALUATION_ERROR})


def problems(spec: MapRunSpec) -> Iterator[Problem]:
    """What is wrong with the paths and expressions in a spec, each with its exact field; CEL cannot tell."""
    yield from _problems_of_jsonata(spec) if spec.query_language is QueryLanguage.JSONATA else _problems_of_paths(spec)


def _problems_of_paths(spec: MapRunSpec) -> Iterator[Problem]:
    fields = ["inputPath", "resultPath", *(f"{field}Path" for field in NUMBERS)]
    if spec.item_reader is None:  # with a reader itemsPath is ignored, as AWS does
        fields.append("itemsPath")
    for field in fields:
        path = value_at(spec, field)
        if path is not None and (wrong := paths.problem_in_reference(path)):
            yield Problem(f"spec.{field}", wrong)
    if spec.result_path.startswith("$$"):
        yield Problem("spec.resultPath", "must begin with a single $: it points into the input")
    for field in ("itemReader.parameters", "itemSelector", "itemBatcher.batchInput", "resultWriter.parameters"):
        yield from payload.problems(plain(value_at(spec, field)), f"spec.{field}")
    yield from payload.problems(spec.result_selector, "spec.resultSelector")


def _problems_of_jsonata(spec: MapRunSpec) -> Iterator[Problem]:
    for field in ("itemReader.arguments", "itemSelector", "itemBatcher.batchInput", "resultWriter.arguments", *NUMBERS):
        yield from jsonata.problems(plain(value_at(spec, field)), f"spec.{field}")
    yield from jsonata.problems(spec.output, "spec.output")
    if spec.items is None or isinstance(spec.items, list | dict) or is_expression(spec.items):
        yield from jsonata.problems(spec.items, "spec.items")
    else:
        yield Problem("spec.items", "must be an array, an object, or an expression in {% %} that gives one")


def plain(value: Any) -> Any:
    """A struct of the model as the JSON that the user wrote; everything else as it is."""
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def compile_template(template: Any, at: str, language: QueryLanguage) -> Evaluate:
    """A payload template or JSON with expressions, ready for use. `at` is its place, such as `spec.itemSelector`."""
    if language is QueryLanguage.JSONPATH:
        return payload.compile_template(template, at)
    evaluate = jsonata.compile_template(template, at)
    return lambda document, context: evaluate({"states": {"input": document, "context": context}})


def effective_input(spec: MapRunSpec, context: dict[str, Any] | None = None) -> Any:
    """The input at `inputPath`, which may lead into the context object. `RunFailed` when nothing is there."""
    return spec.input if spec.input_path == "$" else paths.evaluate(spec.input_path, spec.input, context)


@contextmanager
def in_state(context: dict[str, Any], hint: str = "") -> Iterator[None]:
    """What fails inside, `told` with AWS's sentence."""
    try:
        yield
    except RunFailed as failed:
        raise told(failed, context, hint) from None


def told(failed: RunFailed, context: dict[str, Any], hint: str) -> RunFailed:
    """An error of evaluation with AWS's sentence about the state before its cause; others as they are."""
    cause = failed.failure.cause
    if failed.failure.error not in EVALUATION or cause.startswith(_SENTENCE):
        return failed
    name = context.get("State", {}).get("Name", "")
    sentence = f"{_SENTENCE} '{name}' (entered at the event id #2). {cause}"
    return RunFailed(failed.failure.error, sentence, failed.reason).with_hint(failed.failure.hint or hint)
