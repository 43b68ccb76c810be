"""How deep JSON may be nested that is kept: what is written now must be readable wherever it is read later.

Rule 1: parsers give up at a depth that shrinks with the stack they are called from. A text that one place could only
        just read would stop another for good, so the bound lies far below and is the same everywhere.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

MAX_NESTING: Final = 256  # objects and arrays within each other

_string: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_step: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_plain: Final = bytes(byte for byte in range(256) if byte not in _step)


def bounded(text: bytes) -> bytes:
    """The same text, which is JSON. `RecursionError` when it is nested deeper than `MAX_NESTING`."""
    if text.count(b"[") + text.count(b"{") > MAX_NESTING:
        brackets = _string.sub(b"", text).translate(None, _plain)
        if max(accumulate(_step[each] for each in brackets), default=0) > MAX_NESTING:
            raise RecursionError(f"JSON is nested deeper than {MAX_NESTING}")
    return text
