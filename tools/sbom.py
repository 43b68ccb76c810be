"""The software bill of materials: what of Python's packages is in the image, as CycloneDX 1.6 JSON.

    python -m tools.sbom            writes dist/maprun.cdx.json

Rule 1: what uv.lock says for Linux and one version of Python, no more and no less; a test compares it with the image.
Rule 2: the same lock file gives the same bytes: nothing is random, the time is SOURCE_DATE_EPOCH.
Rule 3: licences are those that the packages themselves name, as they stand in this environment. None is guessed.

`uv export --format cyclonedx1.5` is no substitute yet: it is a preview, has a new number and time each time and no
licences, and lists what only Windows needs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, cast
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.markers import Environment, Marker, default_environment
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.tags import Tag, compatible_tags, cpython_tags

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "dist/maprun.cdx.json"
PYTHON: Final = "3.13"  # of the Dockerfile's base image
MACHINES: Final = ("x86_64", "aarch64")
GLIBC: Final = 36  # 2.36: that of Debian 12, the oldest base there is today
PROJECT: Final = "maprun"
EXTRA: Final = "parquet"  # what the Dockerfile installs beyond the least


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description="Write the bill of materials.")
    parser.add_argument("--python", default=PYTHON, help=f"version of the image's Python (default {PYTHON})")
    parser.add_argument("--output", type=Path, default=TARGET, help="default: dist/maprun.cdx.json")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(render(options.python))
    print(f"wrote {os.path.relpath(options.output)}")


def render(python: str = PYTHON) -> str:
    """The bill for an image with this version of Python, as JSON text."""
    wheels: dict[str, list[PackageWheel]] = {}
    versions: dict[str, str] = {}
    for machine in MACHINES:
        for package, wheel in runtime_wheels(python, machine):
            versions[package.name] = str(package.version)
            wheels.setdefault(package.name, []).append(wheel)
    project = _component(PROJECT, str(_locked()[PROJECT]["version"]), [], ComponentType.APPLICATION)
    parts = {name: _component(name, versions[name], wheels[name]) for name in versions}
    bom = Bom(
        components=parts.values(),
        serial_number=uuid5(NAMESPACE_URL, f"{project.purl} {python} {sorted(versions.items())}"),
        metadata=BomMetaData(component=project, timestamp=_time()),
    )
    for name, part in {PROJECT: project, **parts}.items():
        bom.register_dependency(part, [parts[needed] for needed in _needs(name, python) if needed in parts])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def runtime_wheels(python: str, machine: str) -> Iterator[tuple[Package, PackageWheel]]:
    """What is installed on Linux with this Python (`3.13`) and machine (`aarch64`): each package with its wheel.

    `ValueError`: a package has no wheel there. `PylockSelectError`: it has nothing that could be installed.
    """
    for package, file in _lock().select(environment=_environment(python, machine), tags=list(_tags(python, machine))):
        if not isinstance(file, PackageWheel):
            raise ValueError(f"{package.name} {package.version} has no wheel for {python} on {machine}")
        yield package, file


@cache
def _lock() -> Pylock:
    """uv.lock without what is for development, in the form of PEP 751."""
    marked = ROOT / ".venv/.uv"
    uv = marked.read_text().strip() if marked.exists() else "uv"
    command = [uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--quiet", "--format=pylock.toml"]
    command += ["--extra", EXTRA]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    return Pylock.from_dict(tomllib.loads(told))


@cache
def _locked() -> Mapping[str, dict[str, Any]]:
    """The packages of uv.lock itself, which also knows what each one needs."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    return {package["name"]: package for package in lock["package"]}


def _needs(name: str, python: str) -> Iterator[str]:
    environment = cast("dict[str, str]", _environment(python, MACHINES[0]))
    package = _locked()[name]
    for needed in [*package.get("dependencies", ()), *package.get("optional-dependencies", {}).get(EXTRA, ())]:
        if "marker" not in needed or Marker(needed["marker"]).evaluate(environment):
            yield needed["name"]


def _environment(python: str, machine: str) -> Environment:
    """The markers of that Python on that Linux."""
    named = {"python_version": python, "python_full_version": f"{python}.0", "implementation_version": f"{python}.0"}
    system = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    kind = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return cast("Environment", {**default_environment(), **named, **system, **kind})


def _tags(python: str, machine: str) -> Iterator[Tag]:
    """What that Python can install, best first."""
    major, _, minor = python.partition(".")
    version = int(major), int(minor)
    platforms = [f"manylinux_2_{glibc}_{machine}" for glibc in range(GLIBC, 16, -1)] + [f"manylinux2014_{machine}"]
    platforms += [f"manylinux_2_{glibc}_{machine}" for glibc in range(16, 4, -1)]
    platforms += [f"{name}_{machine}" for name in ("manylinux2010", "manylinux1")]
    yield from cpython_tags(version, platforms=platforms)
    yield from compatible_tags(version, f"cp{major}{minor}", platforms)


def _component(
    name: str, version: str, wheels: list[PackageWheel], kind: ComponentType = ComponentType.LIBRARY
) -> Component:
    purl = PackageURL("pypi", name=name, version=version)
    return Component(
        name=name,
        version=version,
        type=kind,
        bom_ref=str(purl),
        purl=purl,
        licenses=_licenses(name, version),
        external_references=[_distribution(wheel) for wheel in wheels],
    )


def _distribution(wheel: PackageWheel) -> ExternalReference:
    """Where the wheel comes from, and its hash: one for each architecture, or one for all."""
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=wheel.hashes["sha256"])]
    return ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(wheel.url or ""), hashes=hashes)


def _licenses(name: str, version: str) -> list[License]:
    """What the package says of itself: an SPDX expression, or the old field, or its classifiers; in this order."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return []
    if found.version != version:
        return []
    told = found.metadata
    for field in ("License-Expression", "License"):
        if field in told and "\n" not in told[field]:
            return [LicenseFactory().make_from_string(told[field])]
    classifiers = [text.split(" :: ")[-1] for text in told.get_all("Classifier", []) if "License ::" in text]
    return [LicenseFactory().make_from_string(text) for text in classifiers]


def _time() -> datetime:
    return datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)


if __name__ == "__main__":
    main()
