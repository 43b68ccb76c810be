"""A real Prometheus as a process of its own, with a store that goes with its folder, asked through its HTTP API.

Rule 1: it listens on a free port of the loopback address, and ends with its `with` block.
Rule 2: an answer that is no success raises with Prometheus's own words.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.operator_process import eventually, free_port

HTTP_SECONDS: Final = 10.0
STOP_SECONDS: Final = 10.0
SCRAPE: Final = "1s"


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and pairs of seconds and value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def finite(self) -> list[float]:
        """Its values that are numbers."""
        return [value for _, value in self.points if math.isfinite(value)]


class PrometheusProcess:
    """Scrapes the `ports` of this machine each second, as the job `maprun`, and evaluates `rules` each second."""

    def __init__(self, program: Path, folder: Path, ports: Sequence[int], rules: Sequence[Path] = ()) -> None:
        self.port = free_port()
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None
        scrape = {
            "job_name": "maprun",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
        }
        paces = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE}
        config = {"global": paces, "rule_files": [str(each) for each in rules], "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, told=lambda: f"Prometheus is not ready:\n{self.log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")

    def query(self, expression: str) -> list[Series]:
        """The answer as of now; a scalar is a series without labels."""
        return _series(self.get("query", query=expression))

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The answer at each step from `start` to `end` (seconds since the epoch)."""
        return _series(self.get("query_range", query=expression, start=start, end=end, step=step))

    def label_values(self, label: str, selector: str, seconds: float) -> list[str]:
        """Values of a label in the series that were there within the last so many seconds, as Grafana asks for them."""
        now = time.time()
        found: list[str] = self.get(f"label/{label}/values", **{"match[]": selector}, start=now - seconds, end=now)
        return found

    def get(self, path: str, **parameters: str | float) -> Any:
        """The data of an answer of /api/v1. Errors: AssertionError with what Prometheus said."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=HTTP_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=HTTP_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _series(data: Any) -> list[Series]:
    if data["resultType"] == "scalar":
        return [Series({}, [_point(data["result"])])]
    return [
        Series(each["metric"], [_point(point) for point in each.get("values") or [each["value"]]])
        for each in data["result"]
    ]


def _point(point: Sequence[Any]) -> tuple[float, float]:
    return float(point[0]), float(point[1])
