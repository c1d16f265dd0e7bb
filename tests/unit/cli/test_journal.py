"""runtime/cli/journal.py: what is remembered, and what is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.errors import FolderInUse
from fastlic.runtime.cli.journal import FILE, FOLDER, Journal


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(b"input")
    return path


@pytest.fixture
def out(tmp_path: Path, source: Path) -> Path:
    """An output folder with the finished files `a` and `b`."""
    folder = tmp_path / "out"
    with Journal(folder, "settings") as journal:
        for name in "ab":
            journal.add(folder / name, source.read_bytes(), b"result")
            (folder / name).write_bytes(b"result")
    return folder


def finished(out: Path, source: Path, settings: str = "settings") -> list[str]:
    with Journal(out, settings) as journal:
        return [name for name in "ab" if journal.finished(source, out / name)]


def test_finished_is_what_has_the_hashes_of_its_line(out: Path, source: Path) -> None:
    assert finished(out, source) == ["a", "b"]


def test_finished_is_nothing_with_other_settings_or_another_input(out: Path, source: Path) -> None:
    assert finished(out, source, "others") == []
    source.write_bytes(b"another")
    assert finished(out, source) == []


def test_finished_is_not_a_file_that_is_missing_or_has_changed(out: Path, source: Path) -> None:
    (out / "a").unlink()
    (out / "b").write_bytes(b"resul")

    assert finished(out, source) == []


@pytest.mark.parametrize("cut", [1, 2, 30, 140])
def test_journal_with_a_torn_end_loses_that_line_alone(out: Path, source: Path, cut: int) -> None:
    path = out / FOLDER / FILE
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(out, "settings") as journal:
        known = [name for name in "ab" if journal.finished(source, out / name)]
        journal.add(out / "b", b"input", b"result")

    assert known == (["a", "b"] if cut == 1 else ["a"])  # only the line's end was missing
    assert finished(out, source) == ["a", "b"]


@pytest.mark.parametrize("line", [b"\xff\x00", b"{}", b"[1, 2, 3, 4]", b'["b"]', b"9" * 9999, b"[" * 99999])
def test_journal_passes_over_what_is_no_line_of_its_own(out: Path, source: Path, line: bytes) -> None:
    path = out / FOLDER / FILE
    path.write_bytes(line + b"\n" + path.read_bytes())

    assert finished(out, source) == ["a", "b"]


def test_journal_of_a_folder_in_use_is_refused(out: Path) -> None:
    with Journal(out, "settings"), pytest.raises(FolderInUse, match="another fastlic is writing into this folder"):
        Journal(out, "settings")
    Journal(out, "settings").close()
