"""Parser and reader of the C library under address and undefined behaviour sanitizers, on a few thousand inputs."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest
from fuzz import native
from fuzz.mutator import Mutator
from fuzz.native import Fuzzer
from fuzz.targets import MAP_BYTES, seeds


def mutated() -> itertools.chain[bytes]:
    mutator = Mutator(seeds(), MAP_BYTES, 11)
    return itertools.chain(seeds(), iter(mutator.next, None))


def test_sanitized_library_reads_mutated_files_without_a_finding(tmp_path: Path) -> None:
    fuzzer = native.fuzzer(tmp_path, libfuzzer=False)
    if fuzzer is None:
        pytest.skip("no C++ compiler with sanitizers")

    text, is_clean = native.run(fuzzer, seeds(), mutated(), 1.0, tmp_path / "keep")

    assert is_clean, text
    assert text == f"{native.INPUTS_PER_SECOND} inputs"


@pytest.mark.parametrize("has_libfuzzer", [True, False])
def test_run_of_a_program_that_fails_shows_what_it_said(has_libfuzzer: bool, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'ERROR: AddressSanitizer: heap-buffer-overflow' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)

    text, is_clean = native.run(Fuzzer(program, has_libfuzzer), seeds(), mutated(), 0.01, tmp_path / "keep")

    assert not is_clean
    assert text == "ERROR: AddressSanitizer: heap-buffer-overflow"
