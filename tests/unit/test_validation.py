"""From a body to a spec, or to all that is wrong with it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.rules import RULES
from maprun.core.rules_edit import EDIT_RULES, Edit, check_edit
from maprun.core.validation import parse
from maprun.errors import Problem, Reason, SpecInvalid
from tests import spec_cases
from tests.spec_cases import BAD, BAD_FOR_PYTHON, EDITS, GOOD, JOB, Case, resource


def problems(body: dict[str, Any]) -> tuple[Problem, ...]:
    with pytest.raises(SpecInvalid) as caught:
        parse(body)
    return caught.value.problems


@pytest.mark.parametrize("case", [*BAD, *BAD_FOR_PYTHON], ids=lambda case: case.sentence)
def test_a_wrong_spec_is_refused_with_its_path_and_what_must_be_there(case: Case) -> None:
    assert problems(case.body) == (Problem(case.path, case.message),)


@pytest.mark.parametrize("body", [pytest.param(body, id=sentence) for sentence, body in GOOD])
def test_a_right_spec_is_accepted(body: dict[str, Any]) -> None:
    parse(body)


def test_all_broken_rules_are_told_at_once() -> None:
    body = resource(
        name="n" * 41,
        label="a b",
        itemReader={"resource": "s3:getObject", "parameters": {"bucket": "data"}},
        itemProcessor={"jobTemplate": {}, "retry": [{"errorEquals": ["States.ALL", "Other"], "backoffRate": "0"}]},
        s3={"endpoint": "http://minio:9000"},
    )
    assert [problem.path for problem in problems(body)] == [
        "metadata.name",
        "spec.label",
        "spec.itemReader.parameters.key",
        "spec.itemReader.readerConfig.inputType",
        "spec.itemProcessor.jobTemplate.spec.template.spec.containers",
        "spec.itemProcessor.retry[0].errorEquals",
        "spec.itemProcessor.retry[0].backoffRate",
        "spec.s3.credentialsSecretRef",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"itemProcessor": {"jobTemplate": JOB}},
            ["apiVersion", "kind", "metadata.name", "spec.itemProcessor"],
            id="a spec without its resource",
        ),
        pytest.param(resource() | {"kind": "Job"}, ["kind"], id="another kind"),
        pytest.param(resource() | {"apiVersion": "maprun.dev/v2"}, ["apiVersion"], id="another version"),
        pytest.param(resource() | {"metadata": None}, ["metadata.name"], id="no metadata"),
        pytest.param(resource() | {"spec": None}, ["spec"], id="an empty spec"),
    ],
)
def test_what_is_no_map_run_is_refused(body: dict[str, Any], expected: list[str]) -> None:
    assert [problem.path for problem in problems(body)] == expected


def test_the_error_is_a_failure_of_the_run_with_all_problems_in_its_cause() -> None:
    with pytest.raises(SpecInvalid) as caught:
        parse(resource(maxConcurrency=-1))
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.failure.cause == "spec.maxConcurrency: must be an integer >= 0"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.sentence)
def test_an_edit_is_taken_or_refused_at_a_field(edit: spec_cases.Edit) -> None:
    old, new = parse(resource(**edit.before)), parse(resource(**edit.after))
    refusals = list(check_edit(Edit(old, new, edit.ended)))
    assert [refusal.path for refusal in refusals] == ([f"spec.{edit.field}"] if edit.field else [])
    assert all(edit.words in refusal.message for refusal in refusals)


def test_every_rule_of_edits_is_broken_by_some_edit() -> None:
    for rule in EDIT_RULES:
        assert any(f"spec.{edit.field}" == rule.field and edit.words in rule.message for edit in EDITS), rule


def test_every_rule_is_broken_by_some_case() -> None:
    judged = [case for case in BAD if case.by_rule]
    for rule in (rule for rules in RULES.values() for rule in rules):
        cases = judged if rule.cel else [*BAD, *BAD_FOR_PYTHON]
        assert any(case.path.endswith(f".{rule.field}") and case.message == rule.message for case in cases), rule


@given(st.integers(0, 10**8 - 1), st.integers(0, 10**6 - 1))
def test_a_decimal_percentage_is_accepted_just_when_it_is_at_most_100(whole: int, parts: int) -> None:
    text = f"{whole}.{parts:06}"
    body = resource(toleratedFailurePercentage=text)
    if Fraction(text) <= 100:
        assert parse(body).percentage == Fraction(text)
    else:
        assert [problem.path for problem in problems(body)] == ["spec.toleratedFailurePercentage"]
