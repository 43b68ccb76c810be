"""The examples: what their READMEs tell to do here is done, and comes to what they say."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from maprun.core.validation import parse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ("airports", "hello", "inventory", "orders")
HERE = re.compile(r"^## Here\n(?P<text>.*?)^## ", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)$", re.MULTILINE)
WAIT = 60.0  # seconds; a bound, not an expectation

every_example = pytest.mark.parametrize("name", EXAMPLES)


def map_run(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"examples/{name}/{name}.yaml").read_text("utf-8"))
    return found


def follow_readme(name: str, folder: Path) -> str:
    """What the commands of the README's section "Here" print, run in a copy of the repository."""
    (folder / "examples").symlink_to(ROOT / "examples")
    found = HERE.search((ROOT / f"examples/{name}/README.md").read_text("utf-8"))
    assert found
    commands = COMMAND.findall(found["text"])
    assert commands
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(commands)],
        cwd=folder,
        env=kept | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def records(folder: Path, category: str) -> list[dict[str, Any]]:
    """The records of one kind in the result files below a bucket."""
    (file,) = folder.rglob(f"{category}_0.json")
    found: list[dict[str, Any]] = json.loads(file.read_bytes())
    return found


def test_hello_greets_every_planet_in_order(tmp_path: Path) -> None:
    shown = follow_readme("hello", tmp_path)
    assert "8 child executions, 8 succeeded" in shown
    found = re.search(r"^Output +(\[.*\])$", shown, re.MULTILINE)
    assert found
    planets = map_run("hello")["spec"]["input"]["planets"]
    greetings = [f"Hello, {planet}, number {number} from the sun!" for number, planet in enumerate(planets, 1)]
    assert json.loads(found[1]) == greetings
    told = (ROOT / "examples/hello/README.md").read_text("utf-8")
    assert f'["{greetings[0]}","{greetings[1]}", …]' in told


def test_the_inventory_finds_the_two_wrong_files(tmp_path: Path) -> None:
    shown = follow_readme("inventory", tmp_path)
    assert "inventory SUCCEEDED" in shown
    assert "12 child executions, 10 succeeded, 2 failed" in shown
    bucket = tmp_path / "my-buckets/inventory-results/inventory"
    failed = {json.loads(record["Input"])["key"]: record["Error"] for record in records(bucket, "FAILED")}
    assert failed == {"elbe-2026-03-02.csv": "NothingInside", "weser-3-march.csv": "NotAsAgreed"}
    told = (ROOT / "examples/inventory/README.md").read_text("utf-8")
    assert all(f"`{key}`" in told and f"`{error}`" in told for key, error in failed.items())
    rivers = [json.loads(record["Output"])["river"] for record in records(bucket, "SUCCEEDED")]
    assert rivers == [*["danube"] * 3, *["elbe"] * 2, *["rhine"] * 3, *["weser"] * 2]


def test_the_inventory_tells_day_size_and_time_of_delivery(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"key": "rhine-2026-03-01.csv", "bytes": 42, "modified": 1772352000.5}')
    assert handled("inventory", tmp_path) == (
        0,
        {"river": "rhine", "day": "2026-03-01", "bytes": 42, "delivered": "2026-03-01T08:00:00+00:00"},
    )


@pytest.mark.parametrize(
    ("key", "size", "error"),
    [
        pytest.param("rhine-2026-02-30.csv", 42, "NotAsAgreed", id="a day that does not exist"),
        pytest.param("rhine-2026-03-01.txt", 42, "NotAsAgreed", id="another kind of file"),
        pytest.param("old/rhine-2026-03-01.csv", 42, "NotAsAgreed", id="a folder"),
        pytest.param("rhine-2026-03-01.csv", 0, "NothingInside", id="an empty file"),
    ],
)
def test_the_inventory_knows_a_wrong_file(tmp_path: Path, key: str, size: int, error: str) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"key": key, "bytes": size, "modified": 0}))
    code, answer = handled("inventory", tmp_path)
    assert (code, answer["errorType"]) == (1, error)
    assert key in answer["errorMessage"]


def test_the_orders_are_valued_fifty_to_a_child(tmp_path: Path) -> None:
    shown = follow_readme("orders", tmp_path)
    assert "11 child executions for 530 items, 11 succeeded" in shown
    (file,) = (tmp_path / "my-buckets/orders-results/orders").rglob("SUCCEEDED_0.jsonl")
    told = (ROOT / "examples/orders/README.md").read_text("utf-8")
    lines = file.read_text("utf-8").splitlines()
    assert lines[0] in told.splitlines()
    answers = [json.loads(line) for line in lines]
    with (ROOT / "examples/orders/orders.csv").open(encoding="utf-8", newline="") as data:
        orders = list(csv.DictReader(data))
    assert [answer["order"] for answer in answers] == [order["order"] for order in orders]
    wrong = [answer["order"] for answer in answers if "problem" in answer]
    assert wrong == ["A-0077", "A-0210", "A-0399"]
    assert all(f"`{order}`" in told for order in wrong)
    rates = map_run("orders")["spec"]["input"]["rates"]
    for order, answer in zip(orders, answers, strict=True):
        if "euros" in answer:
            exact = int(order["quantity"]) * Fraction(order["price"]) * Fraction(rates[order["currency"]])
            assert abs(exact - Fraction(answer["euros"])) <= Fraction("0.005")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({}, {"euros": "5.67"}, id="half a cent is rounded up"),
        pytest.param({"quantity": "-1"}, {"problem": "nothing was ordered"}, id="less than one"),
        pytest.param({"quantity": "two"}, {"problem": "two x 5.665 are no numbers"}, id="a quantity in words"),
        pytest.param({"price": "NaN"}, {"problem": "1 x NaN are no numbers"}, id="what Python takes for a number"),
        pytest.param({"currency": ""}, {"problem": "no rate for "}, id="no currency"),
    ],
)
def test_an_order_that_is_wrong_is_an_answer(tmp_path: Path, change: dict[str, str], said: dict[str, str]) -> None:
    order = {"order": "A-1", "quantity": "1", "price": "5.665", "currency": "EUR"} | change
    event = {"BatchInput": {"rates": {"EUR": "1"}}, "Items": [order]}
    (tmp_path / "in.json").write_text(json.dumps(event))
    assert logged("orders", tmp_path) == [{"order": "A-1", **said}]


def logged(name: str, folder: Path) -> Any:
    """What the last line says that a handler prints, for the input in `in.json`."""
    handler = ROOT / f"examples/{name}/handler.py"
    own = {**os.environ, "MAPRUN_INPUT": str(folder / "in.json")}
    done = subprocess.run([sys.executable, str(handler)], env=own, timeout=WAIT, capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def handled(name: str, folder: Path) -> tuple[int, Any]:
    """The exit code and the output of a handler, for the input in `in.json`."""
    paths = {"MAPRUN_INPUT": str(folder / "in.json"), "MAPRUN_OUTPUT": str(folder / "out.json"), "MAPRUN_ATTEMPT": "1"}
    handler = ROOT / f"examples/{name}/handler.py"
    done = subprocess.run([sys.executable, str(handler)], env={**os.environ, **paths}, timeout=WAIT, check=False)
    return done.returncode, json.loads((folder / "out.json").read_bytes())


@every_example
def test_an_example_is_valid_and_has_the_name_of_its_folder(name: str) -> None:
    parse(map_run(name))
    assert map_run(name)["metadata"]["name"] == name


@every_example
def test_the_kustomization_brings_what_the_run_mounts(name: str) -> None:
    folder = ROOT / "examples" / name
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    (made,) = kustomization["configMapGenerator"]
    pod = map_run(name)["spec"]["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]
    assert kustomization["generatorOptions"] == {"disableNameSuffixHash": True}
    assert [volume["configMap"]["name"] for volume in pod["volumes"]] == [made["name"]]
    assert all((folder / file).is_file() for file in [*made["files"], *kustomization["resources"]])


@every_example
def test_a_handler_needs_the_standard_library_only(name: str) -> None:
    """Isolated: no packages, no variables. It ends at the first of MapRun's variables, which are not there."""
    command = [sys.executable, "-I", "-S", str(ROOT / f"examples/{name}/handler.py")]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.stderr.strip().splitlines()[-1] == "KeyError: 'MAPRUN_INPUT'"


@every_example
def test_each_link_of_a_readme_leads_somewhere(name: str) -> None:
    readme = ROOT / f"examples/{name}/README.md"
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", readme.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (readme.parent / link).exists()] == []


@every_example
def test_every_image_is_one_that_the_test_cluster_has(name: str) -> None:
    pod = map_run(name)["spec"]["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [container["image"] for container in pod["containers"]] == ["python:3.13-slim"]
