"""Decoding with less memory than a picture needs; `python -m hostile.out_of_memory` does it with more limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import out_of_memory

from fastlic.runtime import bundle

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS and /proc/self/statm are Linux's"),
    pytest.mark.skipif(not bundle.shipped(), reason="no student is shipped"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    out_of_memory.write_files(path)
    return path


def test_picture_too_large_for_the_memory_is_an_error_and_the_others_are_decoded(folder: Path) -> None:
    said = out_of_memory.outcomes(folder, 384)

    assert said["large"].startswith("MemoryError: ")
    assert said["batch 1"].startswith("MemoryError: ")
    assert {said[key] for key in ("small", "batch 0", "batch 2", "after")} == {"right"}


@pytest.mark.parametrize("mebibytes", [16, 128])
def test_hardly_any_memory_is_errors_and_the_decoder_lives_on(folder: Path, mebibytes: int) -> None:
    said = out_of_memory.outcomes(folder, mebibytes)

    assert said.pop("after") == "right"
    assert said["large"].startswith("MemoryError: ")
    assert all(out_of_memory.typed(outcome) for outcome in said.values()), said
