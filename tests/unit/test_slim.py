"""What the image leaves out. That the rest works, and that all of it can be repeated: tests/e2e/test_image.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import slim

ROW = "{},sha256=abc,3"


def test_a_list_of_files_loses_those_that_are_gone(tmp_path: Path) -> None:
    record = tmp_path / "a-1.dist-info/RECORD"
    record.parent.mkdir()
    (tmp_path / "kept.py").touch()
    record.write_text("\n".join([ROW.format("kept.py"), ROW.format("gone.py")]))
    slim.keep_true(record, tmp_path)
    assert record.read_text() == "kept.py,sha256=abc,3\n"


def test_an_entry_that_finds_nothing_any_more_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kubernetes").mkdir()
    with pytest.raises(ValueError, match=r"kubernetes/client/api/.* is not there"):
        list(slim.unused(tmp_path))


def test_everything_gets_the_same_time_and_what_a_link_leads_to_keeps_its_own(tmp_path: Path) -> None:
    outside, image = tmp_path / "outside", tmp_path / "image"
    outside.touch()
    (image / "folder").mkdir(parents=True)
    (image / "folder/file").touch()
    (image / "link").symlink_to(outside)
    slim.set_times(image, 7)
    assert {os.lstat(path).st_mtime for path in [image, *image.rglob("*")]} == {7}
    assert outside.stat().st_mtime > 7
