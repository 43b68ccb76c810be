"""docs/install.md as a program: its sections, each a shell script to run in a copy of the repository.

Rule 1: the words are run as they stand. Only a block behind `<!-- yours -->` is left out: the environment says it.
"""

from __future__ import annotations

import re
from typing import Final

from tests.cluster.paths import REPOSITORY
from tests.e2e.shell import Shell

GUIDE: Final = REPOSITORY / "docs/install.md"
SECTION: Final = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
BLOCK: Final = re.compile(r"(?P<yours><!-- yours -->\n)?```sh\n(?P<commands>.*?)```", re.DOTALL)


class Guide:
    """The guide, for one cluster. The shell's environment is what the reader fills in."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._scripts = scripts(GUIDE.read_text())

    def follow(self, section: str) -> str:
        """Run all blocks of a section, as one script that stops at the first error; returns what it printed."""
        shown = self._shell.run(self._scripts.pop(section))
        print(f"## {section}\n{shown}")
        return shown

    @property
    def unread(self) -> list[str]:
        """Sections with commands that nobody followed."""
        return list(self._scripts)


def scripts(text: str) -> dict[str, str]:
    """The commands of each section that has any which are not the reader's own."""
    found: dict[str, str] = {}
    titles = [*SECTION.finditer(text)]
    for title, after in zip(titles, [*titles[1:], None], strict=True):
        section = text[title.end() : after.start() if after else None]
        commands = "".join(block["commands"] for block in BLOCK.finditer(section) if not block["yours"])
        if commands:
            found[title["title"]] = commands
    return found
