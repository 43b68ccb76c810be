"""From a file that a user names to a checked MapRun, or to everything that is wrong with it in words.

Rule 1: a user's mistake is `BadInput`: the whole list of problems, each with what to do; never a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from maprun.adapters.local_program import program
from maprun.cli.sentences import BadInput
from maprun.core import templates, validation
from maprun.errors import Problem, RunFailed, SpecInvalid
from maprun.model import KIND, MapRunSpec

Loader: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RunFile(msgspec.Struct, frozen=True):
    """A MapRun read from a file: its name, and its spec with the `settings` that were put over it."""

    path: Path
    name: str
    spec: MapRunSpec
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of the file, where the files beside it lie."""
        return self.path.parent


def read(path: Path, settings: Sequence[str] = ()) -> RunFile:
    """The only MapRun in a YAML or JSON file, with `settings` put over its spec (`maxConcurrency=5`). `BadInput`."""
    body = _map_run(path, _documents(path))
    for setting in settings:
        _set(body, setting)
    try:
        spec = validation.parse(body)
    except SpecInvalid as error:
        raise BadInput(*(f"{path}: {problem}" for problem in error.problems)) from None
    problems = templates.template_problems(spec.item_processor.job_template)
    if problems:
        raise BadInput(*(f"{path}: {problem}" for problem in problems))
    return RunFile(path.absolute(), str(body["metadata"]["name"]), spec, tuple(settings))


def check_here(file: RunFile, environment: Mapping[str, str]) -> None:
    """`BadInput` when the Job template's program cannot start on this machine."""
    try:
        program(file.spec.item_processor.job_template, file.folder, environment)
    except RunFailed as refused:
        raise BadInput(f"{file.path}: {refused.failure.cause}") from None


def changed_fields(before: MapRunSpec, now: MapRunSpec) -> list[str]:
    """Paths of the top-level fields of the spec that differ."""
    old, new = (msgspec.to_builtins(spec) for spec in (before, now))
    return [f"spec.{field}" for field in sorted(old.keys() | new.keys()) if old.get(field) != new.get(field)]


def _documents(path: Path) -> list[Any]:
    try:
        return [document for document in yaml.load_all(path.read_text("utf-8"), Loader) if document is not None]
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; name the YAML file of a MapRun") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not text in UTF-8") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {' '.join(str(error).split())}") from None


def _map_run(path: Path, documents: list[Any]) -> dict[str, Any]:
    found = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(found) == 1:
        return found[0]
    if not found and len(documents) == 1 and isinstance(documents[0], dict):
        return documents[0]  # its kind is a problem that validation names
    raise BadInput(f"{path}: holds {len(found)} resources of kind {KIND}; exactly one is needed")


def _set(body: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    keys = ["spec", *name.removeprefix("spec.").split(".")]
    if not equals or not all(keys):
        raise BadInput(str(Problem(f"--set {setting}", "must be FIELD=VALUE, such as maxConcurrency=5")))
    target: Any = body
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise BadInput(str(Problem(f"--set {setting}", f"{key} has no fields inside it")))
    target[keys[-1]] = yaml.safe_load(text)
