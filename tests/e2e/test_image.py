"""The image: what is in it and what is not, that a build can be repeated, and that it runs under the strictest rules.

Rule 1: a container runs only where something must be seen to run; everything else is read from the archive.
Rule 2: the operator and what it starts need no shell, so there is none for them. Local runs (`maprun run`, `maprun
        demo`) start their children through /bin/sh.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from email.parser import BytesParser
from pathlib import Path
from tarfile import TarInfo
from typing import Final

import pytest
from packaging.utils import canonicalize_name

from tests.cluster import Cluster, images
from tests.cluster.paths import REPOSITORY, Unavailable
from tests.e2e import real_runs
from tests.e2e.image_archive import ImageArchive, opened
from tests.e2e.real_runs import Json, Project
from tests.operator_process import eventually
from tools import sbom

IMAGE: Final = "localhost/maprun:dev"
AGAIN: Final = "localhost/maprun:again"
LABELS: Final = {"VERSION": "1.2.3", "REVISION": "0123abcd", "CREATED": "2026-11-21T20:00:00Z"}
NAMESPACE: Final = "image"
SHELLS: Final = ("/bin/sh", "/bin/bash")
MEGABYTES: Final = 210  # about a hundred of them read and write Parquet
NOT_OURS: Final = ("pip", "setuptools", "uv", "hatchling")
PHASE: Final = "--output=jsonpath={.status.phase}"
CONFINED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
CHILD: Final = real_runs.template(images.BUSYBOX, ["true"], securityContext=CONFINED)
CHILD["spec"]["template"]["spec"]["securityContext"] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RUN: Final = {
    "apiVersion": "maprun.dev/v1alpha1",
    "kind": "MapRun",
    "metadata": {"name": "good"},
    "spec": {"input": [1], "itemProcessor": {"jobTemplate": CHILD}},
}
# A pod, and what it says.
COMMANDS: Final = {
    "the packaged example runs": ("demo", "SUCCEEDED in"),
    "help is shown, without a shell": ("help", "--state"),
    "a spec is checked, without a shell": ("validate", "the MapRun good is valid"),
    "S3 is reached by key and by web identity, without a shell": ("inside", "all is well"),
}


@pytest.fixture(scope="module")
def image() -> ImageArchive:
    """The image as `make e2e` builds it."""
    return _built(REPOSITORY, IMAGE)


@pytest.fixture(scope="module")
def again(image: ImageArchive, tmp_path_factory: pytest.TempPathFactory) -> ImageArchive:
    """A second build, of files that are younger and lie elsewhere, with labels."""
    context = tmp_path_factory.mktemp("context")
    for name in ("operator/maprun", "examples/airports", "tools"):
        shutil.copytree(REPOSITORY / name, context / name, copy_function=shutil.copyfile)
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        shutil.copyfile(REPOSITORY / name, context / name)
    return _built(context, AGAIN, LABELS)


def _built(context: Path, name: str, arguments: dict[str, str] | None = None) -> ImageArchive:
    try:
        return opened(images.build(context, name, arguments=arguments))
    except Unavailable as error:
        pytest.skip(f"cannot build images: {error}")


def test_a_second_build_gives_the_same_layers(image: ImageArchive, again: ImageArchive) -> None:
    assert len(image.layers) == 2
    assert image.layers == again.layers


def test_labels_say_what_it_is_and_what_it_was_made_of(image: ImageArchive, again: ImageArchive) -> None:
    named = {"title": "MapRun", "licenses": "Apache-2.0", "base.name": images.PYTHON}
    assert _labels(image).items() >= {**named, "version": "dev", "revision": "unknown"}.items()
    assert _labels(again).items() >= {**named, **{key.lower(): value for key, value in LABELS.items()}}.items()
    assert "Distributed Map" in _labels(image)["description"]


def _labels(image: ImageArchive) -> dict[str, str]:
    labels: dict[str, str] = image.config["config"]["Labels"]
    prefix = "org.opencontainers.image."
    return {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}


def test_it_runs_as_nobody_in_particular_and_starts_a_program(image: ImageArchive) -> None:
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/opt/maprun/bin/maprun"]
    assert not config.get("Cmd") or config["Cmd"] == ["python3"]  # the base's


def test_what_it_adds_is_small_and_lies_in_one_place(image: ImageArchive) -> None:
    assert image.size < MEGABYTES * 1_000_000
    elsewhere = {name for name in image.added if not name.startswith("opt/maprun/")}
    assert {name for name in elsewhere if not image.added[name].isdir() and not name.endswith(".pyc")} == set()


UNWANTED: Final[dict[str, Callable[[TarInfo], object]]] = {
    "a file that everyone may change": lambda entry: not entry.issym() and entry.mode & stat.S_IWOTH,
    "a file that gives rights": lambda entry: entry.mode & (stat.S_ISUID | stat.S_ISGID),
    "a file that root does not own": lambda entry: entry.uid or entry.gid,
    "a time": lambda entry: entry.mtime,
    "a cache or a file of settings": lambda entry: (
        {"cache", ".cache", ".config", "root", "home", "tmp", ".aws", ".netrc", "pip.conf"} & set(entry.name.split("/"))
    ),
    "a tool that installs or builds": lambda entry: (
        "/site-packages/" in entry.name and entry.name.split("/site-packages/")[1].split("/")[0] in NOT_OURS
    ),
    "a key or a key store": lambda entry: entry.name.endswith((".key", ".p12", ".pfx", ".jks")),
    "a script for shells": lambda entry: "/bin/activate" in entry.name or entry.name.endswith((".sh", ".ps1", ".bat")),
}


@pytest.mark.parametrize("unwanted", UNWANTED)
def test_nothing_in_it_is(image: ImageArchive, unwanted: str) -> None:
    assert [entry.name for entry in image.added.values() if UNWANTED[unwanted](entry)] == []


def test_its_programs_are_maprun_and_python(image: ImageArchive) -> None:
    programs = {name.rpartition("/")[2] for name in image.added if name.startswith("opt/maprun/bin/")}
    assert programs == {"maprun", "python", "python3", f"python{image.python}"}


def test_every_file_is_one_that_its_package_lists_with_this_digest(image: ImageArchive) -> None:
    site = f"opt/maprun/lib/python{image.python}/site-packages/"
    listed: dict[str, str] = {}
    for name, text in image.packages.items():
        if name.endswith("RECORD"):
            listed |= {row[0]: row[1] for row in csv.reader(text.decode().splitlines())}
    there = {name.removeprefix(site) for name, entry in image.added.items() if name.startswith(site) and entry.isfile()}
    assert {name for name in there if not name.endswith(".pyc")} == {name for name in listed if name[:3] != "../"}
    with_digest = {name: digest for name, digest in listed.items() if digest and name.startswith("maprun/")}
    assert {name: _digest(REPOSITORY, name) for name in with_digest} == with_digest


def _digest(repository: Path, name: str) -> str:
    """As RECORD has it, of a file of this repository."""
    example = name.startswith("maprun/examples/")
    path = repository / (name.removeprefix("maprun/") if example else f"operator/{name}")
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def test_the_bill_of_materials_names_what_is_installed(image: ImageArchive) -> None:
    bill = json.loads(sbom.render(image.python))
    parts = [*bill["components"], bill["metadata"]["component"]]
    metadata = [BytesParser().parsebytes(text) for name, text in image.packages.items() if name.endswith("METADATA")]
    installed = {(canonicalize_name(each["Name"]), each["Version"]) for each in metadata}
    assert {(part["name"], part["version"]) for part in parts} == installed
    assert len(installed) > 40


@pytest.fixture(scope="module")
def project(cluster_real: Cluster, image: ImageArchive) -> Iterator[Project]:
    """A namespace under the rules of `restricted`, in which the commands and an operator run from the image."""
    if cluster_real.state_dir is None:
        pytest.skip("loads an image into the node: needs the test cluster's own node")
    cluster_real.load_image(image.path)
    cluster_real.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    project = Project(cluster_real, NAMESPACE).create()
    cluster_real.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    for manifest in _manifests():
        project.apply(manifest)
    yield project
    project.kubectl("delete", "mapruns", "--all", "--timeout=30s")
    cluster_real.kubectl("delete", "clusterrolebinding", NAMESPACE)
    cluster_real.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


@pytest.mark.parametrize(("container", "words"), COMMANDS.values(), ids=COMMANDS)
def test_in_a_container(project: Project, container: str, words: str) -> None:
    eventually(lambda: project.kubectl("get", "pod", container, PHASE) in ("Succeeded", "Failed"), 120)
    told = project.kubectl("logs", container)
    assert project.kubectl("get", "pod", container, PHASE) == "Succeeded", told
    assert words in told


def test_the_operator_drives_a_run_without_a_shell(project: Project) -> None:
    status = project.ended("good")
    assert status["executionCounts"]["succeeded"] == 1, project.story("good")
    assert "Traceback" not in project.kubectl("logs", "operator")


def _manifests() -> Iterator[Json]:
    data = {"inside.py": (REPOSITORY / "tests/e2e/inside.py").read_text(), "nothing": "", "run.yaml": json.dumps(RUN)}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "given"}, "data": data}
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
    }
    yield RUN
    yield _pod("demo", args=["demo", "--dir", "/tmp/demo"])
    yield _pod("help", SHELLS, args=["operator", "--help"])
    yield _pod("validate", SHELLS, args=["validate", "/given/run.yaml"])
    yield _pod("inside", SHELLS, command=["/opt/maprun/bin/python", "/given/inside.py"])
    yield _pod("operator", SHELLS, args=["operator", f"--namespace={NAMESPACE}", "--state=file:///tmp/state"])


def _pod(name: str, without: Sequence[str] = (), **run: list[str]) -> Json:
    """Nothing may be written but below /tmp; in place of each file in `without` there is an empty one."""
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "given", "mountPath": "/given"}]
    mounts += [{"name": "given", "mountPath": file, "subPath": "nothing"} for file in without]
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "volumeMounts": mounts}
    spec = {
        "restartPolicy": "Never",
        # No user: that the image's own is not root must show.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{**container, "securityContext": CONFINED, **run}],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "given", "configMap": {"name": "given"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
