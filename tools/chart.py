"""Writes what follows from the chart charts/maprun: `python -m tools.chart`, or `--check` to fail when a file is old.

Rule 1: what a value is for is the comment above it in values.yaml, and nowhere else; README.md has it as a table.
Rule 2: chart and operator have one version, that of pyproject.toml, in the form of Semantic Versioning.
Rule 3: deploy/operator is the chart as helm renders it, with its comments, less what only Helm understands, its hooks
        among it. On a machine without helm `--check` leaves this folder out, and says so; tests/chart does not.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import yaml

from tests.cluster import binaries
from tests.cluster.commands import run

REPOSITORY: Final = Path(__file__).resolve().parents[1]
CHART: Final = Path("charts/maprun")
DEPLOY: Final = Path("deploy/operator")
OWN: Final = DEPLOY / "namespace.yaml"
"""The one file in that folder which is written by hand."""

OPENING: Final = "<!-- The table is written by `make generate` from values.yaml; change it there. -->\n"
CLOSING: Final = "<!-- end of the table -->\n"
STAGES: Final = {"a": "alpha", "b": "beta", "rc": "rc", ".dev": "dev"}
VERSION: Final = re.compile(r"(?P<release>\d+\.\d+\.\d+)(?:(?P<stage>a|b|rc|\.dev)(?P<number>\d+))?")

DEPLOYED: Final = ("image.repository=maprun", "image.tag=dev", "crds.enabled=false", "state.volume.keep=false")
"""Values behind deploy/operator: an image that kustomize replaces; the CRD comes from crds/."""
OLDEST: Final = "1.31.0"  # the oldest Kubernetes that the chart is for
SOURCE: Final = re.compile(r"^---\n# Source: maprun/templates/(?P<file>\S+)\n", re.MULTILINE)
OF_HELM: Final = re.compile(r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)


class Value(msgspec.Struct, frozen=True):
    """A value of the chart, or a group of them, which has no `default`: its JSON."""

    path: str
    sentence: str
    default: str = ""


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them; the exit code is 1 when one differs."""
    check, texts = arguments == ["--check"], chart_files()
    if check and binaries.missing_tools([binaries.HELM]):
        print(f"{DEPLOY} is not checked: there is no helm (python -m tests.cluster build --nodes none)")
    else:
        texts |= deployed(binaries.tool(binaries.HELM))
    old = [*outdated(texts)] if check else written(texts)
    for path in old:
        print(f"{path} " + ("does not match the chart: run `make generate`" if check else "written"))
    if not old:
        print(f"{', '.join(sorted({str(path.parent) for path in texts}))} up to date")
    return int(check and bool(old))


def outdated(texts: Mapping[Path, str]) -> Iterator[Path]:
    """The files that differ from these texts, and those in deploy/operator that nothing is rendered to."""
    for path, text in texts.items():
        if not (REPOSITORY / path).exists() or (REPOSITORY / path).read_text() != text:
            yield path
    if any(path.parent == DEPLOY for path in texts):
        there = {path.relative_to(REPOSITORY) for path in (REPOSITORY / DEPLOY).glob("*.yaml")}
        yield from sorted(there - texts.keys() - {OWN})


def written(texts: Mapping[Path, str]) -> list[Path]:
    """Make the files such that none is outdated; returns those that changed."""
    changed = list(outdated(texts))
    for path in changed:
        if path in texts:
            (REPOSITORY / path).write_text(texts[path])
        else:
            (REPOSITORY / path).unlink()
    return changed


def chart_files() -> dict[Path, str]:
    """Chart.yaml with the version, README.md with the table."""
    described, readme = CHART / "Chart.yaml", CHART / "README.md"
    version = semantic(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])
    text = re.sub(r"^version: .*$", f"version: {version}", (REPOSITORY / described).read_text(), flags=re.MULTILINE)
    text = re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, flags=re.MULTILINE)
    before, _, rest = (REPOSITORY / readme).read_text().partition(OPENING)
    table = render_table(values((REPOSITORY / CHART / "values.yaml").read_text()))
    return {described: text, readme: f"{before}{OPENING}\n{table}\n{CLOSING}{rest.partition(CLOSING)[2]}"}


def semantic(version: str) -> str:
    """A version of Python's kind in the form of Semantic Versioning: `0.1.0.dev0` is `0.1.0-dev.0`."""
    found = VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"the version {version} has no form in Semantic Versioning")
    stage = f"-{STAGES[found['stage']]}.{found['number']}" if found["stage"] else ""
    return found["release"] + stage


def values(text: str) -> list[Value]:
    """The values of a values.yaml, groups before their members. Errors: `ValueError` for one without a sentence."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "values.yaml is a mapping"
    return list(_members(root, "", text.splitlines()))


def _members(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, inner in node.value:
        path, said = f"{prefix}{key.value}", _sentence(key, lines)
        if not said:
            raise ValueError(f"values.yaml: {path} has no sentence above it")
        if isinstance(inner, yaml.MappingNode) and any(_sentence(each, lines) for each, _ in inner.value):
            yield Value(path, said)
            yield from _members(inner, f"{path}.", lines)
        else:
            yield Value(path, said, json.dumps(yaml.SafeLoader("").construct_document(inner), ensure_ascii=False))


def _sentence(key: yaml.Node, lines: list[str]) -> str:
    """The comment right above a key, in the same column; "" without one, and for a key inside {}."""
    mark, indent = key.start_mark, " " * key.start_mark.column
    if lines[mark.line][: mark.column].strip():
        return ""
    words: list[str] = []
    above = mark.line - 1
    while above >= 0 and lines[above].startswith(f"{indent}# "):
        words.insert(0, lines[above].strip()[2:])
        above -= 1
    return " ".join(words)


def render_table(rows: list[Value]) -> str:
    """The table in Markdown: groups in bold letters."""
    return "\n".join(("| value | default | what it is for |", "|---|---|---|", *map(_row, rows), ""))


def _row(value: Value) -> str:
    said = value.sentence.replace("|", r"\|")
    return (
        f"| `{value.path}` | `{value.default}` | {said} |"
        if value.default
        else f"| **`{value.path}`** | | **{said}** |"
    )


def deployed(helm: Path) -> dict[Path, str]:
    """What the chart's templates become in deploy/operator, a file for each, and the kustomization that names them."""
    options = [word for each in DEPLOYED for word in ("--set", each)]
    names = ("template", "maprun", str(CHART), "--namespace", "maprun", "--no-hooks", "--kube-version", OLDEST)
    words = SOURCE.split(run([helm, *names, *options], where=REPOSITORY).stdout)[1:]
    parts: dict[str, list[str]] = {}
    for name, text in zip(words[::2], words[1::2], strict=True):
        parts.setdefault(name, []).append(OF_HELM.sub("", text).strip("\n"))
    files = {DEPLOY / name: _file(name, texts) for name, texts in sorted(parts.items())}
    return {**files, DEPLOY / "kustomization.yaml": _kustomization(sorted(parts))}


def _file(name: str, texts: list[str]) -> str:
    header = f"# Written by `make generate` from {CHART}/templates/{name}; change it there.\n"
    return header + "\n---\n".join(texts) + "\n"


def _kustomization(names: list[str]) -> str:
    header = "# Written by `make generate`: the operator as the chart makes it, with its state on a volume.\n"
    return header + "resources:\n" + "".join(f"  - {name}\n" for name in (OWN.name, *names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
