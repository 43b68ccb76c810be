"""One JSONata expression with bounds: jsonata-python, kept from running away.

Rule 1: no clock. The work is counted in steps (a node of the expression, 8 values that a function or an operator
        reads, or 32 in an array that a node gives), so that one expression on the same data always has the same end.
        `MAX_STEPS` take about a second, and, as arrays that nothing reads count too, some 200 MB.
Rule 2: AWS's other bounds hold: a depth of 100, and a little under 7 MB of text or numbers in a value (measured).
        Functions whose results can be much larger than what they read are asked before they make them.
Rule 3: regular expressions are RE2's: in linear time, without look-around and back references.
Rule 4: nothing is random and nothing tells the time (`core/jsonata_functions.py`). As in AWS, there is no `$eval`.
Rule 5: values of the input are never changed. Results are plain JSON values.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Final

import re2
from jsonata import jexception
from jsonata.jsonata import Jsonata
from jsonata.regex_engine import RegexFlags

from maprun.core.jsonata_functions import functions_for
from maprun.core.jsonata_values import NoJson, OutOfBounds, held, plain, told

MAX_STEPS: Final = 200_000
MAX_DEPTH: Final = 100
READ: Final = 8  # values that are read in the time of one step
COPIED: Final = 32  # elements of an array that a node gives: the next step copies it, perhaps
TEXT: Final = 128  # characters that are read like one value
RECURSION: Final = 3_000  # frames; the library takes up to 13 for one of the depth, and would set 10,000

_TOO_LONG: Final = "Expression evaluation timeout: Check for infinite loop"
_TOO_DEEP: Final = (
    "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive"
)

sys.setrecursionlimit(RECURSION)


class EvaluationFailed(Exception):
    """An expression has no result; the text goes on AWS's sentence about the expression."""


def problem_in(text: str) -> str | None:
    """What is wrong with the syntax of an expression, None when nothing is."""
    try:
        _parsed(text)
    except ValueError as wrong:
        return str(wrong)
    return None


class Expression:
    """A compiled expression, for one thread at a time. ValueError when it is malformed. `place` is where it stands."""

    def __init__(self, text: str, place: str) -> None:
        self._place = place
        self._program = _parsed(text)
        self._program.set_output_convert_nulls(False)
        for name, function in functions_for(self._program).items():
            self._program.environment.bind(name, function)

    def __call__(self, bindings: dict[str, Any]) -> Any:
        """The result as plain JSON, or `NOTHING`. `EvaluationFailed` when there is none.

        `bindings`: {"states": {"input": …, "context": …}}.
        """
        program = self._program
        program.begin(bindings["states"].get("context") or {}, self._place)
        try:
            return plain(program.evaluate(None, bindings))
        except NoJson:
            raise EvaluationFailed("returned a function, which is no JSON value.") from None
        except OutOfBounds as bound:
            raise EvaluationFailed(f"threw an error during evaluation: {bound}") from None
        except RecursionError:
            raise EvaluationFailed(f"threw an error during evaluation: {_TOO_DEEP}") from None
        except jexception.JException as error:
            raise EvaluationFailed(f"threw an error during evaluation{told(error)}") from None
        except Exception:  # a defect of the library must end this expression, not the operator
            raise EvaluationFailed("threw an internal error during evaluation.") from None


class Program(Jsonata):  # type: ignore[misc]
    """The library's evaluator, which counts."""

    environment: Any
    input: Any

    def begin(self, context: dict[str, Any], place: str) -> None:
        """Make ready for an evaluation, in this thread. `place` and `context` are what chance follows from."""
        self.context, self.place, self.draws = context, place, 0
        self._left, self._depth, self._copied = MAX_STEPS, 0, COPIED
        Jsonata.CURRENT.jsonata = self  # where the library looks for the evaluator of its functions

    def eval(self, expr: Any, input: Any, environment: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise OutOfBounds(_TOO_LONG)
        if self._depth >= MAX_DEPTH:
            raise OutOfBounds(_TOO_DEEP)
        self._depth += 1
        outer = self.input, self.environment
        try:
            result = self._eval(expr, input, environment)
        finally:
            self._depth -= 1
            self.input, self.environment = outer
        if isinstance(result, str | list):
            held(result)
            if isinstance(result, list):
                self.spend(len(result) // self._copied)
        return result

    def read(self, value: Any) -> None:
        """Count the work of reading all of a value, however often its parts come up in it."""
        most = self._left * READ
        seen, ahead = 0, [value]
        while ahead:
            each = ahead.pop()
            seen += 1
            if isinstance(each, list):
                ahead.extend(each)
            elif isinstance(each, dict):
                ahead.extend(each.values())
            elif isinstance(each, str):
                seen += len(each) // TEXT
            if seen + len(ahead) > most:
                raise OutOfBounds(_TOO_LONG)
        self.spend(seen // READ)

    def spend(self, steps: int) -> None:
        """Count work that is not an evaluated node."""
        self._left -= steps
        if self._left < 0:
            raise OutOfBounds(_TOO_LONG)

    # Where the library reads more than the node's own results.

    def evaluate_name(self, expr: Any, input: Any, environment: Any) -> Any:
        if isinstance(input, list):
            self.read(input)
        return super().evaluate_name(expr, input, environment)

    def evaluate_wildcard(self, expr: Any, input: Any) -> Any:
        self.read(input)
        return super().evaluate_wildcard(expr, input)

    def evaluate_descendants(self, expr: Any, input: Any) -> Any:
        self.read(input)
        return super().evaluate_descendants(expr, input)

    def evaluate_tuple_step(self, expr: Any, input: Any, tuple_bindings: Any, environment: Any) -> Any:
        """With @, # and %, each element becomes an object."""
        outer, self._copied = self._copied, 1
        try:
            return super().evaluate_tuple_step(expr, input, tuple_bindings, environment)
        finally:
            self._copied = outer

    def evaluate_transform_expression(self, expr: Any, input: Any, environment: Any) -> Any:
        """What is transformed is copied whole."""
        return Jsonata.JFunction(_Transformer(self, expr, environment), "<(oa):o>")

    def evaluate_equality_expression(self, lhs: Any, rhs: Any, op: Any) -> Any:
        self.read(lhs)
        return super().evaluate_equality_expression(lhs, rhs, op)

    def evaluate_includes_expression(self, lhs: Any, rhs: Any) -> Any:
        self.read(lhs)
        self.read(rhs)
        return super().evaluate_includes_expression(lhs, rhs)

    def evaluate_string_concat(self, lhs: Any, rhs: Any) -> str:
        self.read([lhs, rhs])
        return str(super().evaluate_string_concat(lhs, rhs))

    def evaluate_numeric_expression(self, lhs: Any, rhs: Any, op: Any) -> Any:
        """1/0 is a number, as in AWS, which writes it as the string "Infinity"."""
        try:
            return super().evaluate_numeric_expression(lhs, rhs, op)
        except ZeroDivisionError:
            return math.copysign(math.inf, lhs) if lhs and op == "/" else math.nan
        except jexception.JException as error:
            if error.get_error() == "D1001" and math.isfinite(lhs) and math.isfinite(rhs):
                return math.copysign(math.inf, lhs) * math.copysign(1, rhs if op == "*" else 1)
            raise


class _Transformer(Jsonata.Transformer):  # type: ignore[misc]
    def call(self, input: Any, args: Any) -> Any:
        self._jsonata.read(args)
        return super().call(input, args)


def _parsed(text: str) -> Program:
    if not text:
        raise ValueError("it is empty")
    try:
        return Program(text, _regular_expression)
    except jexception.JException as error:
        raise ValueError(told(error).removeprefix(". ").removeprefix(": ")) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except re2.error as error:
        raise ValueError(f"a regular expression that is not supported: {error.args[0].decode()}") from None
    except ValueError:
        raise
    except Exception as error:  # what the library's parser trips over
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None


def _regular_expression(pattern: str, flags: RegexFlags) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not flags.case_insensitive
    return re2.compile(f"(?m){pattern}" if flags.multiline else pattern, options)
