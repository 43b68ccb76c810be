"""Write a container image of one layer as an archive, without a registry, a daemon or root.

The layout is the one that `docker save` writes; `ctr images import` and `buildah pull docker-archive:` read it.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Archive:
    """An image archive; `key` changes whenever the content does, `names` are the references in it."""

    path: Path
    names: tuple[str, ...]
    key: str


def write(
    target: Path,
    layer: Path,
    names: Sequence[str],
    command: Sequence[str],
    entrypoint: Sequence[str] = (),
    environment: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
) -> None:
    """Make an image archive of a file system layer (an uncompressed tar). It appears complete or not at all."""
    digest = _digest(layer)
    run = {"Cmd": list(command), "Entrypoint": list(entrypoint), "Env": list(environment)}
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "maprun tests/cluster"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    image = {"Config": config_name, "RepoTags": list(names), "Layers": [f"{digest}/layer.tar"]}
    manifest = json.dumps([image]).encode()
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as archive:
        _add(archive, config_name, config)
        archive.add(layer, f"{digest}/layer.tar", filter=_anonymous)
        _add(archive, "manifest.json", manifest)
    partial.rename(target)


def layer(target: Path, files: dict[str, Path], links: dict[str, str], folders: Sequence[str] = ()) -> None:
    """A layer of a few files (mode 755), symbolic links and empty folders."""
    with tarfile.open(target, "w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, source in files.items():
            tar.add(source.resolve(), name, filter=_executable)
        for name, to in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            tar.addfile(entry)


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _executable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755
    return _anonymous(entry)


def names_of(path: Path) -> tuple[str, ...]:
    """The references in an archive of this layout; none for an archive of another layout."""
    with tarfile.open(path) as archive:
        try:
            manifest = archive.extractfile("manifest.json")
        except KeyError:
            return ()
        images = json.load(manifest) if manifest is not None else []
    return tuple(name for image in images for name in image.get("RepoTags") or ())
