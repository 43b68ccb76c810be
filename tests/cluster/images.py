"""Container images without a registry: a Python base, a small busybox, the pause image, and any Dockerfile on top.

Each archive is made once and kept in the cache directory; its name holds a hash of what it was made from.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import archives, binaries, build_context, packages
from .archives import Archive
from .commands import program, run
from .paths import ClusterError, cache_dir, locked, say

PAUSE = "localhost/pause:1"
BUSYBOX = "localhost/busybox:dev"
PYTHON = "localhost/python:dev"
# Examples name the image that users know; a real node finds our Python under it.
PYTHON_ALIAS = "docker.io/library/python:3.13-slim"
_PYTHON_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
# What python:slim has and Debian's Python has not: the short names, and a pip that installs.
_LIKE_PYTHON_SLIM = (
    'ln -s python3 "$1/usr/bin/python"; rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; rm -rf "$1"/var/lib/apt/lists/*'
)


def standard() -> list[Archive]:
    """The images that every real node has."""
    return [pause(), busybox(), python_base()]


def pause() -> Archive:
    return _small("pause", [PAUSE], {"pause": binaries.pause()}, {}, ["/pause"])


def busybox() -> Archive:
    shell = Path("/bin/busybox")
    listing = run([shell, "--list"]).stdout.split()
    links = {f"bin/{name}": "busybox" for name in listing if name != "busybox"}
    return _small("busybox", [BUSYBOX], {"bin/busybox": shell}, links, ["sh"])


def _small(
    name: str, names: Sequence[str], files: dict[str, Path], links: dict[str, str], command: Sequence[str]
) -> Archive:
    digest = hashlib.sha256(repr((names, sorted(links.items()), command)).encode())
    for path, source in files.items():
        digest.update(path.encode() + source.read_bytes())
    target = _target(name, digest.hexdigest())
    with locked(target.with_suffix(".lock"), f"Another process makes the {name} image; waiting for it.", remove=True):
        if not target.exists():
            layer = target.with_suffix(".layer")
            archives.layer(layer, files, links, folders=("tmp", "etc", "bin"))
            archives.write(target, layer, names, command)
            layer.unlink()
    return Archive(target, tuple(names), target.stem)


def python_base() -> Archive:
    """The distribution's own Python, minimal, under our name and under the name that examples use."""
    suite = _release("VERSION_CODENAME")
    recipe = f"{suite} {_PYTHON_PACKAGES} {_LIKE_PYTHON_SLIM} {platform.machine()}"
    target = _target("python", hashlib.sha256(recipe.encode()).hexdigest())
    names = (PYTHON, PYTHON_ALIAS)
    with locked(target.with_suffix(".lock"), "Another process makes the Python image; waiting for it.", remove=True):
        if not target.exists():
            say("Making the Python base image, once (about 60 s, 250 MB)")
            started = time.monotonic()
            _forget_older(target)
            layer = target.with_suffix(".layer.tar")
            _mmdebstrap(suite, layer)
            archives.write(target, layer, names, ["python3"])
            layer.unlink()
            say(f"Made {target.name} in {time.monotonic() - started:.0f} s")
    return Archive(target, names, target.stem)


def _mmdebstrap(suite: str, layer: Path) -> None:
    command = [program("mmdebstrap"), "--variant=minbase", f"--include={_PYTHON_PACKAGES}", "--quiet"]
    command += ['--aptopt=APT::Install-Recommends "false"', f"--customize-hook={_LIKE_PYTHON_SLIM}"]
    # documentation and translations are half of a minimal Debian
    command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]
    run([*command, suite, layer])


def build(
    context: Path,
    name: str,
    dockerfile: Path | None = None,
    arguments: Mapping[str, str] | None = None,
    base: Archive | None = None,
) -> Archive:
    """`docker build` without a daemon or a registry.

    `context` is the folder that the Dockerfile copies from, `name` the reference of the image ("localhost/maprun:dev").
    The Dockerfile's `ARG PYTHON_IMAGE` is set to our Python base. Kept until a file of the context changes.
    """
    packages.require(packages.IMAGES)
    dockerfile = dockerfile or context / "Dockerfile"
    base = base or python_base()
    arguments = {"PYTHON_IMAGE": base.names[0], **(arguments or {})}
    recipe = f"{base.key} {name} {sorted(arguments.items())}".encode() + dockerfile.read_bytes()
    key = hashlib.sha256(recipe + build_context.digest(context)).hexdigest()
    target = _target(name.replace("/", "_").replace(":", "_"), key)
    with locked(cache_dir() / "images" / "build.lock", "Another process builds an image; waiting for it.", remove=True):
        if not target.exists():
            say(f"Building the image {name} (about 30 s)")
            started = time.monotonic()
            _bud(context, name, dockerfile, arguments, base, target)
            say(f"Built {name} in {time.monotonic() - started:.0f} s")
    return Archive(target, (name,), target.stem)


def _bud(context: Path, name: str, dockerfile: Path, arguments: Mapping[str, str], base: Archive, target: Path) -> None:
    storage = _storage_with(base)
    # The host's certificates, so that a package index behind a company's own authority works as on the host.
    options = ["--pull-never", "--network", "host", "--layers=false", "-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    options += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    _buildah(storage, "bud", *options, "-f", str(dockerfile), "-t", name, str(context))
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    _buildah(storage, "push", "--quiet", name, f"docker-archive:{partial}:{name}")
    _buildah(storage, "rmi", "--force", name)
    _forget_older(target)
    partial.rename(target)


def _storage_with(base: Archive) -> Path:
    """buildah's storage, with that base image in it and no other."""
    folder = cache_dir() / "images" / "buildah"
    storage = folder / base.key
    if not (storage / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _buildah(storage, "pull", "--quiet", f"docker-archive:{base.path}:{base.names[0]}")
        (storage / "complete").touch()
    return storage


def _buildah(storage: Path, *arguments: str) -> None:
    """With plain copies instead of overlay mounts, and a chroot around a build step: works in a container, too."""
    where: list[str | Path] = ["--root", storage / "storage", "--runroot", storage / "run", "--storage-driver", "vfs"]
    storage.mkdir(parents=True, exist_ok=True)
    settings = storage / "containers.conf"  # without it, buildah makes /etc/cni
    settings.write_text(f'[network]\nnetwork_config_dir = "{storage}/networks"\n')
    environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", "CONTAINERS_CONF": str(settings)}
    run([program("buildah"), *where, *arguments], environment=environment)


def _forget_older(target: Path) -> None:
    """Archives of the same image from earlier contents: each is hundreds of megabytes."""
    pattern = re.sub(r"-[0-9a-f]{12}\.tar$", "-" + "[0-9a-f]" * 12 + ".tar", target.name)
    for path in target.parent.glob(pattern):
        path.unlink()


def _target(name: str, key: str) -> Path:
    folder = cache_dir() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{key[:12]}.tar"


def _release(field: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == field:
            return value.strip('"')
    raise ClusterError(f"/etc/os-release has no {field}; the images are made from the distribution's own packages")
