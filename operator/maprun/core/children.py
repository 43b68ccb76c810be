"""What one attempt of a child is on Kubernetes: the Job, made from the user's template, and the input it carries.

Rule 1: dicts in, dicts out; the user's template is never changed in place, and only the paths that differ are copied.
Rule 2: names are functions of run, child and attempt alone, so that a repeated create meets the same object (design
§5).
Rule 3: the child gets its input byte for byte: no layer on the way may expand or reformat it.

A small input is an annotation of the pod, shown to the container as a file by the downward API. A large one is a
Secret with the Job's name. The Secret is created before its Job and deleted before its Job, and belongs to the
MapRun: whoever sees the Job knows that the Secret is there, a crash in between leaves nothing that the next try of
the same attempt does not adopt or delete, and no pod ever waits for a Secret that was not written. (Owned by the Job,
it could only be written after it, and a crash between the two would leave a pod that waits for ever.)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from maprun.model import API_VERSION, KIND, MapRunSpec, RunRef
from maprun.records import Attempt, Batch

RUN_UID_LABEL: Final = "maprun.dev/run-uid"
RUN_LABEL: Final = "maprun.dev/run"
CHILD_LABEL: Final = "maprun.dev/child"
ATTEMPT_LABEL: Final = "maprun.dev/attempt"
ITEMS_LABEL: Final = "maprun.dev/items"
INPUT_LABEL: Final = "maprun.dev/input"  # where the input lies: Annotation or Secret
INPUT_ANNOTATION: Final = "maprun.dev/input"
# Labels of the run that its Jobs get, too: Kueue then admits each child by itself, as any other Job.
PASSED_ON: Final = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")

SMALL_INPUT: Final = 32 * 1024  # bytes; above, the input rides in a Secret and MAPRUN_INPUT_JSON is absent
NAME_LIMIT: Final = 63  # a Job's name becomes a label of its pods
INPUT_VOLUME: Final = "maprun-input"
INPUT_DIRECTORY: Final = "/var/run/maprun"
INPUT_FILE: Final = "input.json"
DEFAULT_OUTPUT_PATH: Final = "/dev/termination-log"

Manifest = dict[str, Any]


class JobParts(msgspec.Struct, frozen=True):
    """The objects of one attempt. `secret` is there when the input is larger than 32 KiB, and is created first."""

    job: Manifest
    secret: Manifest | None = None


def job_name(run: str, attempt: Attempt) -> str:
    """`<run>-<child>-<attempt>`, at most 63 characters; a long run name is cut and gets a hash of itself."""
    return _bounded(run, f"-{attempt.child}-{attempt.number}")


def main_container(spec: MapRunSpec) -> str:
    """Name of the container that gets the input and whose exit code and output count: the first of the template."""
    return str(_pod_spec(spec)["containers"][0]["name"])


def job_for(
    run: RunRef, spec: MapRunSpec, attempt: Attempt, batch: Batch, *, labels: Mapping[str, str] = {}
) -> JobParts:
    """The Job of one attempt, and the Secret with its input where that is large.

    The template must have passed `templates.template_problems`. Set here: labels, owner, one pod that is not retried
    by the Job controller, except that a pod lost to a disruption is replaced, `timeoutSeconds` as the pod's own
    deadline (so that waiting for a node does not count), and the input of the first container. Of the `labels` of
    the run, those in `PASSED_ON` are the Job's as well, unless the template has its own.
    """
    name = job_name(run.name, attempt)
    text = bytes(batch.input)
    small = len(text) <= SMALL_INPUT
    own = _labels(run, attempt, batch, "Annotation" if small else "Secret")
    template = spec.item_processor.job_template
    job_spec: Manifest = template["spec"]
    metadata = _with_metadata(template.get("metadata"), own)
    metadata["labels"] = {key: labels[key] for key in PASSED_ON if key in labels} | metadata["labels"]
    metadata |= {"name": name, "namespace": run.namespace, "ownerReferences": [_owner(run)]}
    pod = {
        "metadata": _pod_metadata(job_spec, own, text if small else None),
        "spec": _pod(spec, run, attempt, batch, name),
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {**job_spec, **_once(job_spec), "template": pod},
    }
    return JobParts(job, None if small else _secret(metadata, own, text))


def _bounded(run: str, suffix: str) -> str:
    room = NAME_LIMIT - len(suffix)
    if len(run) <= room:
        return run + suffix
    digest = hashlib.sha256(run.encode()).hexdigest()[:8]
    return f"{run[: room - 9].rstrip('-.')}-{digest}{suffix}"


def _labels(run: RunRef, attempt: Attempt, batch: Batch, where: str) -> dict[str, str]:
    return {
        RUN_UID_LABEL: run.uid,
        RUN_LABEL: _bounded(run.name, ""),
        CHILD_LABEL: str(attempt.child),
        ATTEMPT_LABEL: str(attempt.number),
        ITEMS_LABEL: str(batch.items),
        INPUT_LABEL: where,
    }


def _owner(run: RunRef) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _with_metadata(metadata: Manifest | None, labels: dict[str, str]) -> Manifest:
    given = metadata or {}
    return {**given, "labels": {**(given.get("labels") or {}), **labels}}


def _once(job_spec: Manifest) -> Manifest:
    """One pod, no retry by the Job controller; but a pod lost to a disruption is replaced, at no cost, before any
    rule of the user's.
    """
    policy = job_spec.get("podFailurePolicy") or {}
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {**policy, "rules": [disrupted, *(policy.get("rules") or [])]},
    }


def _pod_metadata(job_spec: Manifest, labels: dict[str, str], text: bytes | None) -> Manifest:
    metadata = _with_metadata(job_spec["template"].get("metadata"), labels)
    if text is not None:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), INPUT_ANNOTATION: text.decode()}
    return metadata


def _pod_spec(spec: MapRunSpec) -> Manifest:
    pod: Manifest = spec.item_processor.job_template["spec"]["template"]["spec"]
    return pod


def _pod(spec: MapRunSpec, run: RunRef, attempt: Attempt, batch: Batch, name: str) -> Manifest:
    pod = _pod_spec(spec)
    first, *others = pod["containers"]
    own: Manifest = {
        "restartPolicy": "Never",
        "containers": [_container(first, run, attempt, batch), *others],
        "volumes": [*(pod.get("volumes") or ()), _volume(batch, name)],
    }
    deadlines = [d for d in (spec.item_processor.timeout_seconds, pod.get("activeDeadlineSeconds")) if d]
    if deadlines:
        own["activeDeadlineSeconds"] = min(deadlines)
    return {**pod, **own}


def _container(container: Manifest, run: RunRef, attempt: Attempt, batch: Batch) -> Manifest:
    mount = {"name": INPUT_VOLUME, "mountPath": INPUT_DIRECTORY, "readOnly": True}
    env = {
        "MAPRUN_NAME": run.name,
        "MAPRUN_CHILD_INDEX": str(attempt.child),
        "MAPRUN_ATTEMPT": str(attempt.number),
        "MAPRUN_ITEM_COUNT": str(batch.items),
        "MAPRUN_INPUT": f"{INPUT_DIRECTORY}/{INPUT_FILE}",
        "MAPRUN_OUTPUT": container.get("terminationMessagePath") or DEFAULT_OUTPUT_PATH,
    }
    if len(batch.input) <= SMALL_INPUT:
        # In an env value Kubernetes expands $(NAME) and turns $$ into $; with each $ doubled the text arrives as it is.
        env["MAPRUN_INPUT_JSON"] = bytes(batch.input).decode().replace("$", "$$")
    return {
        # A failed child that said nothing is explained by the tail of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **container,
        # Ours come first: the user's variables may refer to them as $(MAPRUN_INPUT).
        "env": [*({"name": key, "value": value} for key, value in env.items()), *(container.get("env") or ())],
        "volumeMounts": [*(container.get("volumeMounts") or ()), mount],
    }


def _volume(batch: Batch, name: str) -> Manifest:
    if len(batch.input) > SMALL_INPUT:
        return {
            "name": INPUT_VOLUME,
            "secret": {"secretName": name, "items": [{"key": INPUT_FILE, "path": INPUT_FILE}]},
        }
    field = {"fieldPath": f"metadata.annotations['{INPUT_ANNOTATION}']"}
    return {"name": INPUT_VOLUME, "downwardAPI": {"items": [{"path": INPUT_FILE, "fieldRef": field}]}}


def _secret(job_metadata: Manifest, labels: dict[str, str], text: bytes) -> Manifest:
    metadata = {key: job_metadata[key] for key in ("name", "namespace", "ownerReferences")} | {"labels": labels}
    data = {INPUT_FILE: base64.b64encode(text).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": metadata,
        "data": data,
    }
