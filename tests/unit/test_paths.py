"""JSONPath as AWS evaluates it; rows marked "recorded" are what the service answered."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath_ng.ext.parser import parse

from maprun.core import paths
from maprun.errors import RunFailed, StatesError

STORE = {
    "book": [
        {"title": "Sayings", "price": 8.95, "kind": "a"},
        {"title": "Sword", "price": 12.99, "kind": "b", "isbn": None},
        {"title": "Moby", "price": 8.99, "kind": "b", "isbn": "0-553", "size": {"pages": 635}},
    ],
    "x y": {"it's": 1, "é": 2, "0": 3},
    "none": None,
}
CONTEXT = {"Execution": {"Input": {"input-values": ["item-0"]}}, "Map": {"Item": {"Index": 3, "Value": "v"}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("$", STORE, id="$ is the document"),
        pytest.param("$$", CONTEXT, id="$$ is the context object"),
        pytest.param("$.book[0].title", "Sayings", id="names and an index"),
        pytest.param("$.book[-1].title", "Moby", id="a negative index counts from the end"),
        pytest.param("$['book'][1][\"title\"]", "Sword", id="names in brackets, either quote"),
        pytest.param("$['x y']", STORE["x y"], id="a name with a blank"),
        pytest.param("$['x y']['it\\'s']", 1, id="a quote in a name"),
        pytest.param("$['x y'].é", 2, id="a letter beyond ASCII"),
        pytest.param("$['x y'].0", 3, id="a name of digits is a name"),
        pytest.param("$.['none']", None, id="null is a value"),
        pytest.param("$$.Map.Item.Index", 3, id="the item's index"),
        pytest.param("$$.Execution.Input.input-values[0]", "item-0", id="a dash in a name (recorded)"),
    ],
)
def test_a_definite_path_gives_the_value(path: str, value: object) -> None:
    assert paths.evaluate(path, STORE, CONTEXT) == value


@pytest.mark.parametrize(
    ("path", "titles"),
    [
        pytest.param("$.book[*].title", ["Sayings", "Sword", "Moby"], id="all elements"),
        pytest.param("$.book.*.title", ["Sayings", "Sword", "Moby"], id="all elements, with a dot"),
        pytest.param("$.*[0].title", ["Sayings"], id="all values of an object"),
        pytest.param("$.book[1:].title", ["Sword", "Moby"], id="a slice to the end"),
        pytest.param("$.book[:-1].title", ["Sayings", "Sword"], id="a slice to the last but one"),
        pytest.param("$.book[ -2 : ].title", ["Sword", "Moby"], id="a slice with blanks"),
        pytest.param("$.book[1:99].title", ["Sword", "Moby"], id="a slice beyond the end"),
        pytest.param("$.book[2,0,9].title", ["Moby", "Sayings"], id="several indexes"),
        pytest.param("$..title", ["Sayings", "Sword", "Moby"], id="anywhere below"),
        pytest.param("$..book[0].title", ["Sayings"], id="anywhere below, then an index"),
        pytest.param("$..['title']", ["Sayings", "Sword", "Moby"], id="anywhere below, in brackets"),
        pytest.param("$.book[0]..title", ["Sayings"], id="anywhere below an element"),
        pytest.param("$.book[?(@.price < 9)].title", ["Sayings", "Moby"], id="a filter by number"),
        pytest.param("$.book[?(@.kind == 'b')].title", ["Sword", "Moby"], id="a filter by text"),
        pytest.param("$.book[?(@.isbn)].title", ["Sword", "Moby"], id="a filter by existence, null exists"),
        pytest.param("$.book[?(!@.isbn)].title", ["Sayings"], id="a filter by absence"),
        pytest.param("$.book[?(@.isbn == null)].title", ["Sword"], id="a filter by null"),
        pytest.param("$.book[?(@.isbn != 'x')].title", ["Sayings", "Sword", "Moby"], id="what is absent is different"),
        pytest.param("$.book[?(@.kind == 'b' && @.price < 9)].title", ["Moby"], id="a filter with and"),
        pytest.param(
            "$.book[?(@.kind == 'a' || (@.price < 9))].title", ["Sayings", "Moby"], id="with or and parentheses"
        ),
        pytest.param("$.book[?(@.size['pages'] >= 635)].title", ["Moby"], id="a filter by something deeper"),
        pytest.param("$.book[?(@.title == ']')].title", [], id="a bracket in a filter's text"),
        pytest.param("$..book[?(@.price < 9)].title", ["Sayings", "Moby"], id="a filter anywhere below"),
        pytest.param("$.book[*].size.pages", [635], id="what some do not have is left out"),
        pytest.param("$.none[*]", [], id="null has no elements"),
    ],
)
def test_an_indefinite_path_gives_a_list(path: str, titles: list[Any]) -> None:
    assert paths.evaluate(path, STORE) == titles


@pytest.mark.parametrize(
    ("path", "document", "kept"),
    [
        pytest.param("$.a[?(@.x == 1)]", {"a": {"x": 1}}, [{"x": 1}], id="an object is kept as a whole"),
        pytest.param("$.a[?(@.x == 1)]", {"a": {"k": {"x": 1}}}, [], id="or dropped, whatever its values are"),
        pytest.param("$.a[?(@ > 1)]", {"a": [1, 2]}, [2], id="an element itself is compared"),
        pytest.param("$.a[?(@.x == @.y)]", {"a": [{"x": 1, "y": 1}, {"x": 1}]}, [{"x": 1, "y": 1}], id="two names"),
        pytest.param("$.a[?(@.x == 1)]", {"a": [{"x": True}, {"x": "1"}]}, [], id="types are not mixed"),
        pytest.param("$.a[?(@.x == true)]", {"a": [{"x": 1}, {"x": True}]}, [{"x": True}], id="true is not 1"),
        pytest.param("$.a[?(@.x)]", {"a": "text"}, [], id="text has no elements"),
    ],
)
def test_filters(path: str, document: object, kept: list[object]) -> None:
    assert paths.evaluate(path, document) == kept


MACHINE = {
    "Execution": {"Input": {"input-values": ["item-0"], "values": ["charizard", "pikachu"]}},
    "State": {"Name": "StartState"},
    "Map": {"Item": {"Index": 0, "Value": "Hello"}},
}
ORDERS = {"delivery-partner": "UQS", "shipped": ["A", "B", "C"]}


@pytest.mark.parametrize(
    ("path", "document", "result"),
    [
        pytest.param("$.items[0]", {"items": [{"k": 0}, {"k": 1}]}, {"k": 0}, id="an index gives the element itself"),
        pytest.param("$.delivery-partner", ORDERS, "UQS", id="a dash in a name"),
        pytest.param("$.shipped", ORDERS, ["A", "B", "C"], id="an array"),
        pytest.param("$$.State.Name", {}, "StartState", id="a name in the context object"),
        pytest.param("$$.Map.Item.Value", {}, "Hello", id="the item"),
        pytest.param("$$.Execution.Input.input-values", {}, ["item-0"], id="the items in the context object"),
        pytest.param("$$.Execution.Input.values", {}, ["charizard", "pikachu"], id="an array in the context object"),
        pytest.param("$[*]", {}, [], id="all of nothing"),
        pytest.param("$.items[*]", {}, [], id="all of what is missing"),
        pytest.param("$.items[*].itemValue", {}, [], id="names behind all of what is missing"),
        pytest.param("$.items[1:]", {}, [], id="a slice of what is missing"),
        pytest.param("$.items[:1]", {}, [], id="a slice from the start"),
        pytest.param("$.item.items[*]", {}, [], id="all of what is missing in what is missing"),
        pytest.param("$.item.items[:1]", {}, [], id="a slice from the start, deeper"),
        pytest.param("$.item.items[1:5]", {}, [], id="a slice deeper"),
        pytest.param("$.item.items[1:5].itemValue", {}, [], id="names behind a slice"),
    ],
)
def test_results_as_recorded(path: str, document: object, result: object) -> None:
    assert paths.evaluate(path, document, MACHINE) == result


@pytest.mark.parametrize(
    ("path", "document", "detail"),
    [
        *(
            pytest.param(f"$.{name}", {"a": 0}, f"No results for path: $['{name}']", id=f"{name} of another state")
            for name in ("NoSuchInputPath", "NoSuchOutputPath", "NoSuchTimeoutSecondsPath")
        ),
        pytest.param("$[0]", {"myKey": "myValue"}, "No results for path: $[0]", id="the first element of an object"),
        pytest.param("$[1]", {"myKey": "myValue"}, "No results for path: $[1]", id="the second element of an object"),
        pytest.param("$[0:1]", {"myKey": "myValue"}, "$ is not an array", id="a slice of an object"),
        pytest.param("$[1:]", {"myKey": "myValue"}, "$ is not an array", id="to the end"),
        pytest.param("$[:1]", {"myKey": "myValue"}, "$ is not an array", id="from the start"),
        pytest.param("$[1:2]", {"myKey": "myValue"}, "$ is not an array", id="from the second"),
    ],
)
def test_errors_as_recorded(path: str, document: object, detail: str) -> None:
    """That it fails is recorded for all; the detail for the first three, in fields that are no payload templates."""
    with pytest.raises(paths.PathNotFound) as caught:
        paths.evaluate(path, document)
    assert caught.value.failure.cause == f"Invalid path '{path}' : {detail}"
    assert not caught.value.beyond


@pytest.mark.parametrize(
    ("path", "document", "detail"),
    [
        pytest.param("$.a.b.c", {"a": {}}, "Missing property in path $['a']['b']", id="a name on the way"),
        pytest.param("$.a.b", {"a": "text"}, "No results for path: $['a']['b']", id="a name in a text"),
        pytest.param("$.a[5]", {"a": [1]}, "No results for path: $['a'][5]", id="an index beyond the end"),
        pytest.param("$.a[-2]", {"a": [1]}, "No results for path: $['a'][-2]", id="an index before the start"),
        pytest.param("$.a[0]", {"a": "text"}, "No results for path: $['a'][0]", id="a letter is no element"),
        pytest.param("$[0][*]", {"myKey": 1}, "No results for path: $[0]", id="an index of an object, then all"),
        pytest.param("$.a[0,1]", {"a": {}}, "$['a'] is not an array", id="indexes of an object"),
        pytest.param("$$.Map", {}, "No results for path: $['Map']", id="not in the context object"),
    ],
)
def test_nothing_there_is_an_error(path: str, document: object, detail: str) -> None:
    with pytest.raises(paths.PathNotFound) as caught:
        paths.evaluate(path, document, {})
    assert caught.value.failure.error == StatesError.RUNTIME
    assert caught.value.failure.cause == f"Invalid path '{path}' : {detail}"


@pytest.mark.parametrize(
    ("path", "beyond", "shown"),
    [
        pytest.param("$.a[1]", True, "$.a[1]", id="an index beyond the end"),
        pytest.param("$.a[-2]", True, "$.a[-2]", id="an index before the start"),
        pytest.param("$$.a[7]", True, "$.a[7]", id="in the context object, which is shown with one $"),
        pytest.param("$.a[1].b", False, "$.a[1].b", id="a name behind such an index"),
        pytest.param("$.a.b", False, "$.a.b", id="a name of an array"),
        pytest.param("$.b[0]", False, "$.b[0]", id="an index of what is missing"),
        pytest.param("$$.b", False, "$.b", id="a name"),
    ],
)
def test_what_is_missing_is_told_apart(path: str, beyond: bool, shown: str) -> None:
    with pytest.raises(paths.PathNotFound) as caught:
        paths.evaluate(path, {"a": [0]}, {"a": [0]})
    assert (caught.value.beyond, caught.value.path) == (beyond, shown)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("f($.a, 1)", "$.a", id="a comma"),
        pytest.param("f($$.a['x,)'][0] )", "$$.a['x,)'][0]", id="a blank, not what stands in quotes"),
        pytest.param("f($)", "$", id="the input itself"),
        pytest.param("f($.a[?(@.b == ')' && (@.c))].d)", "$.a[?(@.b == ')' && (@.c))].d", id="a filter"),
        pytest.param("f($.a[", "$.a", id="a step that does not end"),
        pytest.param("f($x", "$", id="a name without a dot"),
    ],
)
def test_where_a_path_ends_in_a_longer_text(text: str, path: str) -> None:
    assert text[2 : paths.end_of(text, 2)] == path


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("", "must begin with $", id="empty"),
        pytest.param("ipsum", "must begin with $", id="a word"),
        pytest.param("$Question", "'Question' at character 2", id="a variable"),
        pytest.param("$$23", "'23' at character 3", id="a number behind $$"),
        pytest.param("$.", "'.' at character 2", id="a dot at the end"),
        pytest.param("$..", "'..' at character 2", id="two dots at the end"),
        pytest.param("$...a", "'...a' at character 2", id="three dots"),
        pytest.param("$.a b", "' b' at character 4", id="a blank outside of brackets"),
        pytest.param("$.a[", "'[' at character 4", id="an open bracket"),
        pytest.param("$.a['b]", '"[\'b]" at character 4', id="an open quote"),
        pytest.param("$.a[x]", "'[x]' at character 4", id="a bare word in brackets"),
        pytest.param("$['a','b']", "at character 2", id="several names"),
        pytest.param("$.a[0:9:2]", "at character 4", id="a slice with a step"),
        pytest.param("$.a[1234567890]", "at character 4", id="an index beyond all bounds"),
        pytest.param("$[(@.length-1)].bar", "at character 2", id="a script"),
        pytest.param("$.a.length()", "'()' at character 11", id="a function"),
        pytest.param("$.a[?(@.x =~ 'b.*')]", "not supported from \"=~ 'b.*'\" on", id="a regular expression"),
        pytest.param("$.a[?(1 == @.x)]", "not supported from '1 == @.x' on", id="a literal on the left"),
        pytest.param("$.a[?(@.x == $.y)]", "not supported from '$.y' on", id="the document in a filter"),
        pytest.param("$.a[?(@..x == 1)]", "not supported from '..x == 1' on", id="descent in a filter"),
        pytest.param("$.a[?(@.x + 1 == 2)]", "not supported from '+ 1 == 2' on", id="arithmetic in a filter"),
        pytest.param("$.a[?(@.x & @.y)]", "not supported from '& @.y' on", id="one & in a filter"),
        pytest.param("$.a[?(@.x @.y)]", "cannot be read", id="nothing between two names"),
        pytest.param("$.a[?()]", "cannot be read", id="an empty filter"),
        pytest.param("$.a[?((@.x)]", "cannot be read", id="an open parenthesis"),
        pytest.param("$.a[?(" + "(" * 900, "at character 4", id="many open parentheses"),
        pytest.param("$" + ".a" * 512, "longer than 1,024 characters", id="too long"),
    ],
)
def test_problems_of_syntax(path: str, problem: str) -> None:
    assert problem in (paths.problem_in(path) or "")
    with pytest.raises(RunFailed, match="Invalid path"):
        paths.evaluate(path, {})


def test_a_deep_filter_ends_in_an_answer() -> None:
    assert paths.problem_in("$.a[?(" + "(" * 400 + "@.x" + ")" * 400 + ")]") is None


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        pytest.param("$", True, id="the input itself"),
        pytest.param("$$.Execution.Input.items", True, id="the context object"),
        pytest.param("$.a['b'][0]", True, id="names and indexes"),
        pytest.param("$.a[*]", False, id="a wildcard"),
        pytest.param("$..a", False, id="descent"),
        pytest.param("a", False, id="no path at all"),
    ],
)
def test_reference_paths(path: str, fine: bool) -> None:
    assert (paths.problem_in_reference(path) is None) is fine


@pytest.mark.parametrize("items", [[1, 2], [], {"k": 1}], ids=["an array", "an empty array", "an object"])
def test_a_reference_gives_the_items(items: object) -> None:
    assert paths.reference("$.rows", {"rows": items}) == items


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        pytest.param("$", 'Reference path "$" must point to array.', id="the input (recorded)"),
        pytest.param("$.rows", 'Reference path "$.rows" must point to array.', id="a name"),
        pytest.param("$$.Map", 'Reference path "$.Map" must point to array.', id="the context, with one $ (recorded)"),
    ],
)
def test_a_reference_to_something_else_fails(path: str, cause: str) -> None:
    with pytest.raises(RunFailed) as caught:
        paths.reference(path, {"rows": 1} if path == "$.rows" else "text", {"Map": 1})
    assert caught.value.failure.cause == cause


def test_the_work_on_one_document_is_bounded() -> None:
    wide = [[0] * 500] * 500
    with pytest.raises(RunFailed, match=r"'\$\.\.\*\.\.\*\.\.\*' passes through more than 1,000,000 values"):
        paths.evaluate("$..*..*..*", wide)


def test_a_deep_document_is_no_trouble() -> None:
    deep: Any = 0
    for _ in range(10_000):
        deep = [deep]
    assert len(paths.evaluate("$..*", deep)) == 10_000


# ---------------------------------------------------------------------------------------------------------------- laws

NAMES = st.sampled_from(["a", "b", "c-d", "e_1"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
PLAIN_STEPS = (
    NAMES.map(lambda name: f".{name}") | NAMES.map(lambda name: f"['{name}']") | st.sampled_from(["[0]", "[1]"])
)
OTHER_STEPS = st.sampled_from([".*", "[*]", "..a", "..*", "[1:]", "[:-1]"])


@given(DOCUMENTS, st.lists(PLAIN_STEPS, max_size=4).map("".join))
def test_plain_paths_agree_with_jsonpath_ng(document: object, steps: str) -> None:
    matches = [match.value for match in parse(f"${steps}").find(document)]
    try:
        ours = [paths.evaluate(f"${steps}", document)]
    except paths.PathNotFound:
        ours = []
    assert ours == matches


@given(DOCUMENTS, st.lists(PLAIN_STEPS | OTHER_STEPS, min_size=1, max_size=4).map("".join))
def test_indefinite_paths_agree_with_jsonpath_ng_where_there_is_no_error(document: object, steps: str) -> None:
    path = f"$..*{steps}"
    assert paths.evaluate(path, document) == [match.value for match in parse(path).find(document)]


@given(st.text("$.[]'\"?()@*:,-0a& =!|\\ ", max_size=30))
def test_any_text_has_an_answer(text: str) -> None:
    path = f"${text}"
    if paths.problem_in(path) is None:
        with suppress(paths.PathNotFound):
            paths.evaluate(path, {"a": [{"a": 0}]}, {})
