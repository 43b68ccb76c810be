"""The real resource definitions of the Prometheus operator, from its Go module: looked up once, never part of this
repository.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

from tests.cluster import go_toolchain
from tests.cluster.commands import run

MODULE: Final = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
FOLDER: Final = "example/prometheus-operator-crd"
KINDS: Final = ("servicemonitors", "podmonitors", "prometheusrules")


def definitions() -> list[Path]:
    """The files that define what the chart makes objects of. Go keeps the module in its own cache."""
    with tempfile.TemporaryDirectory() as outside:  # of any module, whose own versions would count otherwise
        words = ("mod", "download", "-json", MODULE)
        answer = run([str(go_toolchain.find()), *words], environment=go_toolchain.environment(), where=Path(outside))
    folder = Path(json.loads(answer.stdout)["Dir"]) / FOLDER
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]
