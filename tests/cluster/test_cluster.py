"""The cluster that the other tests stand on, tested for itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.cluster import ClusterError, attach, down, images, leftovers, started
from tests.cluster.fake_nodes import OUTCOMES
from tests.cluster.paths import REPOSITORY

if TYPE_CHECKING:
    from tests.cluster import Cluster, ControllerManager, S3Server

ASK_THE_API = """
import os, ssl, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
token = open(folder + "token").read()
request = urllib.request.Request(address + "/api/v1/pods", headers={"Authorization": "Bearer " + token})
trusted = ssl.create_default_context(cafile=folder + "ca.crt")
try:
    urllib.request.urlopen(request, context=trusted, timeout=10)
except urllib.error.HTTPError as error:
    print("api", error.code)
try:
    urllib.request.urlopen(os.environ["S3_ENDPOINT"], timeout=10)
except urllib.error.HTTPError as error:
    print("s3", error.code)
"""


def job(name: str, image: str, *command: str, annotations: dict[str, str] | None = None, **container: Any) -> str:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image, "command": command, **container}]}
    template = {"metadata": {"annotations": annotations or {}}, "spec": pod}
    spec = {"backoffLimit": 0, "template": template}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


def run_job(cluster: Cluster, manifest: str) -> str:
    """Create a Job and wait for its end: `Complete` or `Failed`."""
    name = json.loads(manifest)["metadata"]["name"]
    cluster.kubectl("create", "-f", "-", input=manifest)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        status = json.loads(cluster.kubectl("get", "job", name, "-o", "json").stdout)["status"]
        ended = [row["type"] for row in status.get("conditions", []) if row["status"] == "True"]
        for outcome in ("Complete", "Failed"):
            if outcome in ended:
                return outcome
        time.sleep(0.1)
    raise AssertionError(f"the Job {name} did not end: {cluster.kubectl('get', 'pods,events').stdout}")


def terminated(cluster: Cluster, job_name: str) -> dict[str, Any]:
    pods = json.loads(cluster.kubectl("get", "pods", "-l", f"job-name={job_name}", "-o", "json").stdout)
    state: dict[str, Any] = pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


class TestControlPlane:
    def test_it_answers_as_the_release_that_the_module_names(self, cluster_fake: Cluster) -> None:
        version = json.loads(cluster_fake.kubectl("version", "-o", "json").stdout)
        assert version["serverVersion"]["gitVersion"] == "v1.36.3"

    def test_what_was_written_survives_a_crash_of_the_api_server(self, cluster_fake: Cluster) -> None:
        cluster_fake.kubectl("create", "configmap", "survives")
        cluster_fake.restart_apiserver()
        assert cluster_fake.kubectl("get", "configmap", "survives", "-o", "name").stdout == "configmap/survives\n"

    @pytest.mark.parametrize("flavour", ["stock", "tuned"])
    def test_either_controller_manager_runs_a_job(self, cluster_fake: Cluster, flavour: ControllerManager) -> None:
        cluster_fake.set_controller_manager(flavour)
        assert run_job(cluster_fake, job(f"with-{flavour}", "any")) == "Complete"

    def test_attach_finds_one_of_ours_again_with_its_s3(self, cluster_fake: Cluster) -> None:
        assert attach(cluster_fake.kubeconfig) == cluster_fake


class TestFakeNodes:
    def test_a_job_completes(self, cluster_fake: Cluster) -> None:
        assert run_job(cluster_fake, job("completes", "any")) == "Complete"

    def test_a_pod_fails_as_its_annotations_say(self, cluster_fake: Cluster) -> None:
        notes = {"outcome": "fail", "exit-code": "42", "reason": "OOMKilled", "message": 'a "quoted": word'}
        annotations = {f"maprun.dev/test-{key}": value for key, value in notes.items()}
        assert run_job(cluster_fake, job("fails", "any", annotations=annotations)) == "Failed"
        state = terminated(cluster_fake, "fails")
        assert (state["exitCode"], state["reason"], state["message"]) == (42, "OOMKilled", 'a "quoted": word')

    def test_a_pod_runs_as_long_as_it_says(self, cluster_fake: Cluster) -> None:
        annotations = {"maprun.dev/test-duration": "1.5s"}
        began = time.monotonic()
        assert run_job(cluster_fake, job("lasts", "any", annotations=annotations)) == "Complete"
        assert time.monotonic() - began > 1.5

    def test_a_hanging_pod_ends_when_its_job_is_deleted(self, cluster_fake: Cluster) -> None:
        hanging = job("hangs", "any", annotations={"maprun.dev/test-outcome": "hang"})
        cluster_fake.kubectl("create", "-f", "-", input=hanging)
        cluster_fake.kubectl("wait", "pod", "-l", "job-name=hangs", "--for=condition=Ready", "--timeout=30s")
        cluster_fake.kubectl("delete", "job", "hangs", "--cascade=foreground", "--timeout=30s")
        assert cluster_fake.kubectl("get", "pods", "-l", "job-name=hangs", "-o", "name").stdout == ""

    def test_a_bad_file_of_stages_is_an_error_that_shows_why(self, cluster_fake: Cluster, tmp_path: Path) -> None:
        bad = tmp_path / "stages.yaml"
        bad.write_text("kind: Stage\napiVersion: kwok.x-k8s.io/v1alpha1\nspec: [")
        with pytest.raises(ClusterError, match=r"(?s)kwok ended by itself.*YAML"):
            cluster_fake.use_stages(bad)
        cluster_fake.use_stages(OUTCOMES)

    def test_more_of_them_can_be_added(self, cluster_fake: Cluster) -> None:
        before = cluster_fake.kubectl("get", "nodes", "-o", "name").stdout.split()
        cluster_fake.add_fake_nodes(3)
        assert len(cluster_fake.kubectl("get", "nodes", "-o", "name").stdout.split()) == len(before) + 3


def test_s3_refuses_a_second_conditional_put(s3_server: S3Server) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    client.create_bucket(Bucket="once")
    client.put_object(Bucket="once", Key="a", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="once", Key="a", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert client.get_object(Bucket="once", Key="a")["Body"].read() == b"first"


class TestDown:
    @pytest.mark.usefixtures("cluster_fake")
    def test_nothing_is_left_of_one_of_two_clusters_side_by_side(self) -> None:
        with started("none") as cluster:
            processes = leftovers.processes_of(cluster)
            assert len(processes) == 5
        assert cluster.state_dir is not None
        assert leftovers.find(cluster.state_dir, processes, real=False) == []

    @pytest.mark.usefixtures("cluster_fake")
    def test_a_later_process_ends_what_a_killed_one_started(self) -> None:
        script = "import time; from tests.cluster import up; print(up('orphan', 'none').state_dir); time.sleep(600)"
        starter = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert starter.stdout is not None
        state_dir = next(Path(line.strip()) for line in starter.stdout if line.startswith("/"))
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait()
        starter.stdout.close()
        processes = leftovers.processes_of(attach(state_dir / "kubeconfig"))
        assert all(process.alive() for process in processes)
        assert down("orphan")
        assert leftovers.find(state_dir, processes, real=False) == []

    @pytest.mark.usefixtures("real_node_free")
    def test_nothing_is_left_of_a_cluster_with_real_nodes(self) -> None:
        """With containers that run to the last. At the end of `cluster_real` the fixture looks in the same way."""
        with started("both") as cluster:
            options = ["--replicas=3", f"--image={images.BUSYBOX}", "--", "sleep", "3600"]
            cluster.kubectl("create", "deployment", "sleepers", *options)
            cluster.kubectl("rollout", "status", "deployment/sleepers", "--timeout=60s")
            where = cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").stdout.split()
            assert where == ["maprun-real"] * 3
            processes = leftovers.processes_of(cluster)
            assert len(processes) > 15
        assert cluster.state_dir is not None
        assert leftovers.find(cluster.state_dir, processes, real=True) == []


class TestRealNode:
    def test_a_busybox_job_completes(self, cluster_real: Cluster) -> None:
        assert run_job(cluster_real, job("busybox", images.BUSYBOX, "sh", "-c", "echo done")) == "Complete"
        assert cluster_real.kubectl("logs", "job/busybox").stdout == "done\n"

    def test_an_exit_code_is_a_real_one(self, cluster_real: Cluster) -> None:
        assert run_job(cluster_real, job("exits", images.BUSYBOX, "sh", "-c", "exit 42")) == "Failed"
        assert terminated(cluster_real, "exits")["exitCode"] == 42

    def test_a_python_pod_reaches_the_api_by_its_service_and_s3_by_the_bridge(self, cluster_real: Cluster) -> None:
        """403 from both: the certificate is the right one, the token is known, and nobody gave it a right."""
        assert cluster_real.s3 is not None
        endpoint = {"name": "S3_ENDPOINT", "value": cluster_real.s3.endpoint_from_pods}
        asking = job("asks", "python:3.13-slim", "python", "-c", ASK_THE_API, env=[endpoint])
        assert run_job(cluster_real, asking) == "Complete"
        assert cluster_real.kubectl("logs", "job/asks").stdout.split("\n") == ["api 403", "s3 403", ""]

    def test_a_dockerfile_becomes_an_image_on_the_node(self, cluster_real: Cluster, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(
            "ARG PYTHON_IMAGE=python:3.13-slim\nFROM ${PYTHON_IMAGE}\nCOPY hello.py /hello.py\n"
            'RUN python -m pip --version\nENTRYPOINT ["python", "/hello.py"]\n'
        )
        (tmp_path / "hello.py").write_text("print('hello from an image')")
        archive = images.build(tmp_path, "localhost/hello:dev")
        cluster_real.load_image(archive.path)
        pod = job("hello", "localhost/hello:dev").replace('"command": [], ', "")
        assert run_job(cluster_real, pod) == "Complete"
        assert cluster_real.kubectl("logs", "job/hello").stdout == "hello from an image\n"
