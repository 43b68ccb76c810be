"""docs/install.md as a program: its sections, each a shell script to run in a copy of the repository.

Rule 1: the words are run as they stand. Only a block behind `<!-- yours -->` is left out: the environment says it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster import Cluster, binaries
from tests.cluster.paths import REPOSITORY

GUIDE: Final = REPOSITORY / "docs/install.md"
USED: Final = ("crds", "deploy", "examples")
SECTION: Final = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
BLOCK: Final = re.compile(r"(?P<yours><!-- yours -->\n)?```sh\n(?P<commands>.*?)```", re.DOTALL)
SECONDS: Final = 180.0


class Guide:
    """The guide, for one cluster. `environment` is what the reader fills in."""

    def __init__(self, folder: Path, cluster: Cluster, environment: Mapping[str, str]) -> None:
        self._copy = folder / "repository"
        for name in USED:
            shutil.copytree(REPOSITORY / name, self._copy / name)
        programs = folder / "bin"
        programs.mkdir()
        aws = programs / "aws"
        aws.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY / "tests/e2e/aws.py"} "$@"\n')
        aws.chmod(0o755)
        (programs / "kubectl").symlink_to(kubectl(cluster))
        own = {"KUBECONFIG": str(cluster.kubeconfig), "KUBECACHEDIR": str(folder / "kubectl-cache"), "KUBERC": "off"}
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        self._environment = {**os.environ, **own, **environment, "PATH": path}
        self._scripts = scripts(GUIDE.read_text())

    def follow(self, section: str) -> str:
        """Run all blocks of a section, as one script that stops at the first error; returns what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._scripts.pop(section)],
            cwd=self._copy,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        told = f"## {section}\n{done.stdout}{done.stderr}"
        print(told)
        assert done.returncode == 0, told
        return done.stdout

    @property
    def unread(self) -> list[str]:
        """Sections with commands that nobody followed."""
        return list(self._scripts)


def scripts(text: str) -> dict[str, str]:
    """The commands of each section that has any which are not the reader's own."""
    found: dict[str, str] = {}
    titles = [*SECTION.finditer(text)]
    for title, after in zip(titles, [*titles[1:], None], strict=True):
        section = text[title.end() : after.start() if after else None]
        commands = "".join(block["commands"] for block in BLOCK.finditer(section) if not block["yours"])
        if commands:
            found[title["title"]] = commands
    return found


def kubectl(cluster: Cluster) -> str:
    """The kubectl that goes with the cluster."""
    if cluster.state_dir is not None:
        return str(binaries.kubernetes(binaries.CONTROL_PLANE)["kubectl"])
    return str(shutil.which("kubectl"))
