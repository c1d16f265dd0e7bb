"""Regions of pictures, and which tiles they touch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tiny_student

from fastlic.errors import BitstreamError, LimitExceeded
from fastlic.runtime import bitstream
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.limits import Limits
from fastlic.runtime.tiles import TileGrid

WIDTH, HEIGHT = 500, 300


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def tiled() -> bytes:
    """A picture of 500x300 pixels in nine tiles of 192x128."""
    grid = TileGrid(WIDTH, HEIGHT, 64, 192, 128)
    with pytest.MonkeyPatch.context() as patch, Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        patch.setattr("fastlic.runtime.codec.TileGrid.choose", lambda *_: grid)
        data = encoder.encode(tiny_student.picture(HEIGHT, WIDTH))
    assert len(list(bitstream.probe(data).grid(64))) == 9
    return data


@pytest.fixture(scope="module")
def whole(decoder: Decoder, tiled: bytes) -> np.ndarray:
    return decoder.decode(tiled).astype(int)


@pytest.mark.parametrize(
    "region",
    [
        (0, 0, WIDTH, HEIGHT),
        (0, 0, 1, 1),
        (WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT),
        (191, 127, 193, 129),
        (64, 64, 128, 128),
        (3, 200, 499, 201),
        (250, 0, 251, HEIGHT),
    ],
)
def test_region_is_that_part_of_the_picture(
    decoder: Decoder, tiled: bytes, whole: np.ndarray, region: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = region

    part = decoder.decode(tiled, region=region)

    assert part.dtype == np.uint8
    assert part.shape == (bottom - top, right - left, 3)
    assert np.abs(part - whole[top:bottom, left:right]).max() <= 1


def test_region_in_small_windows_is_the_same_part(
    decoder: Decoder, tiled: bytes, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 128)

    part = decoder.decode(tiled, region=(30, 20, 470, 280))

    assert np.abs(part - whole[20:280, 30:470]).max() <= 1


def test_region_fills_a_given_array_of_its_own_shape(decoder: Decoder, tiled: bytes) -> None:
    out = np.zeros((10, 20, 3), np.uint8)

    assert decoder.decode(tiled, out, region=(5, 6, 25, 16)) is out
    np.testing.assert_array_equal(out, decoder.decode(tiled, region=(5, 6, 25, 16)))
    with pytest.raises(ValueError, match=r"out must be uint8 \(10, 21, 3\)"):
        decoder.decode(tiled, out, region=(5, 6, 26, 16))


@pytest.mark.parametrize(
    "region",
    [(0, 0, 0, 5), (5, 5, 4, 9), (-1, 0, 5, 5), (0, 0, WIDTH + 1, 5), (0, 0, 5, HEIGHT + 1), (0, 0, 5), (0, 0, 1.5, 2)],
)
def test_region_outside_or_empty_is_refused(decoder: Decoder, tiled: bytes, region: tuple) -> None:
    with pytest.raises(ValueError, match="region must be"):
        decoder.decode(tiled, region=region)


def test_region_reads_only_the_tiles_it_needs(decoder: Decoder, tiled: bytes) -> None:
    """The last word of the file belongs to the last tile: damage there is seen by who needs it."""
    damaged = tiled[:-4] + bytes(byte ^ 0x55 for byte in tiled[-4:])

    assert decoder.decode(damaged, region=(0, 0, 64, 64)).shape == (64, 64, 3)
    with pytest.raises(BitstreamError):
        decoder.decode(damaged, region=(450, 250, 500, 300))


def test_region_of_a_picture_beyond_the_limit_of_pixels_is_decoded(tiled: bytes, whole: np.ndarray) -> None:
    with Decoder(tiny_student.bundle_bytes(), threads=1, limits=Limits(max_pixels=400 * 300)) as decoder:
        with pytest.raises(LimitExceeded):
            decoder.decode(tiled)

        part = decoder.decode(tiled, region=(100, 100, 200, 200))

    assert np.abs(part - whole[100:200, 100:200]).max() <= 1
