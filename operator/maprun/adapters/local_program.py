"""What a Job template means on this machine: which program to start, with which variables, in which folder.

Rule 1: only the first container counts, and of it only `command`, `args`, `env`, `workingDir` and `volumeMounts`.
Rule 2: a ConfigMap volume is the folder of the run's file. An argument, a variable or `workingDir` that is a path below
        the mount of such a volume means the file of that name there: `/app/handler.py` is `<folder>/handler.py`.
        Other volumes do not exist here.
Rule 3: the own environment's variables are passed on; the template's come on top. One with `valueFrom` must be set in
        the own environment.
Rule 4: `$(NAME)` is replaced by a variable and `$$` is a dollar sign, as Kubernetes does it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from maprun.errors import Reason, RunFailed, StatesError

WHERE: Final = "spec.itemProcessor.jobTemplate"
CONTAINER: Final = f"{WHERE}.spec.template.spec.containers[0]"
REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]+)\))")


class Program(msgspec.Struct, frozen=True):
    """What to start. `name` is the container's; the first of `arguments` is an absolute path; `deadline` is in seconds.

    `inherited` are the own variables, `variables` the template's, in order and not expanded yet.
    """

    name: str
    arguments: tuple[str, ...]
    inherited: dict[str, str]
    variables: tuple[tuple[str, str], ...]
    folder: str
    deadline: int | None = None

    def env(self, own: Mapping[str, str]) -> dict[str, str]:
        """All variables of one attempt. `own` are MapRun's; the template's come behind and may refer to them."""
        env = {**self.inherited, **own}
        for name, value in self.variables:
            env[name] = expand(value, env)
        return env

    def command(self, env: Mapping[str, str]) -> list[str]:
        """The arguments with `$(NAME)` replaced from `env`."""
        return [expand(argument, env) for argument in self.arguments]


class _Mount(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    mount_path: str
    sub_path: str = ""


class _File(msgspec.Struct, frozen=True, rename="camel"):
    key: str
    path: str


class _ConfigMap(msgspec.Struct, frozen=True, rename="camel"):
    items: list[_File] | None = None


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    config_map: _ConfigMap | None = None


class _Variable(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None
    volume_mounts: list[_Mount] | None = None
    working_dir: str | None = None


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Container]
    volumes: list[_Volume] | None = None
    active_deadline_seconds: int | None = None


class _Pod(msgspec.Struct, frozen=True, rename="camel"):
    spec: _PodSpec


class _JobSpec(msgspec.Struct, frozen=True, rename="camel"):
    template: _Pod


class _JobTemplate(msgspec.Struct, frozen=True, rename="camel"):
    spec: _JobSpec


def program(template: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> Program:
    """The program that a JobTemplateSpec means. `folder` holds the run's file, `environment` is the own one.

    `RunFailed` with `Job.Refused` when nothing can be started from it; the message names the field and what to do.
    """
    pod = _read(template)
    container = pod.containers[0]
    if not container.command:
        raise _refused(
            f"{CONTAINER}.command",
            "name the program to run: the image and its entry point are not used on this machine",
        )
    places = _Places(tuple(_mounts(pod, container, folder)))
    variables = tuple(_variables(container, places, environment))
    words = [places.local(word) for word in container.command + (container.args or [])]
    cwd = places.local(container.working_dir) if container.working_dir else str(folder)
    if not Path(cwd).is_dir():
        raise _refused(f"{CONTAINER}.workingDir", f"the folder {cwd} does not exist on this machine")
    executable = _executable(words[0], cwd, {**environment, **dict(variables)})
    arguments = (executable, *words[1:])
    return Program(container.name, arguments, dict(environment), variables, cwd, pod.active_deadline_seconds)


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced; a name that is not set stays as it is written."""
    if "$" not in text:
        return text
    return REFERENCE.sub(lambda match: "$" if match[1] is None else env.get(match[1], match[0]), text)


class _Places(msgspec.Struct, frozen=True):
    """Which file a path in the container means. Of each ConfigMap mount: its path, its target here, renamed files."""

    mounts: tuple[tuple[str, Path, dict[str, str]], ...]

    def local(self, text: str) -> str:
        """The local path when `text` is a path below a mount, else `text`. `RunFailed` when the file is missing."""
        for mount, target, renamed in self.mounts:
            if text == mount or text.startswith(mount + "/"):
                below = text[len(mount) + 1 :]
                path = target / renamed.get(below, below)
                if not path.exists():
                    raise _refused(
                        f"{CONTAINER}.volumeMounts", f"{text} is {path} on this machine, which does not exist"
                    )
                return str(path)
        return text


def _read(template: Mapping[str, Any]) -> _PodSpec:
    try:
        pod = msgspec.convert(template, _JobTemplate).spec.template.spec
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        raise _refused(f"{WHERE}{path.strip('`')[1:]}", what) from error
    if not pod.containers:
        raise _refused(f"{WHERE}.spec.template.spec.containers", "one is needed")
    return pod


def _mounts(pod: _PodSpec, container: _Container, folder: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    maps = {volume.name: volume.config_map for volume in pod.volumes or []}
    for mount in sorted(container.volume_mounts or [], key=lambda mount: -len(mount.mount_path)):
        config_map = maps.get(mount.name)
        if config_map:
            renamed = {file.path: file.key for file in config_map.items or []}
            yield mount.mount_path.rstrip("/"), folder / mount.sub_path, renamed


def _variables(container: _Container, places: _Places, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for index, variable in enumerate(container.env or []):
        if variable.value_from is None:
            yield variable.name, places.local(variable.value or "")
        elif variable.name not in environment:
            where = f"{CONTAINER}.env[{index}].valueFrom"
            raise _refused(where, f"it comes from the cluster; here, set {variable.name} in your own environment")


def _executable(name: str, folder: str, env: Mapping[str, str]) -> str:
    path = shutil.which(os.path.join(folder, name) if "/" in name else name, path=env.get("PATH"))
    if path is None:
        where = "is not a program" if "/" in name else "is not on your PATH"
        raise _refused(
            f"{CONTAINER}.command[0]", f"{name!r} {where} on this machine; install it, or name another program"
        )
    return os.path.abspath(path)


def _refused(field: str, message: str) -> RunFailed:
    return RunFailed(StatesError.JOB_REFUSED, f"{field}: {message}", Reason.INVALID_JOB_TEMPLATE)
