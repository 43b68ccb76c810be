"""The 18 intrinsic functions (`aws-distributed-map.md` §2.3, §12): their table, and those on arrays, objects, numbers.

Rule 1: where AWS was recorded or measured to differ from its documentation, it is followed: only MathAdd rounds (halves
        up), all others cut fractions off; ArrayContains compares texts; ArrayGetItem of an empty array gives null.
Rule 2: nothing is random: UUID and MathRandom get bytes that follow from where and for what they are called.
Rule 3: a function reads its arguments and never changes them; what it gives may share parts with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from maprun.core import functions_text
from maprun.core.functions_text import Invalid, text_of

MAX_RANGE: Final = 1_000  # elements that ArrayRange makes
INT32: Final = range(-(2**31), 2**31)

_encode = msgspec.json.encode


class Function(msgspec.Struct, frozen=True):
    """A function: how many arguments it takes (`most` None: any number), and what it does with their values.

    `draws`: it gets 32 bytes to take its chance from, in front of its arguments.
    """

    least: int
    most: int | None
    apply: Callable[..., Any]
    draws: bool = False

    @property
    def takes(self) -> str:
        """The number of arguments, in words."""
        number = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        number = f"at least {self.least}" if self.most is None else number
        return f"{number} argument" if number in ("1", "at least 1") else f"{number} arguments"


# ------------------------------------------------------------------------------------------------------------- arrays


def array_partition(array: Any, size: Any) -> list[list[Any]]:
    """The array in parts of `size`; the last may be shorter."""
    step = whole(size, "the second argument")
    if step < 1:
        raise Invalid("the second argument must be 1 or more")
    elements = _array(array)
    return [elements[at : at + step] for at in range(0, len(elements), step)]


def _array_contains(array: Any, wanted: Any) -> bool:
    """True where texts agree, as AWS does: `true` is found as `'true'`, and the order of an object's keys counts."""
    text = text_of(wanted)
    return any(text_of(each) == text for each in _array(array))


def array_range(first: Any, last: Any, step: Any) -> list[int]:
    """From `first` to `last`, which comes up when a step lands on it."""
    names = ("the first argument", "the second argument", "the third argument")
    low, high, stride = map(whole, (first, last, step), names)
    if stride == 0:
        raise Invalid("the third argument must not be 0")
    if (high - low) // stride >= MAX_RANGE:
        raise Invalid(f"the array would have more than {MAX_RANGE} elements")
    return list(range(low, high + (1 if stride > 0 else -1), stride))


def _array_get_item(array: Any, index: Any) -> Any:
    elements, at = _array(array), whole(index, "the second argument")
    if elements and not 0 <= at < len(elements):
        raise Invalid(f"the array has {len(elements)} elements, and none with the index {at}")
    return elements[at] if elements else None


def _array_unique(array: Any) -> list[Any]:
    """The first of equal elements stays, in its place. (AWS keeps no order: it gives that of a hash table.)"""
    first: dict[bytes, Any] = {}
    for each in _array(array):
        first.setdefault(_encode(each, order="sorted"), each)
    return list(first.values())


# ------------------------------------------------------------------------------------------------- objects and numbers


def _json_merge(first: Any, second: Any, deep: Any) -> dict[str, Any]:
    if not isinstance(first, dict) or not isinstance(second, dict):
        raise Invalid("the first two arguments must be objects")
    if deep is True:
        raise Invalid("the third argument must be false: objects inside the objects are not merged")
    return {**first, **second}


def _math_add(first: Any, second: Any) -> int:
    addends = [_rounded(first, "the first argument"), _rounded(second, "the second argument")]
    if any(each not in INT32 for each in (*addends, sum(addends))):
        raise Invalid("the arguments and their sum must lie between -2147483648 and 2147483647")
    return sum(addends)


def _math_random(drawn: bytes, first: Any, end: Any, *seeds: Any) -> int:
    low, high = whole(first, "the first argument"), whole(end, "the second argument")
    if low not in INT32 or high not in INT32 or not 0 < high - low < 2**31:
        raise Invalid("the second argument must be above the first, both between -2147483648 and 2147483647")
    if seeds:
        return low + _java_random(whole(seeds[0], "the third argument"), high - low)
    return low + int.from_bytes(drawn) % (high - low)


def _java_bits(seed: int) -> Iterator[int]:
    """The states of `new java.util.Random(seed)`, 48 bits each: AWS's `$random(seed)` was measured to draw from it."""
    factor, mask = 0x5DEECE66D, 2**48 - 1
    state = seed ^ factor
    while True:
        state = (state * factor + 0xB) & mask
        yield state


def java_random_double(seed: int) -> float:
    """`new java.util.Random(seed).nextDouble()`: 0.7275636800328681 for 42."""
    bits = _java_bits(seed)
    high = next(bits) >> 22 << 27
    return (high + (next(bits) >> 21)) / 2**53


def _java_random(seed: int, bound: int) -> int:
    """`new java.util.Random(seed).nextInt(bound)`."""
    for state in _java_bits(seed):
        bits = state >> 17
        if bound & (bound - 1) == 0:
            return bound * bits >> 31
        if bits - bits % bound + bound <= 2**31:
            return bits % bound
    raise AssertionError("the generator has no end")


def uuid(drawn: bytes, *_ignored: Any) -> str:
    """A UUID of version 4 out of these bytes."""
    return str(UUID(bytes=drawn[:16], version=4))


# ----------------------------------------------------------------------------------------------------------- arguments


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Invalid("the first argument must be an array")
    return value


def _number(value: Any, name: str) -> int | float:
    infinite = isinstance(value, float) and not math.isfinite(value)  # an integer may be beyond every double
    if isinstance(value, bool) or not isinstance(value, (int, float)) or infinite:
        raise Invalid(f"{name} must be a number")
    return value


def whole(value: Any, name: str) -> int:
    """A number without its fraction. `Invalid` for what is no number."""
    return math.trunc(_number(value, name))


def _rounded(value: Any, name: str) -> int:
    """To the nearest integer, halves up: -1.5 is -1 (recorded)."""
    number = _number(value, name)
    low = math.floor(number)
    return low + (number - low >= 0.5)


FUNCTIONS: Final[dict[str, Function]] = {
    "Array": Function(0, None, lambda *values: list(values)),
    "ArrayContains": Function(2, 2, _array_contains),
    "ArrayGetItem": Function(2, 2, _array_get_item),
    "ArrayLength": Function(1, 1, lambda array: len(_array(array))),
    "ArrayPartition": Function(2, 2, array_partition),
    "ArrayRange": Function(3, 3, array_range),
    "ArrayUnique": Function(1, 1, _array_unique),
    "Base64Decode": Function(1, 1, functions_text.base64_decode),
    "Base64Encode": Function(1, 1, functions_text.base64_encode),
    "Format": Function(1, None, functions_text.formatted),
    "Hash": Function(2, 2, functions_text.hashed),
    "JsonMerge": Function(3, 3, _json_merge),
    "JsonToString": Function(1, 1, functions_text.json_to_string),
    "MathAdd": Function(2, 2, _math_add),
    "MathRandom": Function(2, 3, _math_random, draws=True),
    "StringSplit": Function(2, 2, functions_text.string_split),
    "StringToJson": Function(1, 1, functions_text.string_to_json),
    "UUID": Function(0, None, uuid, draws=True),  # arguments are ignored, as AWS does
}
"""The functions by their names behind `States.`."""
