"""runtime/files.py: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.runtime.files import write_atomically


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
