"""What a `jobTemplate` must look like before the API server is asked: the rules that are MapRun's own, all problems
at once.

Rule 1: a field that MapRun sets itself may be absent or say the same; anything else is refused, never silently
replaced.
Rule 2: everything that Kubernetes can judge is left to the API server (a dry run with strict field validation).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from maprun.core.children import INPUT_ANNOTATION, INPUT_DIRECTORY, INPUT_VOLUME
from maprun.errors import Problem

PATH: Final = "spec.itemProcessor.jobTemplate"
RESERVED_PREFIX: Final = "maprun.dev/"
RESERVED_ENV: Final = "MAPRUN_"

RETRIES: Final = "leave it out; retries are spec.itemProcessor.retry"
ONE_POD: Final = "leave it out; each child execution is one pod"
FIXED: Final[tuple[tuple[str, object, str], ...]] = (
    ("backoffLimit", 0, RETRIES),
    ("backoffLimitPerIndex", None, RETRIES),
    ("completions", 1, ONE_POD),
    ("parallelism", 1, ONE_POD),
    ("podReplacementPolicy", "Failed", "leave it out; MapRun sets Failed"),
    ("ttlSecondsAfterFinished", None, "leave it out; MapRun deletes a Job as soon as its outcome is stored"),
)


def template_problems(template: dict[str, Any]) -> tuple[Problem, ...]:
    """All rules that a JobTemplateSpec breaks, each with the path of its field. Empty when `children.job_for` can use
    it.
    """
    shape = tuple(_shape(template))
    return shape or (*_metadata(template, PATH), *_job(template["spec"]), *_pod(template["spec"]["template"]))


def _shape(template: dict[str, Any]) -> Iterator[Problem]:
    """Nothing else can be judged before there is a pod with a named container."""
    value: Any = template
    path = PATH
    for key in ("spec", "template", "spec"):
        if not isinstance(value.get("metadata") or {}, dict):
            yield Problem(f"{path}.metadata", "must be an object")
        path = f"{path}.{key}"
        value = value.get(key)
        if not isinstance(value, dict):
            yield Problem(path, "must be there, as an object")
            return
    containers = value.get("containers")
    if not isinstance(containers, list) or not containers:
        yield Problem(f"{path}.containers", "must list at least one container; the first one gets the input")
    elif not isinstance(containers[0], dict) or not isinstance(containers[0].get("name"), str):
        yield Problem(f"{path}.containers[0].name", "must be a string")
    else:
        yield from _lists(value, containers[0], path)


def _lists(pod: dict[str, Any], container: dict[str, Any], path: str) -> Iterator[Problem]:
    places = (
        (container, "env", f"{path}.containers[0].env"),
        (container, "volumeMounts", f"{path}.containers[0].volumeMounts"),
    )
    for owner, key, where in (*places, (pod, "volumes", f"{path}.volumes")):
        value = owner.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
            yield Problem(where, "must be a list of objects")


def _metadata(owner: dict[str, Any], path: str) -> Iterator[Problem]:
    metadata = owner.get("metadata") or {}
    for key in ("name", "generateName", "namespace", "ownerReferences"):
        if key in metadata:
            yield Problem(f"{path}.metadata.{key}", "leave it out; MapRun sets it")
    for key in metadata.get("labels") or ():
        if str(key).startswith(RESERVED_PREFIX):
            yield Problem(
                f"{path}.metadata.labels[{key}]", f"labels that begin with {RESERVED_PREFIX} are MapRun's own"
            )
    if INPUT_ANNOTATION in (metadata.get("annotations") or ()):
        yield Problem(
            f"{path}.metadata.annotations[{INPUT_ANNOTATION}]", "this annotation carries the input; choose another name"
        )


def _job(job: dict[str, Any]) -> Iterator[Problem]:
    for key, value, advice in FIXED:
        if key in job and job[key] is not None and job[key] != value:
            yield Problem(f"{PATH}.spec.{key}", advice)


def _pod(pod_template: dict[str, Any]) -> Iterator[Problem]:
    path = f"{PATH}.spec.template"
    yield from _metadata(pod_template, path)
    pod = pod_template["spec"]
    if pod.get("restartPolicy", "Never") != "Never":
        yield Problem(f"{path}.spec.restartPolicy", f"must be Never or left out; {RETRIES.split('; ')[1]}")
    for number, volume in enumerate(pod.get("volumes") or ()):
        if volume.get("name") == INPUT_VOLUME:
            yield Problem(
                f"{path}.spec.volumes[{number}].name", f"{INPUT_VOLUME} is MapRun's own volume; choose another name"
            )
    yield from _container(pod["containers"][0], f"{path}.spec.containers[0]")


def _container(container: dict[str, Any], path: str) -> Iterator[Problem]:
    for number, variable in enumerate(container.get("env") or ()):
        if str(variable.get("name", "")).startswith(RESERVED_ENV):
            yield Problem(f"{path}.env[{number}].name", f"variables that begin with {RESERVED_ENV} are set by MapRun")
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        if str(mount.get("mountPath", "")).rstrip("/") == INPUT_DIRECTORY:
            yield Problem(
                f"{path}.volumeMounts[{number}].mountPath",
                f"{INPUT_DIRECTORY} is where MapRun puts the input; choose another",
            )
