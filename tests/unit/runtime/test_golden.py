"""What `fastlic verify --conformance` finds: nothing here, and whatever a machine or a file gets wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastlic.errors import EngineNotPrepared, PinMismatch, StudentNotFound
from fastlic.runtime import golden
from fastlic.runtime.golden import Golden


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden files that the module takes for the installed ones."""
    folder = tmp_path / "golden"
    shutil.copytree(golden.folder(), folder)
    monkeypatch.setattr(golden, "folder", lambda: folder)
    return folder


def square() -> Golden:
    return next(entry for entry in golden.listed() if entry.file == "tiny-square.lic")


def problem_of(entry: Golden) -> str | None:
    (finding,) = golden.check_student(golden.folder() / "tiny.licb", [entry], "ort-cpu", "constriction", threads=1)
    return finding.problem


def with_pixel_changed_by(levels: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        pixels = np.asarray(Image.open(folder / "tiny-square.png")).copy()
        pixels[5, 5, 1] += levels if pixels[5, 5, 1] < 128 else -levels
        Image.fromarray(pixels).save(folder / "tiny-square.png")

    return change


def with_byte_changed(folder: Path) -> None:
    data = bytearray((folder / "tiny-square.lic").read_bytes())
    data[-6] ^= 1
    (folder / "tiny-square.lic").write_bytes(data)


def with_checksum_changed(folder: Path) -> None:
    entries = json.loads((folder / golden.LISTING).read_text())
    next(entry for entry in entries if entry["file"] == "tiny-square.lic")["symbol_crc"] = [1]
    (folder / golden.LISTING).write_text(json.dumps(entries))


def with_picture_cropped(folder: Path) -> None:
    path = folder / "tiny-square.png"
    Image.open(path).crop((0, 0, 64, 63)).save(path)


@pytest.mark.parametrize(
    ("error", "must_run", "check", "problem"),
    [
        (PinMismatch("x"), True, "pinned to another engine or machine, not decoded", None),
        (EngineNotPrepared("run fastlic build"), False, "not prepared by fastlic build, not decoded", None),
        (EngineNotPrepared("run fastlic build"), True, "reader", "EngineNotPrepared: run fastlic build"),
    ],
)
def test_check_student_that_cannot_be_loaded_here_is_told_apart(
    error: Exception, must_run: bool, check: str, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(golden, "Decoder", refuse)
    path = golden.folder() / "tiny.licb"

    (finding,) = golden.check_student(path, [square()], "ort-cpu", "constriction", must_run=must_run)

    assert finding.check.endswith(check)
    assert finding.problem == problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_pixel_changed_by(1), None),
        (with_pixel_changed_by(2), "a pixel differs by 2 levels"),
        (with_byte_changed, "CorruptedStream: stream "),
        (with_checksum_changed, "the file has other symbol checksums than the listing"),
        (with_picture_cropped, "the picture is (64, 64, 3), not (63, 64, 3)"),
    ],
)
def test_check_student_finds_what_differs(copied: Path, change: Callable[[Path], None], problem: str | None) -> None:
    change(copied)

    found = problem_of(square())

    assert found is None if problem is None else str(found).startswith(problem)


def test_bundle_of_a_student_that_is_not_shipped_raises() -> None:
    with pytest.raises(StudentNotFound, match=r"old\.lic: no shipped student has fingerprint 00"):
        golden.bundle_of(Golden("old.lic", "old.png", None, "00", (1,)))


def test_check_all_engine_that_cannot_run_is_a_problem_and_no_exception() -> None:
    findings = list(golden.check_all("none"))

    assert findings
    assert all("EngineUnavailable" in str(finding.problem) for finding in findings)
