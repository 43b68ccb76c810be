"""`maprun operator` and `maprun leave`: what keeps them from their work is told in a sentence."""

from __future__ import annotations

import asyncio

from maprun import handlers
from maprun.adapters import leaving
from maprun.adapters.cluster import ClusterClient
from maprun.cli.sentences import in_sentences
from maprun.settings import OperatorSettings, check


@in_sentences
def operator(settings: OperatorSettings) -> int:
    """Runs until SIGTERM or SIGINT; exit code 0."""
    check(settings)
    handlers.main(settings)
    return 0


@in_sentences
def leave(settings: OperatorSettings) -> int:
    """Stops the operator and lets go of its runs; exit code 0, also when there was nothing to do."""
    check(settings)
    asyncio.run(_leave(settings))
    return 0


async def _leave(settings: OperatorSettings) -> None:
    client = await ClusterClient.connect(settings.kubeconfig, settings.context)
    try:
        await leaving.leave(client, settings.lease, settings.namespaces, lambda line: print(line, flush=True))
    finally:
        await client.close()
