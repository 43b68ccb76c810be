"""A Job template that breaks MapRun's own rules is refused with the path of each field, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from maprun.core.templates import template_problems

CONTAINER = {"name": "main", "image": "busybox"}


def template(job: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{**CONTAINER, **container}], **(pod or {})}
    return {"spec": {**(job or {}), "template": {"spec": spec}}}


GOOD = [
    pytest.param(template(), id="a container is enough"),
    pytest.param(template({"backoffLimit": 0, "completions": 1, "parallelism": 1}), id="what MapRun sets may be said"),
    pytest.param(template({"backoffLimit": None}), id="null is absent"),
    pytest.param(template(pod={"restartPolicy": "Never"}), id="restartPolicy Never"),
    pytest.param(template({"activeDeadlineSeconds": 5}), id="a deadline of one's own"),
    pytest.param(template({"suspend": True}), id="a Job that is held until somebody resumes it"),
    pytest.param(
        {**template(), "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}, id="labels of one's own"
    ),
    pytest.param(
        template(env=[{"name": "A", "value": "b"}], volumeMounts=[{"name": "c", "mountPath": "/c"}]),
        id="env and mounts",
    ),
]


@pytest.mark.parametrize("good", GOOD)
def test_a_good_template_has_no_problems(good: dict[str, Any]) -> None:
    assert template_problems(good) == ()


BAD = [
    pytest.param({}, [".spec"], id="no spec"),
    pytest.param({"spec": {}}, [".spec.template"], id="no pod template"),
    pytest.param({"spec": {"template": {"spec": []}}}, [".spec.template.spec"], id="the pod's spec is a list"),
    pytest.param({"spec": {"template": {"spec": {}}}}, [".spec.template.spec.containers"], id="no containers"),
    pytest.param(
        template(pod={"containers": []}), [".spec.template.spec.containers"], id="an empty list of containers"
    ),
    pytest.param(template(name=None), [".spec.template.spec.containers[0].name"], id="a container without a name"),
    pytest.param(template(env={"A": "b"}), [".spec.template.spec.containers[0].env"], id="env as an object"),
    pytest.param(template(pod={"volumes": ["a"]}), [".spec.template.spec.volumes"], id="volumes that are no objects"),
    pytest.param({**template(), "metadata": "a"}, [".metadata"], id="metadata that is no object"),
    pytest.param(
        template({"backoffLimit": 3, "completions": 2, "parallelism": 4, "ttlSecondsAfterFinished": 5}),
        [
            ".spec.backoffLimit",
            ".spec.completions",
            ".spec.parallelism",
            ".spec.ttlSecondsAfterFinished",
        ],
        id="everything that MapRun sets itself, at once",
    ),
    pytest.param(
        template(pod={"restartPolicy": "OnFailure"}), [".spec.template.spec.restartPolicy"], id="restarts in place"
    ),
    pytest.param({**template(), "metadata": {"name": "a"}}, [".metadata.name"], id="a name of one's own"),
    pytest.param(
        {**template(), "metadata": {"labels": {"maprun.dev/run": "a"}}},
        [".metadata.labels[maprun.dev/run]"],
        id="a label of MapRun's",
    ),
    pytest.param(
        template(pod={"volumes": [{"name": "maprun-input"}]}),
        [".spec.template.spec.volumes[0].name"],
        id="the input's volume",
    ),
    pytest.param(
        template(volumeMounts=[{"name": "a", "mountPath": "/var/run/maprun/"}]),
        [".spec.template.spec.containers[0].volumeMounts[0].mountPath"],
        id="the input's place",
    ),
    pytest.param(
        template(env=[{"name": "A"}, {"name": "MAPRUN_INPUT"}]),
        [".spec.template.spec.containers[0].env[1].name"],
        id="a variable of MapRun's",
    ),
]


@pytest.mark.parametrize(("bad", "paths"), BAD)
def test_each_broken_rule_is_named_with_its_path(bad: dict[str, Any], paths: list[str]) -> None:
    problems = template_problems(bad)
    assert [problem.path for problem in problems] == [f"spec.itemProcessor.jobTemplate{path}" for path in paths]
    assert all(problem.message for problem in problems)
