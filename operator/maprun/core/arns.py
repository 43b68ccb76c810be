"""Names that look like AWS's: ARNs, labels and names of children (`aws-distributed-map.md` §4).

Rule 1: a name follows from the run alone, so that each operator, at any time, makes the same one.
Rule 2: the place of the account is taken by the namespace, the place of the state machine by the run's name.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid3

from maprun.model import MapRunSpec, RunRef

LOCAL_REGION: Final = "local"  # stands in an ARN where no region is configured
_LABELS: Final = UUID("7a3c1c52-5f0e-4f0a-9d5e-6b1d0c9be8a4")  # the name space of default labels; never to change


def label_of(spec: MapRunSpec, run: RunRef) -> str:
    """`label`, or else an id that is always the same for a namespace and name, as AWS has one for each state (§4.1)."""
    return spec.label or str(uuid3(_LABELS, f"{run.namespace}/{run.name}"))


def child_name(run: RunRef, child: int) -> str:
    """Name of a child execution; with the attempt's number behind it, it is the name of the attempt."""
    return f"{run.name}-{child}"


def map_run_arn(run: RunRef, region: str, label: str) -> str:
    """ARN of the map run; its last part is the uid, under which the results lie."""
    return _arn(run, region, f"mapRun:{run.name}/{label}:{run.uid}")


def execution_arn(run: RunRef, region: str) -> str:
    """ARN of the execution that the map run belongs to, which is the run itself."""
    return _arn(run, region, f"execution:{run.name}:{run.uid}")


def child_arn(run: RunRef, region: str, label: str, name: str) -> str:
    """ARN of the child execution called `name`."""
    return _arn(run, region, f"execution:{run.name}/{label}:{name}")


def state_machine_arn(run: RunRef, region: str, label: str = "") -> str:
    """ARN of the run's state machine, or with a label the one of its children."""
    return _arn(run, region, f"stateMachine:{run.name}/{label}" if label else f"stateMachine:{run.name}")


def role_arn(run: RunRef, region: str, service_account: str) -> str:
    """ARN of who the children run as: their ServiceAccount."""
    return f"arn:maprun:iam:{region or LOCAL_REGION}:{run.namespace}:role/{service_account}"


def _arn(run: RunRef, region: str, rest: str) -> str:
    return f"arn:maprun:states:{region or LOCAL_REGION}:{run.namespace}:{rest}"
