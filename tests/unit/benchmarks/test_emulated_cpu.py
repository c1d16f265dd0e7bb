"""benchmarks/emulated_cpu.py: the comparison, and one real run where QEMU is installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_student

import fastlic
from fastlic.benchmarks.emulated_cpu import Processor, Result, compare, decode_on, processors


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A bundle and two files of it."""
    bundle = tmp_path / "tiny.licb"
    bundle.write_bytes(tiny_student.bundle_bytes())
    written = [tmp_path / "0.lic", tmp_path / "1.lic"]
    with fastlic.Encoder(bundle, threads=1) as encoder:
        for path, size in zip(written, ((64, 64), (33, 70)), strict=True):
            path.write_bytes(encoder.encode(tiny_student.picture(*size)))
    return bundle, written


def test_compare_counts_files_with_other_symbols_and_the_largest_pixel_difference() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    reference = Result(crcs=[1, 2], pictures=[black, black])

    assert compare(Result(crcs=[1, 3], pictures=[black, black + 2]), reference) == (1, 2)


def test_decode_on_this_processor_gives_what_the_decoder_gives(files: tuple[Path, list[Path]]) -> None:
    bundle, written = files

    result = decode_on(Processor("here", [sys.executable]), bundle, written)

    assert result.problem is None
    assert len(result.crcs) == 2
    with fastlic.Decoder(bundle, threads=1) as decoder:
        for path, picture in zip(written, result.pictures, strict=True):
            np.testing.assert_array_equal(picture, decoder.decode(path.read_bytes()))


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="QEMU's user mode is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="QEMU's user mode emulates Linux")
def test_decode_on_older_processors_gives_the_same_symbols(files: tuple[Path, list[Path]]) -> None:
    bundle, written = files
    reference, *older = (decode_on(processor, bundle, written) for processor in processors(None))

    assert [result.problem for result in older] == [None] * 3
    for result in older:
        differing, levels = compare(result, reference)
        assert differing == 0
        assert levels <= 1


def test_decode_on_missing_emulator_says_what_to_install(tmp_path: Path) -> None:
    result = decode_on(Processor("elsewhere", ["qemu-not-there"]), tmp_path, [])

    assert result.problem == "qemu-not-there is not installed (Debian package qemu-user)"


def test_decode_on_failing_processor_reports_the_last_line(tmp_path: Path) -> None:
    result = decode_on(Processor("here", [sys.executable]), tmp_path / "absent.licb", [])

    assert "absent.licb" in str(result.problem)
