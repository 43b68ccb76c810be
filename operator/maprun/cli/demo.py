"""The airports example, made ready to run in a directory of its own: the same YAML and handler that go to a cluster.

Rule 1: the directory looks like the buckets: `airports-data/` with the dataset, `airports-results/` for the results.
Rule 2: only a directory that an earlier demo made, or an empty one, is ever cleared.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import maprun
from maprun.cli.sentences import BadInput

STATE: Final = "state"
MARK: Final = ".maprun-demo"  # the file by which a demo's directory is known
BUCKET: Final = "airports-data"
DATASET: Final = "airports.json"
PACKAGE: Final = Path(maprun.__file__).parent
EXAMPLES: Final = (PACKAGE / "examples" / "airports", PACKAGE.parent.parent / "examples" / "airports")
"""Where the example lies: inside an installed package, or in a checkout."""


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The own variables, with the Python that runs this in front on the PATH: the demo needs no other."""
    return {**own, "PATH": os.pathsep.join(filter(None, (str(Path(sys.executable).parent), own.get("PATH"))))}


def prepare(directory: Path) -> Path:
    """Clear the directory, put the dataset into its bucket, and return the path of the example's YAML. `BadInput`."""
    example = next((place for place in EXAMPLES if (place / DATASET).is_file()), None)
    if example is None:
        raise BadInput("the airports example is not installed; run this from a checkout of the repository: make demo")
    if directory.exists() and any(directory.iterdir()) and not (directory / MARK).exists():
        raise BadInput(f"--dir {directory}: is not empty and was not made by a demo; name another directory")
    shutil.rmtree(directory, ignore_errors=True)
    bucket = directory / BUCKET
    bucket.mkdir(parents=True)
    (directory / MARK).touch()
    shutil.copy(example / DATASET, bucket / DATASET)
    return example / "airports.yaml"
