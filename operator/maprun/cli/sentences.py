"""Errors as sentences: what a user can mend never shows a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Final, ParamSpec

from maprun.errors import MapRunError

BAD_INPUT: Final = 2

P = ParamSpec("P")


class BadInput(Exception):
    """The user gave something that cannot work; `problems` are the sentences to show."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def in_sentences(command: Callable[P, int]) -> Callable[P, int]:
    """The command, with mistakes of the user and trouble of this machine told on standard error; exit code 2."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except BadInput as error:
            problems = error.problems
        except (MapRunError, OSError) as error:
            problems = (f"maprun: {error}",)
        for problem in problems:
            say(problem)
        return BAD_INPUT

    return told


def say(sentence: str) -> None:
    """One line on standard error."""
    sys.stderr.write(sentence + "\n")
