"""runtime/files.py: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.runtime.files import remove_partial, write_atomically


def test_write_atomically_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "picture.lic"
    path.write_bytes(b"old")

    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomically_failing_keeps_the_old_file_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.lic"
    path.write_bytes(b"old")

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_remove_partial_removes_what_a_killed_writer_left_of_these_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", lambda *_: None)  # neither renamed nor tidied up
        for name in ("mine.png", "other.png"):
            write_atomically(tmp_path / name, b"half")
    (tmp_path / ".mine.png.part").write_bytes(b"a file of the user")

    remove_partial([tmp_path / "mine.png", tmp_path / "absent folder" / "mine.png"])

    assert sorted(path.name.split(".")[1] for path in tmp_path.iterdir()) == ["mine", "other"]
