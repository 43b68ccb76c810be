"""The Job of an attempt: its name, what it keeps of the user's template, and the input that it carries."""

from __future__ import annotations

import base64
import copy
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import children
from maprun.core.children import job_for, job_name, main_container
from maprun.core.resources import JobView, PodView
from maprun.model import MapRunSpec, RunRef
from maprun.model_processing import ItemProcessor
from maprun.records import Attempt, Batch

RUN = RunRef("data", "airports", "0a1b", 0.0)
ATTEMPT = Attempt(7, 2)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
run_names = st.from_regex(rf"{LABEL}(\.{LABEL}){{0,3}}", fullmatch=True).filter(lambda name: len(name) <= 253)
attempts = st.builds(Attempt, st.integers(0, 99_999_999), st.integers(1, 9_999))


def template(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}], **pod}}}}


def made(
    job_template: dict[str, Any] | None = None, text: bytes = b'{"a":1}', timeout: int | None = None
) -> children.JobParts:
    processor = ItemProcessor(job_template=job_template or template(), timeout_seconds=timeout)
    return job_for(RUN, MapRunSpec(item_processor=processor), ATTEMPT, Batch(7, 3, msgspec.Raw(text)))


def pod_of(parts: children.JobParts) -> dict[str, Any]:
    pod: dict[str, Any] = parts.job["spec"]["template"]["spec"]
    return pod


def env_of(parts: children.JobParts) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod_of(parts)["containers"][0]["env"]}


def expanded(value: str) -> str:
    """What Kubernetes makes of an env value when every $(NAME) names a variable that says BROKEN."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda match: "$" if match[1] == "$" else "BROKEN", value)


# Names.


def test_a_name_is_run_child_and_attempt() -> None:
    assert job_name("airports", ATTEMPT) == "airports-7-2"


@given(run_names, attempts)
def test_every_name_is_a_valid_name_of_a_job(run: str, attempt: Attempt) -> None:
    name = job_name(run, attempt)
    assert len(name) <= 63
    assert SUBDOMAIN.fullmatch(name)
    assert name.endswith(f"-{attempt.child}-{attempt.number}")


@given(run_names, attempts, run_names, attempts)
def test_no_two_attempts_share_a_name(run: str, attempt: Attempt, other: str, another: Attempt) -> None:
    assert (job_name(run, attempt) == job_name(other, another)) == ((run, attempt) == (other, another))


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert job_name("x" * 80 + "a", ATTEMPT) != job_name("x" * 80 + "b", ATTEMPT)


# The Job.


def test_the_job_belongs_to_the_run_and_says_which_attempt_it_is() -> None:
    job = made().job
    view = msgspec.convert(job, JobView)
    pod = msgspec.convert({"metadata": job["spec"]["template"]["metadata"]}, PodView)
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("airports-7-2", "data")
    assert job["metadata"]["ownerReferences"][0] | {} == {
        "apiVersion": "maprun.dev/v1alpha1",
        "kind": "MapRun",
        "name": "airports",
        "uid": "0a1b",
        "controller": True,
        "blockOwnerDeletion": False,
    }
    for metadata in (view.metadata, pod.metadata):
        assert (metadata.attempt, metadata.labels.run_uid) == (ATTEMPT, "0a1b")
    assert job["metadata"]["labels"]["maprun.dev/items"] == "3"


def test_one_pod_without_retries_but_a_disrupted_one_is_replaced() -> None:
    spec = made().job["spec"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (1, 1, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_what_the_user_wrote_stays() -> None:
    user = template(nodeSelector={"disk": "ssd"}, volumes=[{"name": "cache", "emptyDir": {}}])
    user["metadata"] = {"labels": {"kueue.x-k8s.io/queue-name": "q"}, "annotations": {"note": "n"}}
    user["spec"]["template"]["metadata"] = {"labels": {"app": "a"}, "annotations": {"b": "c"}}
    user["spec"]["podFailurePolicy"] = {"rules": [{"action": "FailJob"}]}
    user["spec"]["template"]["spec"]["containers"][0] |= {
        "env": [{"name": "MINE", "value": "$(MAPRUN_NAME)"}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    before = copy.deepcopy(user)
    job = made(user).job
    pod = job["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert user == before
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert job["metadata"]["annotations"] == {"note": "n"}
    assert (pod["metadata"]["labels"]["app"], pod["metadata"]["annotations"]["b"]) == ("a", "c")
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["cache", "maprun-input"]
    assert container["env"][-1] == {"name": "MINE", "value": "$(MAPRUN_NAME)"}
    assert container["volumeMounts"][0]["name"] == "cache"
    assert [rule["action"] for rule in job["spec"]["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]


def test_only_the_first_container_gets_the_input() -> None:
    containers = [{"name": "work", "image": "a"}, {"name": "helper", "image": "b"}]
    pod = pod_of(made(template(containers=containers)))
    assert pod["containers"][1] == containers[1]
    assert (
        main_container(MapRunSpec(item_processor=ItemProcessor(job_template=template(containers=containers)))) == "work"
    )


DEADLINES = [
    pytest.param(None, None, None, id="there is none by default"),
    pytest.param(300, None, 300, id="timeoutSeconds sets it"),
    pytest.param(None, 60, 60, id="the template's own stays"),
    pytest.param(300, 60, 60, id="the shorter one counts: the template's"),
    pytest.param(30, 60, 30, id="the shorter one counts: timeoutSeconds"),
]


@pytest.mark.parametrize(("timeout", "own", "wanted"), DEADLINES)
def test_the_deadline_is_the_pods_so_that_waiting_for_a_node_does_not_count(
    timeout: int | None, own: int | None, wanted: int | None
) -> None:
    job_template = template(activeDeadlineSeconds=own) if own else template()
    parts = made(job_template, timeout=timeout)
    assert pod_of(parts).get("activeDeadlineSeconds") == wanted
    assert "activeDeadlineSeconds" not in parts.job["spec"]


QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
LABELS = [
    pytest.param({}, {QUEUE: "lab", PRIORITY: "high"}, {QUEUE: "lab", PRIORITY: "high"}, id="queue and priority"),
    pytest.param({}, {"team": "flights", PRIORITY: "high"}, {PRIORITY: "high"}, id="no others"),
    pytest.param({QUEUE: "own"}, {QUEUE: "lab"}, {QUEUE: "own"}, id="those of the template win"),
    pytest.param({"a": "b"}, {}, {"a": "b"}, id="none"),
]


@pytest.mark.parametrize(("of_template", "of_run", "expected"), LABELS)
def test_labels_for_kueue_go_from_the_run_to_the_job_and_not_to_its_pod(
    of_template: dict[str, str], of_run: dict[str, str], expected: dict[str, str]
) -> None:
    processor = ItemProcessor(job_template={**template(), "metadata": {"labels": of_template}})
    parts = job_for(RUN, MapRunSpec(item_processor=processor), ATTEMPT, Batch(7, 3, msgspec.Raw(b"1")), labels=of_run)
    labels = parts.job["metadata"]["labels"]
    own = {key: labels[key] for key in labels if key.startswith("maprun.dev/")}
    assert labels == expected | own
    assert parts.job["spec"]["template"]["metadata"]["labels"] == own


# What the child is told.


def test_the_child_is_told_who_it_is() -> None:
    env = env_of(made())
    assert env == {
        "MAPRUN_NAME": "airports",
        "MAPRUN_CHILD_INDEX": "7",
        "MAPRUN_ATTEMPT": "2",
        "MAPRUN_ITEM_COUNT": "3",
        "MAPRUN_INPUT": "/var/run/maprun/input.json",
        "MAPRUN_INPUT_JSON": '{"a":1}',
        "MAPRUN_OUTPUT": "/dev/termination-log",
    }


def test_the_output_goes_where_the_template_says() -> None:
    container = {"name": "main", "image": "a", "terminationMessagePath": "/tmp/out"}
    assert env_of(made(template(containers=[container])))["MAPRUN_OUTPUT"] == "/tmp/out"


def test_a_failed_childs_log_explains_it_unless_the_template_says_otherwise() -> None:
    assert pod_of(made())["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    container = {"name": "main", "image": "a", "terminationMessagePolicy": "File"}
    assert pod_of(made(template(containers=[container])))["containers"][0]["terminationMessagePolicy"] == "File"


@given(st.text())
def test_kubernetes_does_not_expand_the_input(text: str) -> None:
    raw = msgspec.json.encode(text)
    parts = made(text=raw)
    assert expanded(env_of(parts)["MAPRUN_INPUT_JSON"]).encode() == raw
    assert parts.job["spec"]["template"]["metadata"]["annotations"][children.INPUT_ANNOTATION].encode() == raw


@pytest.mark.parametrize("text", ['"$(HOME)"', '"$$(HOME)"', '"$"', '"$$"', '"a$(B)$C"'])
def test_dollars_reach_the_child_as_they_are(text: str) -> None:
    assert expanded(env_of(made(text=text.encode()))["MAPRUN_INPUT_JSON"]) == text


SIZES = [
    pytest.param(32 * 1024, False, id="32 KiB ride on the pod"),
    pytest.param(32 * 1024 + 1, True, id="one byte more rides in a Secret"),
    pytest.param(256 * 1024, True, id="256 KiB ride in a Secret"),
]


@pytest.mark.parametrize(("size", "secret"), SIZES)
def test_where_the_input_lies_depends_on_its_size(size: int, secret: bool) -> None:
    text = b'"' + b"x" * (size - 2) + b'"'
    parts = made(text=text)
    volume = pod_of(parts)["volumes"][-1]
    labels = msgspec.convert(parts.job, JobView).metadata.labels
    assert ("MAPRUN_INPUT_JSON" in env_of(parts)) is not secret
    assert labels.input == ("Secret" if secret else "Annotation")
    if not secret:
        assert parts.secret is None
        assert volume["downwardAPI"]["items"][0]["fieldRef"] == {
            "fieldPath": "metadata.annotations['maprun.dev/input']"
        }
        return
    assert parts.secret is not None
    assert base64.b64decode(parts.secret["data"]["input.json"]) == text
    assert volume["secret"]["secretName"] == parts.secret["metadata"]["name"] == parts.job["metadata"]["name"]
    assert parts.secret["metadata"]["ownerReferences"] == parts.job["metadata"]["ownerReferences"]
    assert children.INPUT_ANNOTATION not in parts.job["spec"]["template"]["metadata"].get("annotations", {})
