"""The short form of benchmarks/exactness_matrix.py: small pictures, every engine and option, every pair."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_student

from fastlic.benchmarks.exactness_matrix import VARIANTS, Cell, measure
from fastlic.errors import SymbolMismatch

HERE = [variant for variant in VARIANTS if variant.engine == "ort-cpu"]


def test_tiny_student_every_pair_of_engines_agrees_on_every_symbol() -> None:
    pytest.importorskip("torch", reason="two of the variants are the torch engine")
    pytest.importorskip("onnx", reason="two of the variants are the torch engine")
    images = [tiny_student.picture(64, 128), tiny_student.picture(50, 70)]

    matrix = measure(images, tiny_student.bundle_bytes())

    assert len(matrix.cells) == len(VARIANTS) ** 2
    assert all(cell.files == len(images) and cell.symbols > 0 for cell in matrix.cells.values())
    assert matrix.clean, [cell.errors for cell in matrix.cells.values() if cell.errors]
    assert max(matrix.levels.values()) <= 1


def test_cell_counts_symbols_and_failures_apart() -> None:
    cell = Cell()
    expected = {"y": np.zeros((2, 3, 4), np.int16)}
    other = expected["y"].copy()
    other[1, 2, 3] = other[0, 0, 0] = 1

    cell.count({"y": other}, expected)
    cell.count(SymbolMismatch("tile[0]"), expected)

    assert (cell.files, cell.failed, cell.symbols, cell.differing) == (2, 1, 48, 2)
    assert cell.errors == ["SymbolMismatch: tile[0]"]


def test_matrix_with_a_differing_symbol_is_not_clean() -> None:
    matrix = measure([tiny_student.picture(64, 64)], tiny_student.bundle_bytes(), HERE[:1])
    (cell,) = matrix.cells.values()

    cell.differing = 1

    assert not matrix.clean
