"""An image archive as tests/cluster/images.py makes it, opened: its configuration, and the files that MapRun adds."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tests.cluster.archives import Archive

SITE: Final = "site-packages/"


@dataclass(frozen=True)
class ImageArchive:
    """What is in the file `path`; the first layer is the base, whatever it is made of."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole configuration of the image (OCI image specification, config.md)."""
        config: dict[str, Any] = json.loads(self._read(self._manifest["Config"]))
        return config

    @property
    def layers(self) -> list[str]:
        """The digests of the layers' contents, the base first."""
        return list(self.config["rootfs"]["diff_ids"])

    @cached_property
    def added(self) -> dict[str, tarfile.TarInfo]:
        """Everything that MapRun's own layers hold, by its path without the first slash."""
        found: dict[str, tarfile.TarInfo] = {}
        for layer in self._manifest["Layers"][1:]:
            with tarfile.open(self.path) as archive, tarfile.open(fileobj=archive.extractfile(layer)) as files:
                found |= {entry.name: entry for entry in files}
        return found

    @cached_property
    def size(self) -> int:
        """Bytes of MapRun's own layers."""
        with tarfile.open(self.path) as archive:
            return sum(archive.getmember(layer).size for layer in self._manifest["Layers"][1:])

    @cached_property
    def packages(self) -> dict[str, bytes]:
        """The small files that packages are known by: `*.dist-info/METADATA` and RECORD, by their path."""
        [layer] = self._manifest["Layers"][1:]
        with tarfile.open(self.path) as archive, tarfile.open(fileobj=archive.extractfile(layer)) as files:
            return {
                entry.name: content.read()
                for entry in files
                if entry.name.endswith((".dist-info/METADATA", ".dist-info/RECORD"))
                and (content := files.extractfile(entry)) is not None
            }

    @property
    def python(self) -> str:
        """Its Python: `3.13`."""
        [folder] = {name.split("/")[3] for name in self.packages}
        return folder.removeprefix("python")

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        [manifest] = json.loads(self._read("manifest.json"))
        found: dict[str, Any] = manifest
        return found

    def _read(self, name: str) -> bytes:
        with tarfile.open(self.path) as archive:
            content = archive.extractfile(name)
            assert content is not None, name
            return content.read()


def opened(archive: Archive) -> ImageArchive:
    """The archive that a build made."""
    return ImageArchive(archive.path)
