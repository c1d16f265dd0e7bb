"""Tiles and windows cover the padded picture exactly once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlic.runtime.tiles import TARGET_EDGE, Box, TileGrid, windows

sizes = st.integers(1, 5000)


@given(sizes, sizes, st.sampled_from([1, 16, 64, 4096]))
def test_chosen_tiles_cover_the_padded_picture_once(width: int, height: int, multiple: int) -> None:
    if multiple == 1:
        width, height = width % 300 + 1, height % 300 + 1
    grid = TileGrid.choose(width, height, multiple)
    covered = np.zeros((grid.padded.height // multiple, grid.padded.width // multiple), np.uint8)
    for box in grid:
        covered[box.scaled(multiple).slices] += 1

    assert (covered == 1).all()
    assert grid.count == len(list(grid))
    assert width <= grid.padded.width < width + multiple
    assert max(grid.tile_width, grid.tile_height) <= max(TARGET_EDGE, multiple)


def test_picture_below_the_target_is_one_tile() -> None:
    assert list(TileGrid.choose(768, 512, 64)) == [Box(0, 0, 768, 512)]


def test_large_picture_has_tiles_of_equal_size() -> None:
    grid = TileGrid.choose(6000, 4000, 64)

    assert (grid.count, grid.tile_width, grid.tile_height) == (24, 1024, 1024)
    assert TileGrid.choose(1100, 64, 64).tile_width == 576


@given(sizes, sizes, st.integers(0, 300))
def test_windows_keep_everything_once_and_stay_inside(width: int, height: int, halo: int) -> None:
    padded = TileGrid.choose(width, height, 64).padded
    kept = np.zeros((padded.height // 64, padded.width // 64), np.uint8)
    for inner, outer in windows(padded, 64, halo):
        kept[inner.scaled(64).slices] += 1
        for edge, bound, direction in zip(outer, padded, (-1, -1, 1, 1), strict=True):
            assert edge % 64 == 0
            assert direction * edge <= direction * bound
        for outer_edge, inner_edge, bound in zip(outer, inner, padded, strict=True):
            assert outer_edge == bound or abs(outer_edge - inner_edge) >= halo

    assert (kept == 1).all()


@pytest.mark.parametrize(("inner", "expected"), [(Box(64, 64, 128, 128), Box(16, 16, 80, 80))])
def test_within_is_relative_to_the_outer_corner(inner: Box, expected: Box) -> None:
    assert inner.within(Box(48, 48, 200, 200)) == expected
