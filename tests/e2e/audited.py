"""The airports example on a node that keeps the books: each attempt of a child first appends a line to a file there.

Rule 1: a line is `CHILD:ATTEMPT`. What happens to the operator meanwhile changes none of them: `attempts` is what must
        be there at the end, each once.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.real_runs import Json, Project
from tests.operator_process import eventually

EXAMPLE: Final = REPOSITORY / "examples/airports"
NOTE: Final = 'echo "$MAPRUN_CHILD_INDEX:$MAPRUN_ATTEMPT" >> /audit/lines && exec python3 /app/handler.py'


@dataclass(frozen=True)
class Audited:
    """The run `airports` of a namespace; its dataset lies in its bucket already. `folder` is there, on the node.

    Of the first 34 airports one fails on purpose and four work at the second attempt; of 54 two and six.
    """

    project: Project
    folder: Path
    airports: int

    def start(self) -> Audited:
        """Start it, ten children at once."""
        self.folder.chmod(0o777)  # the children are not root
        self.project.kubectl("create", "configmap", "airports-handler", f"--from-file={EXAMPLE}/handler.py")
        spec: Json = yaml.safe_load((EXAMPLE / "airports.yaml").read_text())["spec"]
        spec |= {"s3": real_runs.s3_spec(self.project.cluster), "maxConcurrency": 10}
        spec["itemReader"]["readerConfig"]["maxItems"] = self.airports
        pod = spec["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]
        pod["volumes"].append({"name": "audit", "hostPath": {"path": str(self.folder)}})
        pod["containers"][0]["volumeMounts"].append({"name": "audit", "mountPath": "/audit"})
        pod["containers"][0]["command"] = ["sh", "-c", NOTE]
        self.project.run("airports", **spec)
        return self

    def finished_at_least(self, count: int) -> None:
        """Wait until so many children have ended. The run must not have: what comes next shall meet it under way."""
        eventually(lambda: self.project.finished("airports") >= count, 90, lambda: self.project.story("airports"))
        assert self.project.condition("airports")["status"] == "Unknown", self.project.story("airports")

    def ended(self) -> Json:
        """Wait for the end; returns the status. Each airport is in the results once, each attempt was made once."""
        status = self.project.ended("airports")
        data = json.loads((EXAMPLE / "airports.json").read_text())[: self.airports]
        failing = sum(bool(airport["NNAME"]) for airport in data)
        assert (status["itemCounts"]["succeeded"], status["itemCounts"]["failed"]) == (len(data) - failing, failing)
        results = real_runs.results_of(self.project.cluster, status)
        records = results.records("SUCCEEDED") + results.records("FAILED")
        assert sorted(json.loads(record["Input"])["number"] for record in records) == list(range(len(data)))
        assert Counter((self.folder / "lines").read_text().split()) == dict.fromkeys(attempts(data), 1)
        return status


def attempts(data: list[Json]) -> list[str]:
    """Every attempt that the example makes: one of each airport, and a second one of those of Nagasaki."""
    again = [number for number, airport in enumerate(data) if airport["REGION"] == "Nagasaki"]
    return [f"{number}:1" for number in range(len(data))] + [f"{number}:2" for number in again]
