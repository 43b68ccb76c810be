"""The command line, through its own runner and as a process: exit codes, what is said, what lies on the disk then."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import maprun
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal_reader import JournalReader
from maprun.cli.app import app
from maprun.cli.demo import EXAMPLES
from maprun.records import Outcome

RUNNER = CliRunner()
WAIT = 30.0  # seconds; a bound, not an expectation

SUM = 'echo "{\\"sum\\": $MAPRUN_INPUT_JSON}" > $MAPRUN_OUTPUT'
ODD = '{"errorType": "Odd", "errorMessage": "no"}'
FLAKY = f"test $MAPRUN_CHILD_INDEX != 1 && exit 0; echo '{ODD}' > $MAPRUN_OUTPUT; exit 1"


def map_run(script: str = SUM, **spec: Any) -> dict[str, Any]:
    container = {"name": "work", "image": "not-used", "command": ["sh", "-c", script]}
    processor = {"jobTemplate": {"spec": {"template": {"spec": {"containers": [container]}}}}}
    return {
        "apiVersion": "maprun.dev/v1alpha1",
        "kind": "MapRun",
        "metadata": {"name": "numbers"},
        "spec": {"input": [1, 2, 3], "itemProcessor": processor, **spec},
    }


READER = {
    "resource": "s3:getObject",
    "parameters": {"bucket": "data", "key": "in.json"},
    "readerConfig": {"inputType": "JSON"},
}
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "out"}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def written(*documents: Any, name: str = "run.yaml") -> str:
    Path(name).write_text(yaml.safe_dump_all(documents))
    return name


def call(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def test_a_run_prints_its_summary() -> None:
    result = call("run", written(map_run()), "--state", "st")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("numbers SUCCEEDED in ")
    assert 'Output   [{"sum":1},{"sum":2},{"sum":3}]' in result.stdout
    assert "State    st" in result.stdout
    assert "numbers  3/3  100 %  0 running  0 failed" in result.stderr


def test_a_run_with_json_prints_the_status_and_nothing_else() -> None:
    result = call("run", written(map_run()), "--json")
    status = json.loads(result.stdout)
    assert (status["executionCounts"]["succeeded"], status["conditions"][0]["status"]) == (3, "True")
    assert result.stderr == ""


def test_a_run_that_fails_exits_with_1_and_says_why() -> None:
    result = call("run", written(map_run(FLAKY, maxConcurrency=1)))
    assert result.exit_code == 1
    assert "numbers FAILED in " in result.stdout
    assert "States.ExceedToleratedFailureThreshold" in result.stdout
    assert "1 × Odd  for example numbers-1: no" in result.stdout


def test_a_tolerated_failure_is_no_failure_of_the_run() -> None:
    result = call("run", written(map_run(FLAKY)), "--set", "toleratedFailureCount=1")
    assert result.exit_code == 0, result.output
    assert "2 succeeded, 1 failed" in result.stdout


def test_buckets_are_directories() -> None:
    Path("disk/data").mkdir(parents=True)
    Path("disk/data/in.json").write_text("[10, 20]")
    file = written(map_run(itemReader=READER, resultWriter=WRITER))
    result = call("run", file, "--bucket-dir", "disk")
    assert result.exit_code == 0, result.output
    (manifest,) = Path("disk/results/out").glob("*/manifest.json")
    assert f"Results  {manifest.parent}" in result.stdout
    records = json.loads((manifest.parent / "SUCCEEDED_0.json").read_text())
    assert [record["Output"] for record in records] == ['{"sum": 10}', '{"sum": 20}']


CITIES = {"name": "cities", "key": "cities.csv"}


def local_reader(resource: str, **parameters: str) -> dict[str, Any]:
    config = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}
    return {"resource": resource, "parameters": CITIES | parameters, "readerConfig": config}


@pytest.mark.parametrize("resource", ["configmap", "secret"])
@pytest.mark.parametrize("server", [[], ["--s3-endpoint", "http://127.0.0.1:9"]], ids=["directories", "an S3 server"])
def test_a_config_map_is_a_directory_with_a_file_for_each_key(resource: str, server: list[str]) -> None:
    Path("disk/cities").mkdir(parents=True)
    Path("disk/cities/cities.csv").write_text("name\nBonn\nOslo\n")
    made = map_run('echo "$MAPRUN_INPUT_JSON" > $MAPRUN_OUTPUT', itemReader=local_reader(resource))
    result = call("run", written(made), "--bucket-dir", "disk", *server, "--state", "st")
    assert result.exit_code == 0, result.output
    assert 'Output   [{"name":"Bonn"},{"name":"Oslo"}]' in result.stdout
    Path("disk/cities/cities.csv").unlink()
    again = call("run", "run.yaml", "--bucket-dir", "disk", *server, "--state", "st")
    assert again.exit_code == 0, "a finished plan needs its dataset no more"


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        pytest.param(
            {"key": "x.csv"}, "./cities/x.csv is not a file, and stands for the configmap cities", id="no key"
        ),
        pytest.param({"name": "towns"}, "./towns/cities.csv is not a file, and stands for the configmap", id="no map"),
        pytest.param({"key": "../cities.csv"}, "no . or ..", id="a key that leads elsewhere"),
        pytest.param(
            {"key": "large.csv"}, "large.csv has 1,048,577 bytes; a configmap holds at most 1 MiB", id="large"
        ),
    ],
)
def test_a_config_map_that_is_not_there(parameters: dict[str, str], told: str) -> None:
    Path("cities").mkdir()
    Path("cities/cities.csv").write_text("name\n")
    Path("cities/large.csv").write_bytes(bytes(1_048_577))
    result = call("run", written(map_run(itemReader=local_reader("configmap", **parameters))))
    assert result.exit_code == 2
    assert "spec.itemReader.parameters" in result.stderr
    assert told in result.stderr
    assert not Path("maprun-runs").exists()


def test_a_finished_run_is_told_again_and_nothing_runs_twice() -> None:
    file = written(map_run("echo x >> $PWD/ran"))
    first, second = (call("run", file, "--state", "st", "--json") for _ in range(2))
    assert Path("ran").read_text() == "x\n" * 3
    assert json.loads(first.stdout)["mapRunArn"] == json.loads(second.stdout)["mapRunArn"]


# ------------------------------------------------------------------------------------------------------------ redrives

BROKEN = "echo $MAPRUN_CHILD_INDEX >> $PWD/ran; test -e fixed || test $MAPRUN_CHILD_INDEX != 1"


def ran() -> list[str]:
    """The children that were started, in no order."""
    return sorted(Path("ran").read_text().split())


def result_files() -> dict[str, Any]:
    """The JSON files below the run's folder in the bucket of the results, by their path in it."""
    (folder,) = Path("results/out").iterdir()
    return {str(file.relative_to(folder)): json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))}


def test_a_redrive_runs_what_did_not_succeed_and_writes_beside_the_first_results() -> None:
    file = written(map_run(BROKEN, resultWriter=WRITER, toleratedFailureCount=0, maxConcurrency=1))
    first = call("run", file, "--state", "st")
    assert (first.exit_code, ran()) == (1, ["0", "1"])
    before = result_files()
    Path("fixed").touch()
    second = call("run", file, "--state", "st", "--set", "redrives=1")
    assert second.exit_code == 0, second.output
    assert ran() == ["0", "1", "1", "2"]
    assert "numbers redrive 1  3/3  100 %" in second.stderr
    assert re.search(r"numbers SUCCEEDED in \S+ s \(redrive 1\): 3 child executions, 3 succeeded", second.stdout)
    assert re.search(r"Results  results/out/[-0-9a-f]+/Redrive-1\n +\.\./SUCCEEDED_0\.json", second.stdout)
    after = result_files()
    assert {name: after[name] for name in before} == before
    assert [record["Name"] for record in after["Redrive-1/SUCCEEDED_0.json"]] == ["numbers-1", "numbers-2"]
    assert [record["RedriveCount"] for record in after["Redrive-1/SUCCEEDED_0.json"]] == [1, 0]
    listed = after["Redrive-1/manifest.json"]["ResultFiles"]
    assert {name: len(files) for name, files in listed.items()} == {"FAILED": 0, "PENDING": 0, "SUCCEEDED": 2}
    third = call("run", file, "--state", "st", "--set", "redrives=1", "--json")
    assert (third.exit_code, len(ran()), json.loads(third.stdout)["redriveCount"]) == (0, 4, 1)


def test_redrives_are_made_one_after_the_other_while_something_is_left() -> None:
    file = written(map_run(BROKEN))
    result = call("run", file, "--state", "st", "--set", "redrives=2", "--set", "maxConcurrency=1", "--json")
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["redriveCount"] == 2
    assert ran().count("1") == 3
    Path("fixed").touch()
    result = call("run", file, "--state", "st", "--set", "redrives=9", "--set", "maxConcurrency=1")
    assert result.exit_code == 0, result.output
    assert "(redrive 3)" in result.stdout
    assert "Redrive  none, because nothing is left that it would run again" in result.stdout
    assert [ran().count(child) for child in "012"] == [1, 4, 1]


def test_a_redrive_reads_a_dataset_that_was_mended() -> None:
    """No child ever started, so that it is read anew; the ConfigMap is asked for again."""
    Path("cities").mkdir()
    Path("cities/k").write_text("{oops")
    reader = {"resource": "configmap", "parameters": {"name": "cities", "key": "k"}}
    file = written(map_run(itemReader={**reader, "readerConfig": {"inputType": "JSON"}}))
    assert call("run", file, "--state", "st").exit_code == 1
    Path("cities/k").unlink()
    missing = call("run", file, "--state", "st", "--set", "redrives=1")
    assert (missing.exit_code, "k is not a file" in missing.stderr) == (2, True)
    Path("cities/k").write_text("[40, 2]")
    result = call("run", file, "--state", "st", "--set", "redrives=1", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["output"] == [{"sum": 40}, {"sum": 2}]


@pytest.mark.parametrize(
    ("settings", "reason", "files"),
    [
        pytest.param(["abort=true"], "Aborted", [], id="abort, before anything is read"),
        pytest.param(
            ["timeoutSeconds=1", "maxConcurrency=1"], "TimedOut", ["FAILED_0.json", "PENDING_0.json"], id="a timeout"
        ),
    ],
)
def test_a_run_that_is_stopped_exits_with_1_and_can_be_redriven(
    settings: list[str], reason: str, files: list[str]
) -> None:
    file = written(map_run("test -e go || sleep 60", resultWriter=WRITER))
    words = [word for setting in settings for word in ("--set", setting)]
    result = call("run", file, "--state", "st", *words, "--json")
    assert result.exit_code == 1, result.output
    condition = json.loads(result.stdout)["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert list(result_files()) == [*files, "manifest.json"]
    Path("go").touch()
    again = call("run", file, "--state", "st", "--set", "redrives=1", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["executionCounts"]["succeeded"] == 3


def test_a_redrive_that_was_killed_goes_on_where_it_was() -> None:
    """Child 2 waits for the file `go`, the others are done and durable, when the process is killed."""
    wait = "; test $MAPRUN_CHILD_INDEX != 2 || while ! test -e go; do sleep 0.05; done"
    file = written(map_run("echo $MAPRUN_CHILD_INDEX >> $PWD/ran; test -e fixed || exit 1" + wait, resultWriter=WRITER))
    assert call("run", file, "--state", "st", "--set", "toleratedFailureCount=3").exit_code == 0
    assert ran() == ["0", "1", "2"]
    Path("fixed").touch()
    wanted = ("run", file, "--state", "st", "--set", "toleratedFailureCount=3", "--set", "redrives=1")
    with python("-m", "maprun", *wanted) as first:
        until(lambda: len(ran()) == 6)
        until(lambda: durable() == 5)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=WAIT)
    Path("go").touch()
    second = call(*wanted, "--json")
    assert second.exit_code == 0, second.output
    told = json.loads(second.stdout)
    assert (told["executionCounts"]["succeeded"], told["redriveCount"]) == (3, 1)
    assert ran() == ["0", "0", "1", "1", "2", "2", "2"]
    found = result_files()
    assert [record["Status"] for record in found["FAILED_0.json"]] == ["FAILED"] * 3
    assert [record["RedriveCount"] for record in found["Redrive-1/SUCCEEDED_0.json"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda run: run["spec"].update(surprise=1), "spec.surprise: is not a field", id="an unknown field"
        ),
        pytest.param(
            lambda run: run["spec"]["itemProcessor"]["jobTemplate"]["spec"].update(backoffLimit=3),
            "spec.itemProcessor.jobTemplate.spec.backoffLimit: ",
            id="a Job template that MapRun cannot use",
        ),
        pytest.param(lambda run: run.update(kind="Job"), "kind: must be MapRun", id="another kind"),
        pytest.param(
            lambda run: run["spec"].update(itemReader=READER),
            "spec.itemReader.parameters.bucket: data is not a directory; put the data there",
            id="a bucket that is not there",
        ),
        pytest.param(
            lambda run: run["spec"]["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0].update(
                command=["no-such-program"]
            ),
            "'no-such-program' is not on your PATH",
            id="a program that is not there",
        ),
    ],
)
def test_bad_input_exits_with_2_and_says_what_to_do(change: Callable[[dict[str, Any]], None], message: str) -> None:
    body = map_run()
    change(body)
    result = call("run", written(body))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("maprun-runs").exists()


def test_a_key_that_is_not_there() -> None:
    Path("data").mkdir()
    result = call("run", written(map_run(itemReader=READER)))
    assert result.exit_code == 2
    assert "spec.itemReader.parameters.key: data/in.json is not a file" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "there is no such file", id="no file"),
        pytest.param(b"a: [", "is not YAML", id="no YAML"),
        pytest.param(b"\xff\xfe", "is not text in UTF-8", id="no text"),
        pytest.param(b"", "holds 0 resources of kind MapRun", id="empty"),
        pytest.param(b"--- {kind: MapRun}\n--- {kind: MapRun}\n", "holds 2 resources of kind MapRun", id="two of them"),
        pytest.param(b"- 1", "holds 0 resources of kind MapRun", id="a list"),
    ],
)
def test_a_file_that_holds_no_map_run(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("x.yaml").write_bytes(content)
    result = call("validate", "x.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"x.yaml: {message}" in result.stderr


def test_validate_lists_all_problems() -> None:
    body = map_run(label="a b", toleratedFailurePercentage="101")
    result = call("validate", written(body))
    assert result.exit_code == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        "spec.label",
        "spec.toleratedFailurePercentage",
    ]


def test_validate_accepts_a_map_run_among_other_resources() -> None:
    result = call("validate", written({"kind": "ConfigMap"}, map_run(), None))
    assert (result.exit_code, result.stdout) == (0, "run.yaml: the MapRun numbers is valid\n")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("maxConcurrency", "must be FIELD=VALUE", id="no value"),
        pytest.param("=3", "must be FIELD=VALUE", id="no field"),
        pytest.param("maxConcurrency=many", "spec.maxConcurrency: must be", id="a value of the wrong type"),
        pytest.param("input.x=1", "input has no fields inside it", id="a field inside a list"),
    ],
)
def test_settings_that_cannot_be(setting: str, message: str) -> None:
    result = call("validate", written(map_run()), "--set", setting)
    assert result.exit_code == 2
    assert message in result.stderr


def test_settings_replace_fields() -> None:
    Path("disk/other").mkdir(parents=True)
    Path("disk/other/in.json").write_text("[5]")
    file = written(map_run(itemReader=READER))
    settings = ("--set", "itemReader.parameters.bucket=other", "--set", "spec.maxConcurrency=2")
    result = call("run", file, "--bucket-dir", "disk", *settings, "--json")
    status = json.loads(result.stdout)
    assert (status["output"], status["maxConcurrency"]) == ([{"sum": 5}], 2)


def test_a_state_directory_belongs_to_one_run() -> None:
    assert call("run", written(map_run()), "--state", "st").exit_code == 0
    changed = call("run", written(map_run(input=[4])), "--state", "st")
    assert changed.exit_code == 2
    assert "spec.input changed since the run in st began" in changed.stderr
    other = call("run", written({**map_run(), "metadata": {"name": "other"}}), "--state", "st")
    assert other.exit_code == 2
    assert "belongs to the run numbers, not to other" in other.stderr
    Path("full").mkdir()
    Path("full/mine").touch()
    full = call("run", written(map_run()), "--state", "full")
    assert full.exit_code == 2
    assert "is not empty and holds no run" in full.stderr


def python(*arguments: str) -> subprocess.Popen[str]:
    """A Python that knows this package, in a session of its own."""
    path = os.pathsep.join([str(Path(maprun.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def durable() -> int:
    """How many outcomes are in the journal of the run in `st`."""
    records = JournalReader(DirectoryStore(Path("st"))).records_from()
    return sum(isinstance(record, Outcome) for _, _, record in records)


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: str(number.name))
def test_a_run_that_was_stopped_goes_on_where_it_was(number: signal.Signals) -> None:
    """Child 2 waits for the file `go`; the others are done, and durable, before the run is stopped."""
    script = (
        "echo $MAPRUN_CHILD_INDEX >> $PWD/ran; test $MAPRUN_CHILD_INDEX != 2 || while ! test -e go; do sleep 0.05; done"
    )
    file = written(map_run(script, toleratedFailureCount=0))
    with python("-m", "maprun", "run", file, "--state", "st") as first:
        until(lambda: Path("ran").exists() and len(Path("ran").read_text().split()) == 3)
        until(lambda: durable() == 2)
        first.send_signal(number)
        _, words = first.communicate(timeout=WAIT)
    if number != signal.SIGKILL:
        assert first.returncode == 130
        assert "nothing is running any more. Go on with:\n" in words
        assert "-m maprun run run.yaml --state st --bucket-dir ." in words
        assert "Traceback" not in words
    Path("go").touch()
    with python("-m", "maprun", "run", file, "--state", "st", "--json") as second:
        told, words = second.communicate(timeout=WAIT)
    assert json.loads(told)["executionCounts"]["succeeded"] == 3, words
    assert sorted(Path("ran").read_text().split()) == ["0", "1", "2", "2"]


def test_the_demo_runs_and_leaves_its_files() -> None:
    with python("-m", "maprun", "demo", "--dir", "d") as process:
        told, words = process.communicate(timeout=2 * WAIT)
    assert process.returncode == 0, words
    assert "130 child executions, 126 succeeded, 4 failed, 6 retried" in told
    assert "4 × AirportHasNickname  for example airports-16: Obihiro (RJCB) is also called Tokachi" in told
    (manifest,) = Path("d/airports-results/airports").glob("*/manifest.json")
    sizes = {name: len(files) for name, files in json.loads(manifest.read_text())["ResultFiles"].items()}
    assert sizes == {"FAILED": 1, "PENDING": 0, "SUCCEEDED": 1}
    failed = json.loads((manifest.parent / "FAILED_0.json").read_text())
    assert {record["Error"] for record in failed} == {"AirportHasNickname"}


def test_the_demo_never_clears_a_directory_of_somebody_else() -> None:
    Path("mine").mkdir()
    Path("mine/work").touch()
    result = call("demo", "--dir", "mine")
    assert result.exit_code == 2
    assert "was not made by a demo" in result.stderr
    assert Path("mine/work").exists()


def test_the_airports_are_130_in_the_shape_of_the_example() -> None:
    airports = json.loads((EXAMPLES[-1] / "airports.json").read_text("utf-8"))
    assert len(airports) == 130
    assert {tuple(airport) for airport in airports} == {("ICAO", "IATA", "NAME", "ANAME1", "ANAME2", "NNAME", "REGION")}
    assert [airport["ICAO"] for airport in airports if airport["NNAME"]] == ["RJCB", "RJGG", "RJNS", "RJOK"]


def test_a_local_run_loads_nothing_that_talks_to_a_cluster() -> None:
    code = "import sys, maprun.cli.commands; print({'kopf', 'kubernetes', 'boto3', 'aiohttp'} & sys.modules.keys())"
    with python("-c", code) as process:
        assert process.communicate(timeout=WAIT)[0].strip() == "set()"


def test_without_a_command_there_is_help() -> None:
    assert "validate" in call("--help").stdout


ROOT = EXAMPLES[-1].parent.parent
PAGES = ("README.md", "docs/quickstart.md")


@pytest.mark.parametrize("page", PAGES)
def test_each_map_run_in_the_documentation_is_valid(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        Path("block.yaml").write_text(block, "utf-8")
        assert call("validate", "block.yaml").output.endswith(" is valid\n")


@pytest.mark.parametrize("page", [*PAGES, "examples/airports/README.md"])
def test_each_link_in_the_documentation_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text("utf-8"))
    assert [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()] == []


def test_the_words_of_the_quickstart_become_upper_case() -> None:
    block = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/quickstart.md").read_text("utf-8"), re.DOTALL)[0]
    Path("words.yaml").write_text(block, "utf-8")
    assert 'Output   ["MAP","REDUCE","FOLD"]' in call("run", "words.yaml").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--kubeconfig", "/no/such/file"], "maprun: There is no usable configuration", id="no cluster"),
        pytest.param(["--state", "ftp://somewhere"], "maprun: ", id="a state store of an unknown kind"),
    ],
)
def test_an_operator_that_cannot_start_says_why(arguments: list[str], message: str) -> None:
    state = f"file://{Path.cwd()}/state"
    with python("-m", "maprun", "operator", "--state", state, *arguments) as process:
        _, words = process.communicate(timeout=WAIT)
    assert process.returncode == 2
    assert message in words
    assert "Traceback" not in words
