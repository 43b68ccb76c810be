"""A shell as a user of the cluster has it: kubectl, helm and aws on PATH, and what the reader of a guide fills in.

Rule 1: a script stops at its first error, and the error shows everything that it printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster import Cluster, binaries
from tests.cluster.paths import REPOSITORY

USED: Final = ("charts", "crds", "deploy", "examples")  # what the commands of a user read of this repository
SECONDS: Final = 180.0


class Shell:
    """bash in `folder`/repository, where copies of the folders `USED` lie. `environment`: what the reader fills in."""

    def __init__(self, folder: Path, cluster: Cluster, helm: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder / "repository"
        for name in USED:
            shutil.copytree(REPOSITORY / name, self.folder / name, dirs_exist_ok=True)
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        aws = programs / "aws"
        aws.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY / "tests/e2e/aws.py"} "$@"\n')
        aws.chmod(0o755)
        for name, target in {"kubectl": kubectl(cluster), "helm": helm}.items():
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to(target)
        own = {"KUBECONFIG": str(cluster.kubeconfig), "KUBECACHEDIR": str(folder / "kubectl-cache"), "KUBERC": "off"}
        own |= {f"HELM_{kind}_HOME": str(folder / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        self._environment = {**os.environ, **own, **environment, "PATH": path}

    def run(self, script: str, seconds: float = SECONDS) -> str:
        """Run the commands as one script; returns what it wrote to standard output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


def kubectl(cluster: Cluster) -> Path:
    """The kubectl that goes with the cluster."""
    if cluster.state_dir is not None:
        return binaries.kubernetes(binaries.CONTROL_PLANE)["kubectl"]
    return Path(str(shutil.which("kubectl")))
