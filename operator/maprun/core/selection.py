"""`itemSelector`: what makes each child's item out of the effective input and the context object (§2.3).

Rule 1: `$` (`$states.input`) is the state's effective input, never the item; `$$` (`$states.context`) is the context
        object, with the item in `$$.Map.Item`.
Rule 2: the context object follows from the run and the item alone, so that reading the dataset again gives the same.
"""

from __future__ import annotations

from typing import Any, Final

from maprun.core import arns, expressions
from maprun.core.expressions import Evaluate
from maprun.core.times import iso
from maprun.model import MapRunSpec, QueryLanguage, RunRef

FIELD: Final = "spec.itemSelector"


def compile_selector(template: Any, language: QueryLanguage = QueryLanguage.JSONPATH) -> Evaluate:
    """The item for (effective input, context object), out of a template that `expressions.problems` accepts."""
    return expressions.compile_template(template, FIELD, language)


def context_for(run: RunRef, spec: MapRunSpec, started: float, region: str = "") -> dict[str, Any]:
    """The part of the context object that is the same for all items.

    `started` is the run's start in seconds since the epoch. It comes from the resource, never from a clock, so that
    reading the dataset again after a crash gives the same items. RoleArn names the ServiceAccount of the children.
    """
    at = iso(started)
    return {
        "Execution": {
            "Id": arns.execution_arn(run, region),
            "Input": spec.input,
            "Name": run.name,
            "RoleArn": arns.role_arn(run, region, _service_account(spec.item_processor.job_template)),
            "StartTime": at,
            "RedriveCount": 0,
        },
        "State": {"EnteredTime": at, "Name": run.name, "RetryCount": 0},
        "StateMachine": {"Id": arns.state_machine_arn(run, region), "Name": run.name},
    }


def with_item(context: dict[str, Any], index: int, value: Any, source: str, key: str | None = None) -> dict[str, Any]:
    """The context object for one item. `index` counts over the whole dataset from 0; `key` is for items of an object.

    `source`: `STATE_DATA`, `s3://bucket` for a listing, `s3://bucket/key` for the content of an object (§2.3).
    """
    item = {"Index": index, "Value": value, "Source": source}
    if key is not None:
        item["Key"] = key
    return {**context, "Map": {"Item": item}}


def _service_account(job_template: Any) -> str:
    for name in ("spec", "template", "spec"):
        job_template = job_template.get(name) if isinstance(job_template, dict) else None
    named = job_template.get("serviceAccountName") if isinstance(job_template, dict) else None
    return named if isinstance(named, str) and named else "default"
