"""`maprun operator`: what keeps the operator from starting is told in a sentence."""

from __future__ import annotations

from maprun import handlers
from maprun.cli.sentences import in_sentences
from maprun.settings import OperatorSettings, check


@in_sentences
def operator(settings: OperatorSettings) -> int:
    """Runs until SIGTERM or SIGINT; exit code 0."""
    check(settings)
    handlers.main(settings)
    return 0
