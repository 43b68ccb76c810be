"""Expressions: what they give, AWS's words when they give nothing, AWS's functions, and bounds on all that they may do.

Sources: the recorded cases of areas jsonata and items-path; floci issues 2662, 2736 and 2737 (measured on AWS).
"""

from __future__ import annotations

import copy
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import jsonata, jsonata_engine
from maprun.core.jsonata_values import NOTHING
from maprun.errors import Problem, RunFailed, StatesError

ENTERED = "2026-01-02T03:04:05Z"
CONTEXT = {"Execution": {"Id": "arn"}, "State": {"Name": "S", "EnteredTime": ENTERED}, "Map": {"Item": {"Index": 3}}}
GIVEN = {"a": {"b": 1, "n": None}, "l": [3, 1, 2], "rows": [{"id": 1, "ok": True}, {"id": 2}], "text": "x,y;z"}
FIELD = "spec.itemSelector.f"


def evaluate(expression: str, given: Any = GIVEN, context: Any = CONTEXT, at: str = FIELD) -> Any:
    return jsonata.compile(f"{{% {expression} %}}", at)({"states": {"input": given, "context": context}})


def failing(expression: str, given: Any = GIVEN) -> str:
    """What is told behind the sentence about expression and field."""
    with pytest.raises(RunFailed) as caught:
        evaluate(expression, given)
    assert caught.value.failure.error == StatesError.QUERY_EVALUATION_ERROR
    sentence = f"The JSONata expression '{expression}' specified for the field 'ItemSelector/F' "
    assert caught.value.failure.cause.startswith(sentence)
    return caught.value.failure.cause.removeprefix(sentence)


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$states.input.a.b", 1),
        ("$states.input.a.n", None),
        ("$states.input.rows.id", [1, 2]),
        ("$states.input.rows[ok].id", 1),
        ("$states.context.Map.Item.Index + 1", 4),
        ("$states.input.l^(>$)", [3, 2, 1]),
        ("$sum($states.input.l) / 2", 3),
        ("null", None),
        ("[]", []),
        ("[1]", [1]),
        ("[null, [null]]", [None, [None]]),
        ("{'a': null, 'b': $nothing}", {"a": None}),
        ("$map([1, 2], function($v) { $v * 2 })", [2, 4]),
        ("$string({'a': 1.5, 'b': null})", '{"a":1.5,"b":null}'),
        ("'a' & 1 & true", "a1true"),
        ("$variable := 1", 1),  # base_task_TIMEOUT_SECONDS
        ("$contains('hello$world', /^hello\\$/)", True),  # base_jsonata_regular_expressions_BASE_SINGLE_QUOTE
        ('$contains("hello$world", /^hello\\ /)', False),  # base_jsonata_regular_expressions_BASE_FALSE
        ("$split($states.input.text, /[,;]/)", ["x", "y", "z"]),
        ("$replace('abab', /a(b)/, '$1x')", "bxbx"),
        ("$match('ABC', /b/i).match", "B"),
        ("1/0", "Infinity"),
        ("-1/0", "-Infinity"),
        ("[1/0]", ["Infinity"]),
        ("1e308 * -10", "-Infinity"),
    ],
)
def test_what_an_expression_gives(expression: str, expected: Any) -> None:
    assert evaluate(expression) == expected


def test_a_template_evaluates_its_expressions_and_keeps_the_rest() -> None:
    template = {"a": ["{% $states.input.n %}", "text", {"b": "{% 'x' %}"}], "c": None, "d": "{ no expression }"}
    value = jsonata.compile_template(template, FIELD)({"states": {"input": {"n": 7}, "context": {}}})
    assert value == {"a": [7, "text", {"b": "x"}], "c": None, "d": "{ no expression }"}
    assert template["a"] == ["{% $states.input.n %}", "text", {"b": "{% 'x' %}"}]


def test_a_template_without_expressions_is_given_as_it_is() -> None:
    template = {"a": [1]}
    assert jsonata.compile_template(template, FIELD)({"states": {}}) is template


def test_the_result_of_a_run_is_there_for_its_output() -> None:
    bindings = {"states": {"input": {}, "context": {}, "result": [1, 2]}}
    assert jsonata.compile_template({"n": "{% $count($states.result) %}"}, "spec.output")(bindings) == {"n": 2}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=12,
)


@given(JSON, st.lists(st.sampled_from(["a", "b"]), max_size=3))
def test_a_plain_reference_gives_what_the_library_gives_for_it(document: Any, names: list[str]) -> None:
    """It is walked without the library, for speed."""
    text = ".".join(["$states.input", *names])
    bindings = {"states": {"input": document, "context": {}}}
    slowly = jsonata_engine.Expression(text, "")(bindings)
    if slowly is NOTHING:
        assert failing(text, document) == "returned nothing (undefined)."
    else:
        assert evaluate(text, document) == slowly


@pytest.mark.parametrize(
    "expression",
    [
        "$states.input ~> |a|{'b': 2}|",
        "$append($states.input.l, 4)",
        "$sort($states.input.l)",
        "$reverse($states.input.l)",
        "$shuffle($states.input.l)",
        "$merge([$states.input.a, {'c': 1}])",
        "$states.input.rows{$string(id): $}",
        "$states.input.**",
        "{'all': $states.input}",
    ],
)
def test_the_input_is_never_changed(expression: str) -> None:
    before = copy.deepcopy(GIVEN)
    evaluate(expression)
    assert before == GIVEN


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("expression", "ending"),
    [
        ("$doesNotExist", "returned nothing (undefined)."),  # undefined_reference_…
        ("$states.input.missing", "returned nothing (undefined)."),
        (
            "$randomSeeded(1)",  # math_random_seeded
            "threw an error during evaluation. T1006: Attempted to invoke a non-function",
        ),
        ("$eval('1+1')", "threw an error during evaluation. T1006: Attempted to invoke a non-function"),
        (
            "$sum('a')",
            'threw an error during evaluation. T0412: Argument 1 of function "sum" must be an array of "numbers"',
        ),
        (
            "$abs('x')",
            'threw an error during evaluation. T0410: Argument 1 of function "abs" does not match function signature',
        ),
        (
            "$random('x')",
            "threw an error during evaluation. T0410:"
            ' Argument 1 of function "random" does not match function signature',
        ),
        (
            "1 + 'a'",
            'threw an error during evaluation. T2002: The right side of the "+" operator must evaluate to a number',
        ),
        ("$error('no luck')", "threw an error during evaluation. D3137: no luck"),
        ("$error('\\ud83d')", "threw an error during evaluation. D3137: ?"),
        ("$error($pad('', 9000, 'x'))", "threw an error during evaluation. D3137: ".ljust(4096, "x")),
        ("function($x) { $x }", "returned a function, which is no JSON value."),
        ("[$uppercase]", "returned a function, which is no JSON value."),
        ("$partition([1], 0)", "threw an error during evaluation: the second argument must be 1 or more"),
        ("$range(1, 2, 0)", "threw an error during evaluation: the third argument must not be 0"),
        ("$parse('{')", "threw an error during evaluation: the text is not JSON: Input data was truncated"),
        (
            "$hash('x', 'CRC')",
            "threw an error during evaluation:"
            " the second argument must be one of MD5, SHA-1, SHA-256, SHA-384, SHA-512",
        ),
    ],
)
def test_an_expression_that_fails_says_why_in_the_words_of_aws(expression: str, ending: str) -> None:
    assert failing(expression) == ending


@pytest.mark.parametrize(
    ("at", "template", "field"),
    [
        ("spec.output", "{% $x %}", "Output"),
        ("spec.output", {"result": "{% $x %}"}, "Output/result"),
        ("spec.itemReader.arguments", {"bucket": "{% $x %}"}, "ItemReader/Arguments/bucket"),
        ("spec.itemSelector", {"a": [1, {"b": "{% $x %}"}]}, "ItemSelector/a[1]/b"),
    ],
)
def test_a_field_is_named_as_aws_does(at: str, template: Any, field: str) -> None:
    with pytest.raises(RunFailed, match=re.escape(f"specified for the field '{field}' returned nothing")):
        jsonata.compile_template(template, at)({"states": {"input": {}, "context": {}}})


def test_an_endless_expression_is_quoted_from_its_beginning() -> None:
    with pytest.raises(RunFailed) as caught:
        evaluate("$nothing" + " " * 5_000 + "[0]")
    assert len(caught.value.failure.cause) < 2_200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% 1 + %}", "must be a valid JSONata expression: S0207: Unexpected end of expression"),
        ("{% (1 %}", 'must be a valid JSONata expression: S0203: Expected ")" before end of expression'),
        ("{% %}", "must be a valid JSONata expression: it is empty"),
        (f"{{% {'(' * 4_000} %}}", "must be a valid JSONata expression: it is nested too deeply"),
        (
            "{% /(?=a)/ %}",
            "must be a valid JSONata expression: a regular expression that is not supported:"
            " invalid perl operator: (?=",
        ),
        ("{% 1", "must begin with {% and end with %}, as a JSONata expression, or have neither"),
        (" {% 1 %}", "must begin with {% and end with %}, as a JSONata expression, or have neither"),
        ("{%" + " " * 8_200 + "%}", "must be at most 8,192 bytes long"),
    ],
)
def test_a_malformed_expression_is_told_with_its_place_before_anything_runs(text: str, message: str) -> None:
    template = {"a": ["{% 1 %}", {"b": text}]}
    assert jsonata.problems(template, "spec.output") == (Problem("spec.output.a[1].b", message),)


def test_a_template_that_is_nested_too_deeply_is_refused() -> None:
    template: Any = 1
    for _ in range(65):
        template = [template]
    (problem,) = jsonata.problems(template, "spec.output")
    assert problem.message == "lies deeper than 64 objects and arrays within each other"


# ----------------------------------------------------------------------------------------------------- AWS's functions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$partition([0], 1)", [[0]]),  # array_jsonata.array_partition
        ("$partition([0, 1, 2], 2)", [[0, 1], [2]]),
        ("$partition([0, 1, 2], 5)", [[0, 1, 2]]),
        ("$range(0, 9, 3)", [0, 3, 6, 9]),  # array_jsonata.array_range
        ("$range(0, 10, 3)", [0, 3, 6, 9]),
        ("$range(1, 9, 9)", 1),
        ("$range(1, 9, 2)", [1, 3, 5, 7, 9]),
        ("$hash('input', 'SHA-1')", "140f86aae51ab9e1cda9b4254fe98a74eb54c1a1"),
        ("$random(42)", 0.7275636800328681),
        ("$parse('-0')", 0),  # json_manipulation_jsonata.parse
        ("$parse('1.1')", 1.1),
        ("$parse('true')", True),
        ("$parse('null')", None),
        ("$parse('\"HelloWorld\"')", "HelloWorld"),
        ("$parse('[1, 2, \"HelloWorld\"]')", [1, 2, "HelloWorld"]),
        ('$parse(\'{"Arg1": 1, "Arg2": []}\')', {"Arg1": 1, "Arg2": []}),
        ('$parse(\'{"a": {"b": 2}}\').a.b', 2),
        ("$now()", "2026-01-02T03:04:05.000Z"),
        ("$millis()", 1767323045000),
        ("$now('[Y0001]')", "2026"),
    ],
)
def test_a_function_of_aws_gives_what_was_recorded(expression: str, expected: Any) -> None:
    assert evaluate(expression) == expected


def test_a_uuid_is_one_of_version_4_and_each_call_and_item_and_field_has_another() -> None:
    again = [evaluate("[$uuid(), $uuid()]") for _ in range(2)]
    assert again[0] == again[1]
    other_item = CONTEXT | {"Map": {"Item": {"Index": 4}}}
    all_of_them = [*again[0], evaluate("$uuid()", context=other_item), evaluate("$uuid()", at="spec.output")]
    assert len(set(all_of_them)) == 4
    assert {UUID(each).version for each in all_of_them} == {4}


def test_chance_is_the_same_for_the_same_item_and_evenly_spread() -> None:
    drawn = evaluate("[1..1000].$random()")
    assert drawn == evaluate("[1..1000].$random()")
    assert all(0 <= each < 1 for each in drawn)
    assert 0.45 < sum(drawn) / 1000 < 0.55
    assert sorted(evaluate("$shuffle([1..50])")) == list(range(1, 51))


# -------------------------------------------------------------------------------------------------------------- bounds

TIMEOUT = "threw an error during evaluation: Expression evaluation timeout: Check for infinite loop"
STACK = (
    "threw an error during evaluation: Stack overflow error: Check for non-terminating recursive function."
    " Consider rewriting as tail-recursive"
)
MEMORY = (
    "threw an error during evaluation: Expression evaluation memory limit exceeded: Check for excessive memory usage"
)
DOUBLING = "($p := function($s, $n) {{ $n = 0 ? $s : $p($s & $s, $n - 1) }}; $length($p('x', {})))"
NESTED = "$reduce([1..40], function($a, $v) { [[$a], [$a]] })"


@pytest.mark.parametrize(
    ("expression", "ending"),
    [
        pytest.param("($f := function($x) { $f($x + 1) }; $f(1))", TIMEOUT, id="an endless loop"),
        pytest.param("($f := function($x) { 1 + $f($x + 1) }; $f(1))", STACK, id="an endless recursion"),
        pytest.param("+".join(["1"] * 200), STACK, id="200 terms"),
        pytest.param("[1..873783] ~> $count()", MEMORY, id="873,783 numbers"),
        pytest.param(DOUBLING.format(23), MEMORY, id="2^23 characters"),
        pytest.param("$pad('x', 1e12)", MEMORY, id="a text padded without end"),
        pytest.param("$join([1..1000].$string(), $pad('x', 100000))", MEMORY, id="a long separator"),
        pytest.param("$replace($pad('x', 10000, 'x'), 'x', $pad('y', 10000))", MEMORY, id="a long replacement"),
        pytest.param(
            "$replace($pad('x', 10000, 'x'), /x+/, $pad('$0', 10000, '$0'))", MEMORY, id="a replacement of groups"
        ),
        pytest.param("$match($pad('x', 1000000, 'x'), /x/)", MEMORY, id="a million matches"),
        pytest.param("$formatInteger(1e300, 'I')", MEMORY, id="a Roman numeral"),
        pytest.param("$distinct([1..100000])", MEMORY, id="each compared with each"),
        pytest.param("$toMillis($pad('1', 60, '1'), '[Y][M][D][H][m][s]')", MEMORY, id="a date of many digits"),
        pytest.param(f"$string({NESTED})", TIMEOUT, id="text out of 2^40 arrays"),
        pytest.param(f"($x := {NESTED}; $x.foo)", TIMEOUT, id="a name in 2^40 arrays"),
        pytest.param(f"($x := {NESTED}; $x = {NESTED})", TIMEOUT, id="2^40 arrays compared"),
        pytest.param(f"($x := {NESTED}; $x & '')", TIMEOUT, id="2^40 arrays in a text"),
        pytest.param(f"($x := {NESTED}; $x.**)", TIMEOUT, id="all of 2^40 arrays"),
        pytest.param(f"($x := {NESTED}; $x.*)", TIMEOUT, id="the elements of 2^40 arrays"),
        pytest.param(f"($x := {NESTED}; 1 in $x)", TIMEOUT, id="an element in 2^40 arrays"),
        pytest.param(NESTED, TIMEOUT, id="a result of 2^40 arrays"),
        pytest.param(
            "[1..300].$split($pad('ab ', 100000, 'ab '), / /)", TIMEOUT, id="a long text parted again and again"
        ),
        pytest.param("[1..300].$replace($pad('ab ', 100000, 'ab '), / /, '')", TIMEOUT, id="many replacements"),
        pytest.param("[1..3000].$uppercase($pad('a', 100000))", TIMEOUT, id="a long text read again and again"),
        pytest.param("[1..180] ~> $map(function($x) { [1..5000] })", MEMORY, id="many arrays"),
        pytest.param("($x := [1..60].[[1..100000]]; 1)", TIMEOUT, id="many arrays that nothing reads"),
        pytest.param("($x := [1..20000]; $y := [1..400].($x); 1)", TIMEOUT, id="an array copied again and again"),
        pytest.param("($x := [1..600]; $y := $x@$a.$x@$b; 1)", TIMEOUT, id="each joined with each"),
        pytest.param("($x := {'a': [1..100000]}; $y := [1..40].($x ~> |b|{}|); 1)", TIMEOUT, id="many copies of much"),
        pytest.param("($x := [1..99].$length($formatInteger(1e280, 'w')); 1)", TIMEOUT, id="numbers with long names"),
    ],
)
def test_an_expression_cannot_run_away(expression: str, ending: str) -> None:
    assert failing(expression) == ending


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[1..873782] ~> $count()", 873_782),
        (DOUBLING.format(22), 2**22),
        ("+".join(["1"] * 99), 99),
        ("$sum([1..100000])", 5_000_050_000),
        ("$contains($pad('a', 10000, 'a'), /(a+)+b/)", False),
        ("$distinct([1..1000, 1..1000]) ~> $count()", 1_000),
        ("$toMillis('2026-01-02T03:04:05.006Z')", 1767323045006),
        ("$toMillis('02.01.2026', '[D01].[M01].[Y0001]')", 1767312000000),
    ],
)
def test_what_aws_takes_is_within_the_bounds(expression: str, expected: Any) -> None:
    assert evaluate(expression) == expected


def test_each_evaluation_has_the_whole_budget() -> None:
    expression = jsonata.compile("{% $sum([1..5000].($ * 2)) %}", FIELD)
    for _ in range(20):
        assert expression({"states": {"input": {}, "context": {}}}) == 25_005_000


def test_a_defect_of_the_library_ends_the_expression_alone() -> None:
    assert failing("$states.input.l ~> |$|{'a': 1}|") == "threw an internal error during evaluation."
