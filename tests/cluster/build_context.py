"""Which files an image is built from, as one digest: git's view of the folder, less what `.dockerignore` leaves out."""

from __future__ import annotations

import fnmatch
import hashlib
from pathlib import Path, PurePosixPath

from .commands import run


def digest(context: Path) -> bytes:
    """Changes when the name or the content of one of the files does."""
    rules = _rules(context)
    total = hashlib.sha256()
    for name in _names(context):
        path = context / name
        if path.is_file() and not _ignored(name, rules):
            total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.digest()


def _names(context: Path) -> list[str]:
    """What git knows or would add; every file where there is no git."""
    listing = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], where=context, check=False)
    if listing.returncode == 0:
        return sorted(filter(None, set(listing.stdout.split("\0"))))
    return sorted(path.relative_to(context).as_posix() for path in context.rglob("*") if ".git" not in path.parts)


def _rules(context: Path) -> list[str]:
    try:
        lines = (context / ".dockerignore").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _ignored(name: str, rules: list[str]) -> bool:
    """The last rule that matches decides; a rule that names a folder means all that is in it."""
    path = PurePosixPath(name)
    candidates = [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/")
        anywhere = pattern.removeprefix("**/")
        matched = any(fnmatch.fnmatchcase(candidate, pattern) for candidate in candidates)
        if matched or (anywhere != pattern and any(fnmatch.fnmatchcase(part, anywhere) for part in path.parts)):
            ignored = not rule.startswith("!")
    return ignored
