"""What the image does without, and the bytecode that it has: the last step of the Dockerfile's first stage.

    /opt/maprun/bin/python slim.py IMAGE

takes the virtual environment whose Python runs it, and makes of it the folder IMAGE, which is laid over the base image.

Rule 1: left out is only what MapRun cannot come to. Each entry of LEFT_OUT says why; tests/e2e/test_image.py uses the
        rest. Each package's own list of its files (RECORD) keeps telling the truth.
Rule 2: the same sources give the same bytes: one process, in order of names, no time but SOURCE_DATE_EPOCH.
Rule 3: only the standard library: it runs before anything else is there to run. Nothing here knows an architecture.
"""

from __future__ import annotations

import compileall
import csv
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final, NamedTuple


class Unused(NamedTuple):
    """Files below site-packages that a glob finds, less those of some names."""

    glob: str
    but: frozenset[str] = frozenset()


# kopf knows these three by their class; __init__.py loads a module when its class is first asked for.
_META: Final = frozenset({"__init__.py", "v1_object_meta.py", "v1_owner_reference.py", "v1_managed_fields_entry.py"})
# S3, and what gives credentials: roles and web identities (sts), the sign-in of people (sso, signin).
_AWS: Final = frozenset({"s3", "sts", "sso", "sso-oidc", "signin"})
LEFT_OUT: Final = (
    # The generated calls of every Kubernetes API and their objects: MapRun sends and reads JSON of its own.
    Unused("kubernetes/client/api/*_api.py"),
    Unused("kubernetes/client/models/*.py", _META),
    Unused("kubernetes/aio/client/api/*_api.py"),
    Unused("kubernetes/aio/client/models/*.py", _META),
    # The other services of AWS. The files beside the folders are about all services.
    Unused("botocore/data/*/", _AWS),
    Unused("boto3/data/*/"),
    Unused("boto3/examples/"),
    # The second backend of zstandard, for Pythons other than CPython; it needs cffi, which is not installed.
    Unused("zstandard/_cffi*.so"),
    Unused("zstandard/backend_cffi.py"),
    # Of pyarrow all but what reads and writes Parquet: its servers, file systems, and C sources.
    Unused("pyarrow/libarrow_flight.so*"),
    Unused("pyarrow/libarrow_python_flight.so*"),
    Unused("pyarrow/_flight*.so"),
    Unused("pyarrow/_substrait*.so"),
    Unused("pyarrow/libarrow_s3.so*"),
    Unused("pyarrow/_s3fs*.so"),
    Unused("pyarrow/_gcsfs*.so"),
    Unused("pyarrow/_azurefs*.so"),
    Unused("pyarrow/_hdfs*.so"),
    Unused("pyarrow/include/"),
    Unused("pyarrow/includes/"),
    Unused("pyarrow/*.pxi"),
    # rich colours source code with these; MapRun shows none.
    Unused("pygments/lexers/*.py", frozenset({"__init__.py", "_mapping.py"})),
    # When uv installed MapRun's wheel; what C code was made from; tests that packages carry with them.
    Unused("maprun-*.dist-info/uv_cache.json"),
    Unused("**/*.pyx"),
    Unused("**/*.pxd"),
    Unused("**/tests/"),
)
PROGRAMS: Final = ("maprun", "python")  # and python's other names; all other programs belong to packages
NOTES: Final = ("CACHEDIR.TAG", ".gitignore", ".lock")  # of uv, about the environment
# Modules of the standard library that are in memory then are those that MapRun needs at each start.
START: Final = """
import sys, uvloop, rich.markdown, maprun.cli.commands, maprun.cli.operate, maprun.planning, maprun.adapters.s3
for module in list(sys.modules.values()):
    print(getattr(getattr(module, "__spec__", None), "origin", ""))
"""


def main() -> None:
    """Make the folder that the command line names."""
    environment, image = Path(sys.prefix), Path(sys.argv[1])
    packages = Path(sysconfig.get_path("purelib"))
    for path in [*unused(packages), *unused_programs(environment)]:
        remove(path)
    for record in packages.glob("*.dist-info/RECORD"):
        keep_true(record, packages)
    compile_packages(packages)
    compile_standard_library(image)
    shutil.copytree(environment, image / environment.relative_to("/"), symlinks=True)
    set_times(image, int(os.environ["SOURCE_DATE_EPOCH"]))


def unused(packages: Path) -> Iterator[Path]:
    """What LEFT_OUT says of the packages in a folder. `ValueError` for an entry that finds nothing any more, though its
    package is there.
    """
    for entry in LEFT_OUT:
        if not next(packages.glob(entry.glob.partition("/")[0]), None):
            continue
        found = [path for path in packages.glob(entry.glob) if path.name not in entry.but]
        if entry.glob.endswith("/"):
            found = [path for path in found if path.is_dir()]  # Python 3.11 finds files, too
        if not found:
            raise ValueError(f"LEFT_OUT: {entry.glob} is not there; the package has changed")
        yield from found


def unused_programs(environment: Path) -> Iterator[Path]:
    """Programs of packages, what shells would source, and uv's notes."""
    yield from (environment / name for name in NOTES)
    yield from (path for path in (environment / "bin").iterdir() if not path.name.startswith(PROGRAMS))


def remove(path: Path) -> None:
    """A file or a folder, whether it is still there or not."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def keep_true(record: Path, packages: Path) -> None:
    """Take files that are gone from a package's list of files."""
    with record.open(newline="") as lines:
        rows = [row for row in csv.reader(lines) if (packages / row[0]).exists()]
    with record.open("w", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows(sorted(rows))


def compile_packages(packages: Path) -> None:
    """Bytecode that nothing compares with its source: the image never changes, and its root may be read-only."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(packages, quiet=1, force=True, workers=1, invalidation_mode=unchecked):
        raise ValueError("a package does not compile")


def compile_standard_library(image: Path) -> None:
    """Bytecode of what MapRun needs of the base's own library, where the base has none: python:slim comes without,
    and would compile 200 modules at each start. Compared with the source by its hash, for a base may be mended later.
    """
    for source in standard_modules():
        target = Path(cache_from_source(source))
        if not target.exists():
            made = image / target.relative_to("/")
            made.parent.mkdir(parents=True, exist_ok=True)
            py_compile.compile(
                source, str(made), source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
            )


def standard_modules() -> Iterable[str]:
    """The source files of the modules of the standard library that a start of MapRun loads."""
    told = subprocess.run([sys.executable, "-B", "-c", START], stdout=subprocess.PIPE, check=True, text=True)
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    files = {os.path.realpath(line) for line in told.stdout.splitlines() if line.endswith(".py")}
    return sorted(file for file in files if file.startswith(library + "/") and "-packages/" not in file)


def set_times(image: Path, seconds: int) -> None:
    """Everything in the folder is as old as the sources."""
    for path in [image, *image.rglob("*")]:
        os.utime(path, (seconds, seconds), follow_symlinks=False)


if __name__ == "__main__":
    main()
