"""Life with the API on a real API server: managers that share a run, tools that look at it, older resources, the docs.

Rule 1: as a user does it: kubectl, and what it prints.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from maprun.core.children import job_for
from maprun.core.validation import parse
from maprun.model import RunRef
from maprun.records import Attempt, Batch
from tests.cluster.cluster import Cluster
from tests.operator_process import eventually
from tests.spec_cases import JOB, Json, processor, resource
from tools import crd

ROOT: Final = crd.REPOSITORY
DOCS: Final = (ROOT / "docs/api.md").read_text("utf-8")
EXAMPLES: Final = ("airports", "hello", "inventory")
WAIT: Final = 30.0
LARGE: Final = ["x" * 1023] * 300  # about 300 KiB
TIME: Final = "2026-01-02T03:04:05Z"

Kubectl = Callable[..., tuple[int, str]]
"""Arguments, and what to read from standard input: the exit code, and all that was printed."""


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that takes only pods of the standard restricted."""
    name = f"life-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    eventually(lambda: cluster.kubectl(f"-n={name}", "get", "serviceaccount", "default", check=False).returncode == 0)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Iterator[Kubectl]:
    """kubectl in that namespace; what the test made there is gone afterwards."""

    def call(*arguments: str, body: Json | None = None) -> tuple[int, str]:
        given = json.dumps(body) if body else None
        done = cluster.kubectl(f"--namespace={namespace}", *arguments, input=given, check=False)
        return done.returncode, done.stdout + done.stderr

    yield call
    made = f"{crd.PLURAL}.{crd.GROUP},configmaps"
    cluster.kubectl(f"--namespace={namespace}", "delete", made, "--all", "--timeout=60s")


def good(kubectl: Kubectl, *arguments: str, body: Json | None = None) -> str:
    """What kubectl prints when it succeeds."""
    code, said = kubectl(*arguments, body=body)
    assert code == 0, said
    return said


def bad(kubectl: Kubectl, *arguments: str, body: Json | None = None) -> str:
    """What kubectl prints when it fails, in one line."""
    code, said = kubectl(*arguments, body=body)
    assert code != 0, said
    return " ".join(said.split())


def applied(kubectl: Kubectl, manager: str, body: Json, expect: Callable[..., str] = good) -> str:
    return expect(kubectl, "apply", "--server-side", f"--field-manager={manager}", "-f", "-", body=body)


def read(kubectl: Kubectl, name: str = "good", *more: str) -> Json:
    found: Json = json.loads(good(kubectl, "get", "mapruns", name, "-o", "json", *more))
    return found


def report(kubectl: Kubectl, status: str, name: str = "good") -> None:
    """What the operator would write about a run."""
    told = {"type": "Succeeded", "status": status, "reason": "Odd", "message": "It is so.", "lastTransitionTime": TIME}
    written: Json = {"conditions": [told], "completionTime": None if status == "Unknown" else TIME}
    good(
        kubectl, "patch", "mapruns", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": written})
    )


TEAM: Final = resource(input={"rows": [1, 2]}, itemsPath="$.rows", resultSelector={"a": 1, "b.$": "$.rows"})
TEAM["spec"]["itemProcessor"] |= {"retry": [{"errorEquals": ["Busy"]}]}


def only(**spec: Any) -> Json:
    """What an applier sends who owns these fields of `good`."""
    return {**resource(), "spec": spec}


# Server-side apply.


def test_two_managers_share_a_run(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    applied(kubectl, "night-shift", only(maxConcurrency=5, toleratedFailurePercentage="10"))
    applied(kubectl, "team", TEAM)
    spec = read(kubectl)["spec"]
    assert (spec["maxConcurrency"], spec["toleratedFailurePercentage"]) == (5, "10")
    applied(kubectl, "night-shift", only(toleratedFailurePercentage="20"))
    spec = read(kubectl)["spec"]
    assert (spec["maxConcurrency"], spec["toleratedFailurePercentage"]) == (0, "20"), "what is given up is the default"


@pytest.mark.parametrize(
    ("theirs", "path"),
    [
        pytest.param({"maxConcurrency": 9}, ".spec.maxConcurrency", id="a limit"),
        pytest.param({"resultSelector": {"c": 3}}, ".spec.resultSelector", id="a template, even with other keys"),
        pytest.param({"input": {"rows": [3]}}, ".spec.input.rows", id="a key of the input"),
        pytest.param(
            {"itemProcessor": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}, **JOB}}},
            ".spec.itemProcessor.jobTemplate",
            id="the Job template, even with other keys",
        ),
        pytest.param(
            {"itemProcessor": {"jobTemplate": JOB, "retry": [{"errorEquals": ["Other"]}]}},
            ".spec.itemProcessor.retry",
            id="the retriers",
        ),
    ],
)
def test_a_conflict_names_the_manager_and_the_field(kubectl: Kubectl, theirs: Json, path: str) -> None:
    ours = copy.deepcopy(TEAM)
    ours["spec"]["maxConcurrency"] = 5
    applied(kubectl, "team", ours)
    said = applied(kubectl, "other", only(**theirs), bad)
    assert f'conflict with "team": {path} ' in said


def test_who_applies_the_same_shares_it(kubectl: Kubectl) -> None:
    """Also what has defaults beside it: there are none inside a list."""
    applied(kubectl, "team", TEAM)
    applied(kubectl, "other", TEAM)
    assert read(kubectl)["spec"]["itemProcessor"]["retry"] == [{"errorEquals": ["Busy"]}]


def test_the_users_json_costs_one_entry_however_large_it_is(kubectl: Kubectl) -> None:
    applied(kubectl, "team", resource(resultSelector={f"key{number}": number for number in range(1000)}))
    entry = next(
        each
        for each in read(kubectl, "good", "--show-managed-fields")["metadata"]["managedFields"]
        if each["manager"] == "team"
    )
    assert entry["fieldsV1"]["f:spec"]["f:resultSelector"] == {}


def test_conditions_of_two_writers_stand_side_by_side(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    for kind in ("Succeeded", "Audited"):
        told = {"type": kind, "status": "True", "reason": "Odd", "message": "It is so.", "lastTransitionTime": TIME}
        arguments = ("apply", "--server-side", "--subresource=status", f"--field-manager={kind}", "-f", "-")
        good(kubectl, *arguments, body={**resource(), "spec": {}, "status": {"conditions": [told]}})
    assert [each["type"] for each in read(kubectl)["status"]["conditions"]] == ["Succeeded", "Audited"]


# kubectl.


@pytest.mark.parametrize("how", [[], ["--server-side"]], ids=["client side", "server side"])
def test_what_is_applied_again_shows_no_difference(kubectl: Kubectl, how: list[str]) -> None:
    good(kubectl, "apply", *how, "-f", "-", body=TEAM)
    before = read(kubectl)["metadata"]
    assert good(kubectl, "diff", *how, "-f", "-", body=TEAM) == ""
    good(kubectl, "apply", *how, "-f", "-", body=TEAM)
    after = read(kubectl)["metadata"]
    assert (after["generation"], after["resourceVersion"]) == (1, before["resourceVersion"])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param({**resource(), "specc": {}}, "specc", id="at the top"),
        pytest.param(resource(maxConcurency=1), "spec.maxConcurency", id="in the spec"),
        pytest.param(
            processor(retry=[{"errorEquals": ["X"], "tries": 2}]), "spec.itemProcessor.retry[0].tries", id="in a list"
        ),
    ],
)
@pytest.mark.parametrize("verb", ["apply", "create"])
def test_an_unknown_field_is_refused_with_its_path(kubectl: Kubectl, verb: str, body: Json, path: str) -> None:
    assert f'unknown field "{path}"' in bad(kubectl, verb, "-f", "-", body=body)
    assert bad(kubectl, "get", "mapruns", "good").startswith("Error from server (NotFound)")


def test_server_side_apply_refuses_an_unknown_field_too(kubectl: Kubectl) -> None:
    assert ".spec.maxConcurency: field not declared in schema" in applied(
        kubectl, "team", resource(maxConcurency=1), bad
    )


def test_a_server_side_dry_run_shows_the_defaults_and_stores_nothing(kubectl: Kubectl) -> None:
    shown = json.loads(good(kubectl, "create", "--dry-run=server", "-o", "json", "-f", "-", body=TEAM))
    assert shown["spec"]["itemProcessor"]["output"] == {"from": "TerminationMessage"}
    assert "NotFound" in bad(kubectl, "get", "mapruns", "good")


def test_a_name_may_be_generated(kubectl: Kubectl) -> None:
    generated = {**TEAM, "metadata": {"generateName": f"{'n' * 34}-"}}
    assert good(kubectl, "create", "-f", "-", "-o", "name", body=generated).startswith("maprun.maprun.dev/nnn")
    longer = {**TEAM, "metadata": {"generateName": f"{'n' * 35}-"}}
    assert "must be at most 40 characters long" in bad(kubectl, "create", "-f", "-", body=longer)


def test_an_immutable_field_says_what_can_be_done(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    said = bad(kubectl, "patch", "mr", "good", "--type=merge", "-p", '{"spec": {"itemsPath": "$.x"}}')
    assert (
        "spec.itemsPath: Invalid value: cannot be changed; only abort, maxConcurrency, redriveFilter, redrives, "
        "suspend, timeoutSeconds, toleratedFailureCount, toleratedFailurePercentage, ttlSecondsAfterFinished can. "
        "To run something else, create another MapRun"
    ) in said


def test_a_run_that_has_ended_says_what_can_be_done(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    report(kubectl, "False")
    assert (
        "spec.maxConcurrency: Invalid value: cannot be changed: the run has ended. "
        "To run again what did not succeed, raise redrives in the same edit"
    ) in bad(kubectl, "patch", "mr", "good", "--type=merge", "-p", '{"spec": {"maxConcurrency": 9}}')
    assert "patched" in good(
        kubectl, "patch", "mr", "good", "--type=merge", "-p", '{"spec": {"maxConcurrency": 9, "redrives": 1}}'
    )


def test_an_abort_goes_away_with_a_redrive_only(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    applied(kubectl, "on-call", only(abort=True))
    assert "spec.abort: Invalid value: cannot be taken back." in applied(kubectl, "on-call", only(abort=False), bad)
    assert "spec.redrives: Invalid value: cannot be raised while abort is true" in applied(
        kubectl, "on-call", only(abort=True, redrives=1), bad
    )
    applied(kubectl, "on-call", only(abort=False, redrives=1))


def test_a_manager_that_gives_its_redrives_up_is_told(kubectl: Kubectl) -> None:
    """A field that nobody sets any more goes back to its default, which would be fewer."""
    applied(kubectl, "team", TEAM)
    applied(kubectl, "on-call", only(redrives=1))
    assert "spec.redrives: Invalid value: cannot be lowered: each redrive is made once" in applied(
        kubectl, "on-call", only(), bad
    )


def test_a_large_input_needs_the_servers_apply(kubectl: Kubectl) -> None:
    assert "metadata.annotations: Too long" in bad(kubectl, "apply", "-f", "-", body=resource(input=LARGE))
    applied(kubectl, "team", resource(input=LARGE))
    assert read(kubectl)["spec"]["input"] == LARGE


def test_a_null_of_the_users_survives_the_servers_apply(kubectl: Kubectl) -> None:
    odd = {"a": None, "b": [None, {"c": None}], "d": {}}
    applied(kubectl, "team", resource(input=odd, itemSelector=odd))
    assert (read(kubectl)["spec"]["input"], read(kubectl)["spec"]["itemSelector"]) == (odd, odd)


def test_nothing_can_be_scaled(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    assert "NotFound" in bad(kubectl, "scale", "mapruns", "good", "--replicas=3")
    assert "could not find scale subresource" in bad(kubectl, "autoscale", "mapruns", "good", "--max=3")


def test_get_all_leaves_runs_out_and_the_short_name_works(kubectl: Kubectl) -> None:
    applied(kubectl, "team", TEAM)
    assert "maprun" not in good(kubectl, "get", "all")
    for name in ("mr", "maprun", "mapruns"):
        assert good(kubectl, "get", name, "good", "-o", "name") == "maprun.maprun.dev/good\n"


@pytest.mark.parametrize(
    ("status", "met"),
    [
        pytest.param("Unknown", (False, False, False), id="running"),
        pytest.param("True", (True, False, True), id="succeeded"),
        pytest.param("False", (False, True, True), id="failed"),
    ],
)
def test_kubectl_waits_for_the_end_of_a_run(kubectl: Kubectl, status: str, met: tuple[bool, ...]) -> None:
    applied(kubectl, "team", TEAM)
    report(kubectl, status)
    ways = ("condition=Succeeded", "condition=Succeeded=False", "jsonpath={.status.completionTime}")
    for way, expected in zip(ways, met, strict=True):
        code, said = kubectl("wait", "mapruns/good", f"--for={way}", "--timeout=30s" if expected else "--timeout=200ms")
        assert (code == 0) is expected, said


# What an older release stored.

OLD_GROUP: Final = "life.example.com"
OLD_NAME: Final = f"kins.{OLD_GROUP}"


def kin(change: Callable[[Json], object] = lambda spec: None) -> Json:
    """The CRD in a group of its own, with the schema of the spec changed: other tests use the real one."""
    definition = copy.deepcopy(crd.definition())
    definition["metadata"]["name"] = OLD_NAME
    definition["spec"]["group"] = OLD_GROUP
    definition["spec"]["names"] = {"kind": "Kin", "plural": "kins"}
    change(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    return definition


def older(spec: Json) -> None:
    """A release before this one: less, more, and looser."""
    fields = spec["properties"]
    del fields["s3"], fields["itemsPath"]
    spec["x-kubernetes-validations"] = []
    fields["gone"] = {"type": "string"}
    fields["maxConcurrency"]["maximum"] = 50_000
    fields["itemReader"]["x-kubernetes-validations"] = []


STORED: Final = {
    **resource(
        gone="x",
        maxConcurrency=20_000,
        itemReader={"resource": "s3:getObject", "parameters": {"bucket": "data", "prefix": "a"}},
    ),
    "apiVersion": f"{OLD_GROUP}/{crd.VERSION}",
    "kind": "Kin",
}


@pytest.fixture(scope="module")
def stored(cluster: Cluster) -> Iterator[str]:
    """A run that an older CRD took, read under the present one; what to call it by."""
    change(cluster, kin(older))
    eventually(lambda: cluster.kubectl("get", OLD_NAME, check=False).returncode == 0, WAIT)
    cluster.kubectl("create", "-f", "-", input=json.dumps(STORED))
    change(cluster, kin())

    def published() -> bool:
        return '"itemsPath"' in cluster.kubectl("get", f"{OLD_NAME}/good", "-o", "json").stdout

    eventually(published, WAIT)
    yield f"{OLD_NAME}/good"
    cluster.kubectl("delete", "crd", OLD_NAME, "--timeout=60s")


def change(cluster: Cluster, definition: Json) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(definition))


def test_a_stored_run_gets_new_defaults_and_loses_what_is_gone(cluster: Cluster, stored: str) -> None:
    spec = json.loads(cluster.kubectl("get", stored, "-o", "json").stdout)["spec"]
    assert (spec["itemsPath"], spec["s3"], spec["maxConcurrency"]) == ("$", {}, 20_000)
    assert "gone" not in spec


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        pytest.param(["--subresource=status"], {"status": {"retries": 1}}, id="its status"),
        pytest.param([], {"metadata": {"labels": {"team": "flights"}}}, id="its labels"),
        pytest.param([], {"spec": {"toleratedFailureCount": 3}}, id="another field of its spec"),
    ],
)
def test_a_stored_run_that_would_be_refused_now_can_be_written(
    cluster: Cluster, stored: str, arguments: list[str], body: Json
) -> None:
    cluster.kubectl("patch", stored, "--type=merge", *arguments, "-p", json.dumps(body))


def test_what_is_changed_must_keep_to_the_present_bounds(cluster: Cluster, stored: str) -> None:
    done = cluster.kubectl("patch", stored, "--type=merge", "-p", '{"spec": {"maxConcurrency": 20001}}', check=False)
    assert "spec.maxConcurrency: Invalid value: 20001" in done.stderr


def test_one_version_is_all_that_was_ever_stored(cluster: Cluster, stored: str) -> None:
    for name in (crd.definition()["metadata"]["name"], OLD_NAME):
        status = json.loads(cluster.kubectl("get", "crd", name, "-o", "json").stdout)["status"]
        assert status["storedVersions"] == ["v1alpha1"]


# The page about all this, and the examples.


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_work_one_after_the_other(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "limits.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ kubectl (.*)$", "".join(blocks("console")), re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        if command.startswith(("wait", "patch")):  # it has ended, and goes on
            report(kubectl, "True" if command.startswith("wait") else "Unknown", "airports")
        said = good(kubectl, *shlex.split(command))
    assert "patched" in said
    assert read(kubectl, "airports")["spec"]["toleratedFailureCount"] == 3


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", DOCS) if "://" not in link]
    named = re.findall(r"`((?:tests|examples|docs)/[^`]*)`", DOCS)
    assert [path for path in links if not (ROOT / "docs" / path).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.fixture(scope="module")
def health(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """What the page's expressions for Flux make of a status: the policy refuses each status, and says so."""
    (flux,) = (text for text in blocks("yaml") if "healthCheckExprs" in text)
    (checks,) = yaml.safe_load(flux)["spec"]["healthCheckExprs"]
    told = " + ".join(
        f"' {name}=' + string({checks[name].replace('status.conditions', 'object.status.conditions')})"
        for name in ("inProgress", "failed", "current")
    )
    rule = {
        "apiGroups": [crd.GROUP],
        "apiVersions": [crd.VERSION],
        "operations": ["UPDATE"],
        "resources": [f"{crd.PLURAL}/status"],
    }
    about = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "life"}}
    only_ours = {"objectSelector": {"matchLabels": {"life": "health"}}}
    policy = about | {
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": {"resourceRules": [rule], **only_ours},
            "validations": [{"expression": "false", "messageExpression": told}],
        },
    }
    binding = about | {
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": "life", "validationActions": ["Deny"]},
    }
    run = {**TEAM, "metadata": {"name": "health", "labels": {"life": "health"}}}
    for body in (policy, binding, run):
        cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(body))

    def judged(status: str) -> str:
        given = ("patch", "mr/health", "--subresource=status", "--type=merge", "--dry-run=server", "-p", status)
        eventually(lambda: cluster.kubectl(*given, check=False).returncode != 0, WAIT)
        said = cluster.kubectl(*given, check=False).stderr
        return " ".join(name for name, value in re.findall(r" (\w+)=(true|false)", said) if value == "true")

    yield judged
    cluster.kubectl("delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", "life")
    cluster.kubectl("delete", "mapruns", "health")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        pytest.param(None, "inProgress", id="not seen yet"),
        pytest.param("Unknown", "inProgress", id="running"),
        pytest.param("True", "current", id="succeeded"),
        pytest.param("False", "failed", id="failed"),
    ],
)
def test_flux_is_told_how_a_run_stands(health: Callable[[str], str], status: str | None, state: str) -> None:
    told = {"type": "Succeeded", "status": status, "reason": "Odd", "message": "It is so.", "lastTransitionTime": TIME}
    assert health(json.dumps({"status": {"retries": 1} | ({"conditions": [told]} if status else {})})) == state


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pods_of_an_example_are_admitted_where_the_standard_restricted_is_enforced(
    kubectl: Kubectl, namespace: str, name: str
) -> None:
    spec = parse(yaml.safe_load((ROOT / f"examples/{name}/{name}.yaml").read_text("utf-8")))
    run = RunRef(namespace, name, "00000000-0000-4000-8000-000000000000", 0.0)
    job = job_for(run, spec, Attempt(0, 1), Batch(0, 1, msgspec.Raw(b"{}"))).job
    pod = {"apiVersion": "v1", "kind": "Pod", **job["spec"]["template"]}
    pod["metadata"] = pod["metadata"] | {"name": "child"}
    pod["spec"] = pod["spec"] | {"restartPolicy": "Never"}
    assert "pod/child created" in good(kubectl, "create", "--dry-run=server", "-f", "-", body=pod)
    del pod["spec"]["securityContext"]
    assert 'violates PodSecurity "restricted' in bad(kubectl, "create", "--dry-run=server", "-f", "-", body=pod)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_applied_as_its_readme_says(kubectl: Kubectl, name: str) -> None:
    folder = ROOT / "examples" / name
    assert f"$ kubectl apply -k examples/{name}\n" in (folder / "README.md").read_text("utf-8")
    said = good(kubectl, "apply", "-k", str(folder))
    assert f"configmap/{name}-handler created" in said
    assert f"maprun.maprun.dev/{name} created" in said
    assert good(kubectl, "diff", "-k", str(folder)) == ""
