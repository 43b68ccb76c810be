"""Intrinsic functions: the grammar of calls, and what each function gives.

Rows marked "recorded" are what AWS answered in a recording, "measured" what others report to have seen there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maprun.core import functions, intrinsics, intrinsics_grammar, paths
from maprun.core.intrinsics_grammar import Call, Scalar, Text
from maprun.errors import RunFailed, StatesError

CONTEXT = {
    "Execution": {"Id": "arn:run", "Name": "airports", "Input": {"csv": "x,y"}},
    "State": {"Name": "airports", "EnteredTime": "2026-09-23T22:58:45Z", "RetryCount": 0},
    "StateMachine": {"Id": "arn:machine", "Name": "machine"},
    "Map": {"Item": {"Index": 3, "Value": "v"}},
}
PAIR = {"Arg1": 1, "Arg2": []}


def call(text: str, document: Any = None, context: dict[str, Any] = CONTEXT) -> Any:
    return intrinsics.compile_call(text, "spec.itemSelector.a.$")(document, context)


def row(text: str, document: Any, result: Any, name: str) -> Any:
    return pytest.param(text, document, result, id=f"{text.partition('(')[0].removeprefix('States.')}: {name}")


# -------------------------------------------------------------------------------------------------------- the functions

ARRAYS = [
    row("States.Array()", {}, [], "nothing (recorded)"),
    row("States.Array($.a, $.b)", {"a": "", "b": None}, ["", None], "what the arguments are (recorded)"),
    row("States.Array(1, States.Array(2.5, 'x'), true)", {}, [1, [2.5, "x"], True], "in an array"),
    row("States.ArrayPartition($.a, $.n)", {"a": [], "n": 3}, [], "nothing to part (recorded)"),
    row("States.ArrayPartition($.a, $.n)", {"a": [0, 1, 2], "n": 2}, [[0, 1], [2]], "a shorter rest (recorded)"),
    row("States.ArrayPartition($.a, $.n)", {"a": [0, 1], "n": 5}, [[0, 1]], "less than one part (recorded)"),
    row("States.ArrayPartition($, 2.6)", [1, 2, 3], [[1, 2], [3]], "fractions are cut off (measured)"),
    row("States.ArrayContains($.a, $.b)", {"a": [], "b": None}, False, "nothing has null (recorded)"),
    row("States.ArrayContains($.a, $.b)", {"a": [[1, 2, 3], 2], "b": [1, 2, 3]}, True, "an array (recorded)"),
    row("States.ArrayContains($.a, $.b)", {"a": [{"1": 2, "2": []}], "b": []}, False, "what is inside (recorded)"),
    row("States.ArrayContains($.a, $.b)", {"a": [{"1": 2}], "b": {"1": 2}}, True, "an object (recorded)"),
    row("States.ArrayContains($, false)", [True, False], True, "false (recorded)"),
    row("States.ArrayContains($, false)", [0, 1], False, "false is not 0 (measured)"),
    row("States.ArrayContains($, true)", ["true"], True, "true is found as a text (measured)"),
    row("States.ArrayContains($.a, $.b)", {"a": [{"a": 1, "b": 2}], "b": {"b": 2, "a": 1}}, False, "order (measured)"),
    row("States.ArrayRange(0, 9, 3)", {}, [0, 3, 6, 9], "the end is hit (recorded)"),
    row("States.ArrayRange(0, 10, 3)", {}, [0, 3, 6, 9], "the end is not hit (recorded)"),
    row("States.ArrayRange(5, 1, -2)", {}, [5, 3, 1], "downwards (measured)"),
    row("States.ArrayRange(3, 3, -1)", {}, [3], "one element (measured)"),
    row("States.ArrayRange(5, 1, 1)", {}, [], "the wrong way (measured)"),
    row("States.ArrayRange(5.4, -0.6, -2.4)", {}, [5, 3, 1], "fractions are cut off (measured)"),
    row("States.ArrayRange(1, 1000, 1)", {}, list(range(1, 1001)), "as many as there may be (measured)"),
    row("States.ArrayGetItem($, 1)", [10, 20, 30], 20, "one"),
    row("States.ArrayGetItem($, 1.9)", [10, 20, 30], 20, "fractions are cut off (measured)"),
    row("States.ArrayGetItem($, 999)", [], None, "of an empty array (measured)"),
    row("States.ArrayLength($)", [1, 2, 3, 4, 5, 6, 7, 8, 9], 9, "nine (recorded)"),
    row("States.ArrayLength($.none[*])", {}, 0, "an indefinite path without matches (measured)"),
    row("States.ArrayUnique($)", [1, 2, 3, 3, 3, 4], [1, 2, 3, 4], "numbers"),
    row("States.ArrayUnique($)", ["b", None, "a", None, "b"], ["b", None, "a"], "the first stays in its place"),
    row("States.ArrayUnique($)", [1, "1", True, 1.0, 1], [1, "1", True, 1.0], "types differ"),
    row("States.ArrayUnique($)", [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1, "b": 2}], "equal objects (measured)"),
]
TEXTS = [
    row("States.Format('Formatting argument {}.', $.a)", {"a": ""}, "Formatting argument .", "empty (recorded)"),
    row("States.Format('{}', $.a)", {"a": None}, "null", "null (recorded)"),
    row("States.Format('{}', $.a)", {"a": 1.1}, "1.1", "a number (recorded)"),
    row("States.Format('{}', $.a)", {"a": '{"Arg1": 1}'}, '{"Arg1": 1}', "braces in a value (recorded)"),
    row("States.Format('fst={} snd={}', $, $)", PAIR, "fst={Arg1=1, Arg2=[]} snd={Arg1=1, Arg2=[]}", "recorded"),
    row("States.Format('{}', $)", [True, None, "a", [1]], "[true, null, a, [1]]", "an array"),
    row("States.Format('{} {}', $$.Execution.Name, $$.StateMachine)", {}, "airports {Id=arn:machine, Name=machine}",
        "the context object (recorded)"),
    row("States.Format($.t, 1)", {"t": "n={}"}, "n=1", "a template out of the input (measured)"),
    row("States.Format($.t)", {"t": r"\{\} C:\d"}, r"{} C:\d", "escaped braces out of the input"),
    row(r"States.Format('It\'s \{{}\} \\ \\{}', 1, 2)", {}, r"It's {1} \ \2", "escapes in a literal"),
    row("States.Format('  {}{} ', 'a', 'b')", {}, "  ab ", "blanks stay (measured)"),
    row("States.Format('a,b)(\"$.x')", {}, 'a,b)("$.x', "what would end an argument, in quotes"),
    row("States.StringSplit($, ',')", ",,,,", [], "only separators (recorded)"),
    row("States.StringSplit($, '.+,=')", "This.is+a,test=", ["This", "is", "a", "test"], "a set (recorded)"),
    row("States.StringSplit($$.Execution.Input.csv, ',')", {}, ["x", "y"], "of the context object (recorded)"),
    row("States.StringSplit($, ',')", ",a,,b,\n", ["a", "b", "\n"], "empty tokens are dropped (recorded)"),
    row("States.StringSplit($, '')", "abc", ["abc"], "no separator"),
    row("States.StringSplit($, '')", "", [], "nothing"),
    row("States.StringSplit($, '[]-^')", "a[b]c-d^e", ["a", "b", "c", "d", "e"], "signs of patterns"),
    row("States.StringToJson($)", "", None, "nothing is null (recorded)"),
    row("States.StringToJson($)", " ", None, "a blank is null (recorded)"),
    row("States.StringToJson($)", "null", None, "null (recorded)"),
    row("States.StringToJson($)", "-0", 0, "minus zero (recorded)"),
    row("States.StringToJson($)", "1.1", 1.1, "a number (recorded)"),
    row("States.StringToJson($)", '[1, 2, "HelloWorld"]', [1, 2, "HelloWorld"], "an array (recorded)"),
    row("States.StringToJson($)", ' {"Arg1": 1, "Arg2": []} ', PAIR, "an object with blanks (measured)"),
    row("States.StringToJson($)", "1" * 40, int("1" * 40), "a long integer"),
    row("States.JsonToString($)", None, "null", "null (recorded)"),
    row("States.JsonToString($)", 1.1, "1.1", "a number (recorded)"),
    row("States.JsonToString($)", "HelloWorld", '"HelloWorld"', "a text (recorded)"),
    row("States.JsonToString($)", [1, 2, "HelloWorld"], '[1,2,"HelloWorld"]', "compact (recorded)"),
    row("States.JsonToString($)", PAIR, '{"Arg1":1,"Arg2":[]}', "an object (recorded)"),
    row("States.Base64Encode($)", "", "", "nothing (recorded)"),
    row("States.Base64Encode($)", "Data to encode", "RGF0YSB0byBlbmNvZGU=", "a text (recorded)"),
    row("States.Base64Encode($)", "✓", "4pyT", "beyond ASCII (measured)"),
    row("States.Base64Decode($)", "RGF0YSB0byBlbmNvZGU=", "Data to encode", "a text (recorded)"),
    row("States.Base64Decode($)", " YWJj\nZA== ", "abcd", "blanks are skipped (measured)"),
    row("States.Base64Decode($)", "YWJjZA", "abcd", "without padding (measured)"),
    row("States.Base64Decode($)", "YWJj=ZA==", "abc", "what lies behind the padding is ignored"),
    row("States.Base64Decode($)", "!!!", "", "what is no Base64 at all (measured)"),
    row("States.Base64Decode($)", "YWJjZ", "abc", "a rest of 6 bits"),
    row("States.Base64Decode($)", "-_8=", "��", "the other alphabet, and bytes that are no UTF-8"),
    row("States.Hash($, 'MD5')", "input data", "812f45842bc6d66ee14572ce20db8e86", "MD5 (recorded)"),
    row("States.Hash($, 'SHA-1')", "input data", "aaff4a450a104cd177d28d18d74485e8cae074b7", "SHA-1 (recorded)"),
    row("States.Hash($, 'SHA-256')", "input data",
        "b4a697a057313163aee33cd8d40c66e9f0f177e00cac2de32475ffff6169c3e3", "SHA-256 (recorded)"),
    row("States.Hash($, 'SHA-384')", "input data",
        "d28a7d5cf25a74f11a50a18452b75e04bb3d70c9dd0510d6123aa008c756511b87525bdc835ebb27e1fb9e9374a15562",
        "SHA-384 (recorded)"),
    row("States.Hash($, 'SHA-512')", "input data",
        "6ce4adb348546d4f449c4d25aad9a7c9cb711d9e91982d3f0b29ca2f3f47d4ce"
        "2deba23bf2954f0f1d593fc50283731a533d30d425402d4f91316d871303aac4", "SHA-512 (recorded)"),
    row("States.Hash(123, 'MD5')", {}, "202cb962ac59075b964b07152d234b70", "a number is hashed as its text (measured)"),
    row("States.Hash($, 'MD5')", "x" * 10_000, "b567fcb68d8555227123ab87e255872e", "as long as it may be (measured)"),
]  # fmt: skip
OTHERS = [
    row(
        "States.JsonMerge($.fst, $.snd, false)",
        {"fst": {"a": {"a1": 1, "a2": 2}, "b": 2, "d": 3}, "snd": {"a": {"a3": 1, "a4": 2}, "c": 3, "d": 4}},
        {"a": {"a3": 1, "a4": 2}, "b": 2, "c": 3, "d": 4},
        "shallow, the second wins (recorded)",
    ),
    row("States.JsonMerge($, $, 'false')", {"a": 1}, {"a": 1}, "all but true is shallow (measured)"),
    row("States.MathAdd(1.49, 1.5)", {}, 3, "both are rounded (recorded)"),
    row("States.MathAdd(-1.5, 0)", {}, -1, "halves up (recorded)"),
    row("States.MathAdd(-2.5, 0)", {}, -2, "halves up, below zero (recorded)"),
    row("States.MathAdd(2.5, 0)", {}, 3, "halves up, above zero (recorded)"),
    row("States.MathAdd(-0.5, 0.5)", {}, 1, "each for itself (recorded)"),
    row("States.MathAdd(0.49999999999999994, 0)", {}, 0, "just below a half"),
    row("States.MathAdd($.n, -1)", {"n": 3}, 2, "a step down (recorded)"),
    row("States.MathAdd(2147483646, 1)", {}, 2147483647, "as much as there may be (measured)"),
    row("States.MathAdd(1e2, 0)", {}, 100, "an exponent"),
    row("States.MathRandom(7, 8)", {}, 7, "the end is left out"),
    row("States.MathRandom(7.9, 8.1)", {}, 7, "fractions are cut off (measured)"),
    row("States.MathRandom(0, 100, 42)", {}, 30, "with a seed, as Java's generator"),
    row("States.MathRandom(0, 100, 42.9)", {}, 30, "whose fraction is cut off, too"),
    row("States.MathRandom(1, 65, -10)", {}, 18, "with a seed below zero, and a power of two"),
    row("States.MathRandom(0, 1500000000, 7)", {}, 1371249164, "with a wide range"),
    row("States.MathRandom(0, 12345, 9223372036854775807)", {}, 1433, "with the largest seed"),
    row(
        "States.ArrayGetItem(States.StringSplit($$.StateMachine.Id, ':'), States.MathAdd(States.ArrayLength("
        "States.StringSplit($$.StateMachine.Id, ':')), -1))",
        {},
        "machine",
        "calls within calls",
    ),
]


@pytest.mark.parametrize(("text", "document", "result"), [*ARRAYS, *TEXTS, *OTHERS])
def test_gives(text: str, document: Any, result: Any) -> None:
    given = call(text, document)
    assert given == result
    assert type(given) is type(result)


def test_all_functions_are_called_above() -> None:
    called = {name for each in (*ARRAYS, *TEXTS, *OTHERS) for name in re.findall(r"States\.(\w+)", each.values[0])}
    assert called | {"UUID"} == set(functions.FUNCTIONS)
    assert len(functions.FUNCTIONS) == 18


def failing(text: str, document: Any, function: str, why: str) -> Any:
    return pytest.param(
        text, document, f"Invalid arguments in States.{function}: {why}", id=f"{text[:50]} of {document!r:.30}"
    )


@pytest.mark.parametrize(
    ("text", "document", "why"),
    [
        failing("States.ArrayPartition($, 2)", {}, "ArrayPartition", "the first argument must be an array"),
        failing("States.ArrayPartition($, 0.6)", [], "ArrayPartition", "the second argument must be 1 or more"),
        failing("States.ArrayPartition($, '2')", [], "ArrayPartition", "the second argument must be a number"),
        failing("States.ArrayContains($, 2)", "text", "ArrayContains", "the first argument must be an array"),
        failing("States.ArrayRange(1, 10, 0.49)", {}, "ArrayRange", "the third argument must not be 0"),
        failing("States.ArrayRange(1, 1001, 1)", {}, "ArrayRange", "the array would have more than 1000 elements"),
        failing("States.ArrayRange(1001, 1, -1)", {}, "ArrayRange", "the array would have more than 1000 elements"),
        failing("States.ArrayRange(0, 1e300, 1)", {}, "ArrayRange", "the array would have more than 1000 elements"),
        failing("States.ArrayRange(null, 1, 1)", {}, "ArrayRange", "the first argument must be a number"),
        failing(
            "States.ArrayGetItem($, 3)",
            [1, 2, 3],
            "ArrayGetItem",
            "the array has 3 elements, and none with the index 3",
        ),
        failing(
            "States.ArrayGetItem($, -1)", [1], "ArrayGetItem", "the array has 1 elements, and none with the index -1"
        ),
        failing("States.ArrayLength($)", {"k": 1}, "ArrayLength", "the first argument must be an array"),
        failing("States.ArrayUnique($)", "text", "ArrayUnique", "the first argument must be an array"),
        failing("States.Format($, 1)", 123, "Format", "the first argument must be a string"),
        failing("States.Format($, 1)", "{}{}", "Format", "number of arguments do not match the occurrences of {}"),
        failing("States.StringSplit($, ',')", 123, "StringSplit", "the first argument must be a string"),
        failing("States.StringSplit('a', $)", None, "StringSplit", "the second argument must be a string"),
        failing("States.StringToJson($)", {"a": 1}, "StringToJson", "the argument must be a string"),
        failing("States.StringToJson($)", "{bad}", "StringToJson", "the text is not JSON: "),
        failing("States.StringToJson($)", "1e999", "StringToJson", "the text is not JSON: "),
        failing("States.StringToJson($)", "NaN", "StringToJson", "the text is not JSON: "),
        failing("States.StringToJson($)", "[" * 300 + "]" * 300, "StringToJson", "a text holds half a character, or "),
        failing("States.StringToJson($)", '"\ud800"', "StringToJson", "a text holds half a character, or "),
        failing("States.JsonToString($)", "\ud800", "JsonToString", "a text holds half a character, or "),
        failing("States.Base64Encode($)", 123, "Base64Encode", "the argument must be a string"),
        failing(
            "States.Base64Encode($)", "a" * 10_001, "Base64Encode", "the text has 10001 characters; at most 10000 "
        ),
        failing("States.Base64Encode($)", "\udfff", "Base64Encode", "a text holds half a character, or "),
        failing(
            "States.Base64Decode($)", "a" * 10_001, "Base64Decode", "the text has 10001 characters; at most 10000 "
        ),
        failing("States.Hash($, 'MD5')", "a" * 10_001, "Hash", "the text has 10001 characters; at most 10000 "),
        failing("States.Hash($, 'MD5')", None, "Hash", "the first argument must not be null"),
        failing("States.Hash('a', 'sha-256')", {}, "Hash", "the second argument must be one of MD5, SHA-1, "),
        failing("States.Hash('a', $)", ["MD5"], "Hash", "the second argument must be one of MD5, SHA-1, "),
        failing("States.JsonMerge($, null, false)", {}, "JsonMerge", "the first two arguments must be objects"),
        failing("States.JsonMerge($, $, true)", {}, "JsonMerge", "the third argument must be false"),
        failing("States.MathAdd(true, 1)", {}, "MathAdd", "the first argument must be a number"),
        failing("States.MathAdd(1, '2')", {}, "MathAdd", "the second argument must be a number"),
        failing("States.MathAdd(2147483647, 1)", {}, "MathAdd", "the arguments and their sum must lie between "),
        failing("States.MathAdd(-3000000000, 1)", {}, "MathAdd", "the arguments and their sum must lie between "),
        failing("States.MathAdd($, 1)", 10**400, "MathAdd", "the arguments and their sum must lie between "),
        failing("States.MathAdd($, 1)", float("inf"), "MathAdd", "the first argument must be a number"),
        failing("States.MathRandom(1.4, 1.6)", {}, "MathRandom", "the second argument must be above the first, both "),
        failing("States.MathRandom(10, 5)", {}, "MathRandom", "the second argument must be above the first, both "),
        failing("States.MathRandom(-2e9, 2e9)", {}, "MathRandom", "the second argument must be above the first, both "),
        failing("States.MathRandom(1, 10, null)", {}, "MathRandom", "the third argument must be a number"),
        failing("States.Array($, $)", "x" * 200_000, "Array", "the result would have more than 262144 characters"),
        failing("States.Array($)", [0] * 300_000, "Array", "the result would have more than 262144 characters"),
        failing("States.JsonMerge($, $, false)", {"k" * 300_000: 1}, "JsonMerge", "the result would have more than "),
        failing(
            "States.Format('{}{}', $, $)", "x" * 200_000, "Format", "the result would have more than 262144 characters"
        ),
    ],
)
def test_arguments_that_do_not_fit_fail_the_run(text: str, document: Any, why: str) -> None:
    with pytest.raises(RunFailed) as caught:
        call(text, document)
    assert caught.value.failure.error == StatesError.RUNTIME
    assert caught.value.failure.cause.startswith(f"The function '{text}' had the following error: {why}")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param(
            "States.Format('{} {}', $.other, $.a.b)",
            "The function 'States.Format('{} {}', $.other, $.a.b)' had the following error: The JsonPath argument for "
            "the field '$.a.b' could not be found in the input '{\"other\":[1]}'",
            id="a name, in a later argument (measured)",
        ),
        pytest.param(
            "States.Array(States.ArrayLength($.nope))",
            "The function 'States.Array(States.ArrayLength($.nope))' had the following error: The JsonPath argument "
            "for the field '$.nope' could not be found in the input '{\"other\":[1]}'",
            id="in a call within a call: the whole is quoted (measured)",
        ),
        pytest.param(
            "States.Array($.other[5])",
            "The function 'States.Array($.other[5])' had the following error: The JsonPath argument for the field "
            "'$.other[5]' could not be found in the input '{\"other\":[1]}'",
            id="an index beyond the end is no null here (measured)",
        ),
        pytest.param(
            "States.Array($$.Map.Item.Key)",
            "The function 'States.Array($$.Map.Item.Key)' had the following error: The JsonPath argument for the field "
            "'$.Map.Item.Key' could not be found in the input '{\"other\":[1]}'",
            id="not in the context object: the input is quoted all the same (reported)",
        ),
    ],
)
def test_an_argument_that_points_at_nothing_fails_with_the_words_of_aws(text: str, cause: str) -> None:
    with pytest.raises(RunFailed) as caught:
        call(text, {"other": [1]})
    assert caught.value.failure.error == StatesError.RUNTIME
    assert caught.value.failure.cause == cause


@pytest.mark.parametrize(
    ("template", "brace"),
    [
        pytest.param("Hello {", "matching '}' not found for '{'", id="open"),
        pytest.param("}", "matching '{' not found for '}'", id="closed"),
        pytest.param("{{}}", "matching '}' not found for '{'", id="doubled"),
        pytest.param("{0}", "matching '}' not found for '{'", id="with a number"),
        pytest.param("{\\}", "matching '}' not found for '{'", id="half escaped"),
    ],
)
def test_a_brace_alone_is_no_template(template: str, brace: str) -> None:
    """Before the run, when it is a literal; else when the call is made."""
    told = f"Invalid template in States.Format: {brace}"
    assert intrinsics.problem_in(f"States.Format('{template}', 1)") == told
    with pytest.raises(RunFailed, match=re.escape(told)):
        call("States.Format($, 1)", template)


# -------------------------------------------------------------------------------------------------------------- chance


def test_a_uuid_has_the_shape_of_version_4() -> None:
    shape = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(shape, call("States.UUID()"))
    assert re.fullmatch(shape, call("States.UUID($, 'ignored')"))  # measured


@pytest.mark.parametrize(
    "context",
    [
        pytest.param({**CONTEXT, "Execution": {**CONTEXT["Execution"], "Id": "arn:other"}}, id="another run"),
        pytest.param({**CONTEXT, "Map": {"Item": {"Index": 4, "Value": "v"}}}, id="another item"),
        pytest.param({**CONTEXT, "State": {**CONTEXT["State"], "RetryCount": 1}}, id="another try of the state"),
        pytest.param(
            {**CONTEXT, "State": {**CONTEXT["State"], "EnteredTime": "2027"}}, id="another entry of the state"
        ),
        pytest.param({}, id="no context at all"),
    ],
)
def test_chance_differs(context: dict[str, Any]) -> None:
    assert call("States.UUID()", context=context) != call("States.UUID()")


def test_chance_is_the_same_for_the_same_item_whatever_it_holds() -> None:
    same = {**CONTEXT, "Map": {"Item": {"Index": 3, "Value": "changed"}}}
    assert call("States.UUID()", context=same) == call("States.UUID()") == "3b2229f1-7458-4f79-810e-58c4961cebeb"


def test_random_numbers_are_spread() -> None:
    numbers = [
        call("States.MathRandom(-5, 5)", context={**CONTEXT, "Map": {"Item": {"Index": index}}}) for index in range(500)
    ]
    assert set(numbers) == set(range(-5, 5))
    assert max(map(numbers.count, numbers)) < 90


# ------------------------------------------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        pytest.param("States.UUID()", Call("UUID", (), 0), id="no arguments"),
        pytest.param("States.UUID( \n)", Call("UUID", (), 0), id="blanks instead"),
        pytest.param(
            "States.Array( 'a' ,-1.5e3, true,false,null )",
            Call("Array", (Text("a"), *map(Scalar, (-1500.0, True, False, None))), 0),
            id="scalars with blanks around",
        ),
        pytest.param(
            "States.Array(States.Array(), States.UUID())",
            Call("Array", (Call("Array", (), 13), Call("UUID", (), 29)), 0),
            id="calls know where they begin",
        ),
        pytest.param(
            "States.Array($, $$.a, $.b[0,1], $['x,)'])",
            Call("Array", tuple(map(paths.compile_path, ("$", "$$.a", "$.b[0,1]", "$['x,)']"))), 0),
            id="paths with what would end an argument",
        ),
    ],
)
def test_parses(text: str, parsed: Call) -> None:
    assert repr(intrinsics_grammar.parse(text)) == repr(parsed)


def test_a_filter_may_stand_in_an_argument() -> None:
    document = {"a": [{"k": "x)", "n": 1}, {"k": "y", "n": 2}]}
    assert call("States.ArrayLength($.a[?(@.k == 'x)' || (@.n > 1))])", document) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "it ends at character 1, where States.<name>( is expected", id="empty"),
        pytest.param("States", "where States.<name>( is expected", id="half a name"),
        pytest.param("States.UUID", "where States.<name>( is expected", id="no parentheses"),
        pytest.param("States.UUID ()", "where States.<name>( is expected", id="a blank in front of them"),
        pytest.param(" States.UUID()", "where States.<name>( is expected", id="a blank in front of all (linter)"),
        pytest.param("States.UUID() ", "' ' stands at character 14, where the end of the", id="a blank behind all"),
        pytest.param("States.UUID())", "')' stands at character 14, where the end of the call", id="one too many"),
        pytest.param("States.UUID(", "it ends at character 13, where a string in single quotes", id="an open call"),
        pytest.param("States.UUID(,)", "',)' stands at character 13", id="a comma alone"),
        pytest.param("States.Array(1,)", "')' stands at character 16", id="a comma at the end"),
        pytest.param("States.Array(1 2)", "'2)' stands at character 16, where a comma or a", id="no comma"),
        pytest.param("States.Array([1])", "'[1])' stands at character 14", id="an array"),
        pytest.param('States.Array("a")', "stands at character 14", id="double quotes"),
        pytest.param("States.Array('a)", "stands at character 14", id="an open quote"),
        pytest.param(r"""States.StringToJson('{"a":"\"b\""}')""", "at character 21", id="a wrong escape (recorded)"),
        pytest.param("States.Array('a\\", "stands at character 14", id="a backslash at the end"),
        pytest.param("States.Array(1.)", "'.)' stands at character 15", id="a point behind a number"),
        pytest.param("States.Array(.5)", "'.5)' stands at character 14", id="a point in front of one"),
        pytest.param("States.Array(01)", "'1)' stands at character 15", id="a zero in front of one"),
        pytest.param("States.Array(٣)", "'٣)' stands at character 14", id="a digit of another script"),
        pytest.param("States.Array(1e999)", "the number 1e999 is out of range", id="a number beyond all"),
        pytest.param("States.Array(-" + "9" * 5_000 + ")", "the number -999", id="a very long number"),
        pytest.param("States.Array(truely)", "'ly)' stands at character 18", id="not quite true"),
        pytest.param("States.Array($.a[x])", "'[x])' stands at character 17", id="a malformed path"),
        pytest.param("States.Array($name)", "'name)' stands at character 15", id="a variable"),
        pytest.param("States.Array($.a[?(@.x =~ 'b')])", "is not supported from", id="a filter that is not supported"),
        pytest.param("States.Array($" + ".a" * 600 + ")", "it is longer than 1,024 characters", id="a path too long"),
        pytest.param("States.Nope($.x)", "there is no function States.Nope; there are Array, ", id="an unknown name"),
        pytest.param("States.uuid()", "there is no function States.uuid; there are", id="a name in small letters"),
        pytest.param("States.Format()", "States.Format takes at least 1 argument, not 0", id="too few of any number"),
        pytest.param("States.ArrayLength()", "States.ArrayLength takes 1 argument, not 0", id="too few of one"),
        pytest.param("States.MathAdd(1, 2, 3)", "States.MathAdd takes 2 arguments, not 3", id="too many"),
        pytest.param("States.MathRandom(1)", "States.MathRandom takes 2 to 3 arguments, not 1", id="too few of some"),
        pytest.param("States.Format('{}')", "Invalid arguments in States.Format: number of arguments do not match the "
                     "occurrences of {}", id="a template without its value"),
        pytest.param("States.Format('', 1)", "number of arguments do not match the occurrences", id="a value too many"),
        pytest.param("States.Array('" + "a" * 10_000 + "')", "it is longer than 10,000 characters", id="too long"),
        pytest.param("States.Array(" * 65 + ")" * 65, "there are more than 64 calls within each other", id="too deep"),
    ],
)  # fmt: skip
def test_problems(text: str, problem: str) -> None:
    assert problem in (intrinsics.problem_in(text) or "")
    with pytest.raises(RunFailed) as caught:
        intrinsics.compile_call(text)
    assert caught.value.failure.error == StatesError.RUNTIME


def test_calls_may_lie_within_each_other() -> None:
    deep: list[Any] = call("States.Array(" * 64 + ")" * 64)
    for _ in range(63):
        (deep,) = deep
    assert deep == []


# ---------------------------------------------------------------------------------------------------------------- laws

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
LISTS = st.lists(VALUES, max_size=8)


@given(TEXT)
def test_format_without_braces_is_identity(text: str) -> None:
    plain = re.sub(r"[{}]", "", text)
    assert call("States.Format($)", plain) == plain
    assert call("States.Format('{}', $)", text) == text


@given(VALUES)
def test_json_survives_being_a_text(value: Any) -> None:
    assert call("States.StringToJson(States.JsonToString($))", value) == value


@given(LISTS, st.integers(1, 9))
def test_parts_of_an_array_are_the_array(array: list[Any], size: int) -> None:
    parts = call(f"States.ArrayPartition($, {size})", array)
    assert [each for part in parts for each in part] == array
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts[-1:])


@given(LISTS)
def test_unique_elements_are_all_elements_once(array: list[Any]) -> None:
    def key(value: Any) -> str:
        return str(call("States.JsonToString($)", value))

    unique = call("States.ArrayUnique($)", array + array)
    assert len(set(map(key, unique))) == len(unique)
    assert call("States.ArrayUnique($)", unique) == unique
    assert all(call("States.ArrayContains($.a, $.v)", {"a": unique, "v": each}) for each in array)


@given(st.text(st.characters(codec="utf-8")))
def test_base64_round_trip(text: str) -> None:
    assert call("States.Base64Decode(States.Base64Encode($))", text) == text


@given(st.text("ab,;", max_size=20), st.text(",;", min_size=1, max_size=3))
def test_tokens_hold_all_but_the_separators(text: str, separators: str) -> None:
    tokens = call("States.StringSplit($.text, $.by)", {"text": text, "by": separators})
    assert "".join(tokens) == re.sub(f"[{separators}]", "", text)
    assert "" not in tokens


@given(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**31 - 1), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_random_numbers_lie_within_their_bounds(low: int, width: int, seed: int | None) -> None:
    high = min(low + width, 2**31 - 1)
    if low < high:
        text = f"States.MathRandom({low}, {high})" if seed is None else f"States.MathRandom({low}, {high}, {seed})"
        assert low <= call(text) < high


def printed(argument: Any) -> str:
    if isinstance(argument, Call):
        return f"States.{argument.name}({', '.join(map(printed, argument.arguments))})"
    if isinstance(argument, Text):
        return f"'{argument.literal}'"
    if isinstance(argument, paths.Path):
        return argument.text
    return {None: "null", True: "true", False: "false"}.get(argument.value, str(argument.value))


LITERALS = st.lists(st.sampled_from(["a", " ", ",", ")", '"', "{}", "\\'", "\\\\", "\\{", "\\}", "é"]), max_size=5)
ARGUMENTS = st.recursive(
    LITERALS.map(lambda parts: Text("".join(parts)))
    | st.sampled_from([Scalar(value) for value in (None, True, False, 12, -7, 2.5, 1e100)])
    | st.sampled_from(["$", "$$", "$.a", "$$.Map.Item.Value", "$['a,b']", "$.a[?(@.b == ')')]"]).map(
        paths.compile_path
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda each: Call("Array", tuple(each), 0)),
    max_leaves=12,
)


@given(st.lists(ARGUMENTS, max_size=4))
def test_what_is_printed_is_parsed_again(arguments: list[Any]) -> None:
    text = printed(Call("Array", tuple(arguments), 0))
    assert printed(intrinsics_grammar.parse(text)) == text


@given(
    st.lists(
        st.sampled_from(
            [*(f"States.{name}(" for name in functions.FUNCTIONS), "$.a", "$", "'x{}'", "1", "-2.5", "null"]
        )
        | st.sampled_from([")", ",", "'", "\\", " ", "true", "[0]", "$$.Map.Item", "\ud800", "$.a[*]"]),
        max_size=12,
    ).map("".join),
    VALUES,
)
@example("States.Array(", None)
def test_any_text_has_an_answer_or_an_error_of_ours(text: str, document: Any) -> None:
    problem = intrinsics.problem_in(text)
    with suppress(RunFailed):
        call(text, {"a": document})
        assert problem is None


@given(st.sampled_from(sorted(functions.FUNCTIONS)), LISTS)
def test_any_arguments_have_an_answer_or_an_error_of_ours(name: str, values: list[Any]) -> None:
    text = f"States.{name}({', '.join(f'$[{index}]' for index in range(len(values)))})"
    if intrinsics.problem_in(text) is None:
        with suppress(RunFailed):
            call(text, values)
