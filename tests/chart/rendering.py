"""The chart as the real helm renders it, and a look into what came out.

Rule 1: values go in as a file, as users give them; `image.repository`, the one that has no default, is added.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.paths import REPOSITORY

Json = dict[str, Any]

CHART: Final = REPOSITORY / "charts/maprun"
IMAGE: Final = "registry.example.com/you/maprun"
KUBERNETES: Final = "1.36.0"
NAMESPACE: Final = "chart-of-maprun"
SECONDS: Final = 60.0
ABSENT: Final = "nothing is there"
"""What `at` finds where there is nothing."""


@dataclass(frozen=True)
class Manifests:
    """What a rendered chart consists of."""

    objects: list[Json]

    def of(self, kind: str) -> list[Json]:
        """All objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def the(self, kind: str) -> Json:
        """The only object of a kind."""
        [found] = self.of(kind)
        return found

    def at(self, kind: str, pointer: str) -> Any:
        """What a JSON pointer leads to in the only object of a kind; `ABSENT` when either is missing."""
        if not self.of(kind):
            return ABSENT
        found: Any = self.the(kind)
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError):
                return ABSENT
        return found

    @property
    def pod(self) -> Json:
        """The template of the operator's pod."""
        template: Json = self.the("Deployment")["spec"]["template"]
        return template

    @property
    def env(self) -> dict[str, Any]:
        """The operator's environment: a value, or where it comes from."""
        rows = self.pod["spec"]["containers"][0]["env"]
        return {row["name"]: row.get("value", row.get("valueFrom")) for row in rows}


def template(
    helm: Path, values: Json, *, release: str = "maprun", chart: Path = CHART, kubernetes: str = KUBERNETES
) -> str:
    """The manifests as text. Errors: `Refused`, with what helm said."""
    command = ("template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", kubernetes)
    return _run(helm, json.dumps(values), command)


def lint(helm: Path, values: Json) -> str:
    """What helm's own strict check said. Errors: `Refused`."""
    return _run(helm, json.dumps(values), ("lint", str(CHART), "--strict", "--kube-version", KUBERNETES))


class Refused(Exception):
    """helm ended with an error."""


@functools.cache
def _run(helm: Path, values: str, command: tuple[str, ...]) -> str:
    words = [str(helm), *command, "--values", "-"]
    done = subprocess.run(words, input=values, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(helm: Path, values: Json | None = None, *, release: str = "maprun") -> Manifests:
    """The manifests. Errors: `Refused`."""
    text = template(helm, with_image(values or {}), release=release)
    return Manifests([each for each in yaml.safe_load_all(text) if each])


def with_image(values: Mapping[str, Any]) -> Json:
    """The values, with an image if they name none."""
    return {**values, "image": {"repository": IMAGE, **values.get("image", {})}}
