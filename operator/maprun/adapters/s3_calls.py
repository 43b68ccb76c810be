"""Every request to S3, as botocore tells of it: operation, status and time, for the metrics.

Rule 1: a request counts when its answer begins; a body that is read as a stream takes its time later.
Rule 2: each sending counts, so that a call that boto3 repeats is as many requests as went out.
"""

from __future__ import annotations

import time
from typing import Any, Final

from maprun.ports import Observer

BEGAN: Final = "maprun_began"  # where a request keeps the time at which it was made


def observe(events: Any, observer: Observer) -> None:
    """Tell `observer` of all requests of a client; `events` is its `meta.events`."""

    def created(request: Any, **_: Any) -> None:
        request.context[BEGAN] = time.monotonic()

    def answered(response_dict: dict[str, Any] | None, context: dict[str, Any], event_name: str, **_: Any) -> None:
        status = response_dict["status_code"] if response_dict else 0
        observer.s3_called(event_name.rpartition(".")[2], status, time.monotonic() - context[BEGAN])

    events.register("request-created.s3", created)
    events.register("response-received.s3", answered)
