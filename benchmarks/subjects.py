"""The pictures that are decoded: files, sizes, or files brought to sizes.

Knows pictures as arrays; knows nothing of codecs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fastlic.errors import PictureError
from fastlic.runtime import pictures

SIZES = ((256, 256), (512, 512), (768, 512), (1280, 720), (1920, 1080), (3840, 2160))
"""Widths and heights measured where none are named: from a thumbnail to 4K."""

SLOPE = 1.3
"""Of a made-up picture's amplitudes over frequency: its files then have about as many bits as a photograph's."""

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})\Z")


@dataclass(frozen=True)
class Subject:
    """A picture to decode: where its PNG lies, and its size in pixels."""

    name: str
    path: Path
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def size(self) -> str:
        """For tables."""
        return f"{self.width}x{self.height}"


def size_of(text: str) -> tuple[int, int] | None:
    """(width, height) of a text such as `1920x1080`; None for any other text."""
    found = _SIZE.match(text)
    return (int(found[1]), int(found[2])) if found and int(found[1]) and int(found[2]) else None


def gather(
    files: Sequence[Path], sizes: Sequence[tuple[int, int]], folder: Path
) -> tuple[list[Subject], dict[str, str]]:
    """Make what is to be decoded.

    Args:
        files: photographs. Without any, one is made up (`made_up`).
        sizes: (width, height). Without any, files keep their own size, and a made-up picture gets each of `SIZES`.
        folder: for the PNG files.

    Returns:
        The subjects, and by file why it gives none.
    """
    sources: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    for file in files:
        try:
            sources[file.stem] = pictures.load(file).pixels
        except (OSError, PictureError) as error:
            failed[str(file)] = str(getattr(error, "strerror", None) or error)
    if not files:
        sources["made-up"] = made_up(768, 512)
        sizes = sizes or SIZES
    subjects = []
    for name, pixels in sources.items():
        for width, height in sizes or [(pixels.shape[1], pixels.shape[0])]:
            path = folder / f"{name}-{width}x{height}.png"
            Image.fromarray(mirrored(pixels, width, height)).save(path, compress_level=1)
            subjects.append(Subject(name, path, width, height))
    return subjects, failed


def mirrored(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fill (height, width, 3) with a picture (h, w, 3) and its mirror images, so that there are no seams."""
    above, beside = (2 * size for size in picture.shape[:2])
    rows = np.arange(height) % above
    columns = np.arange(width) % beside
    return picture[np.minimum(rows, above - 1 - rows)][:, np.minimum(columns, beside - 1 - columns)]


def made_up(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture with nearly the power spectrum of photographs, where no photograph was given.

    Returns:
        (height, width, 3) uint8; channels share most of their detail.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    maps = []
    for _ in range(4):
        noise = np.fft.rfft2(rng.normal(size=(height, width)))
        field = np.fft.irfft2(noise / frequency**SLOPE, s=(height, width))
        maps.append(field / field.std())
    mixed = np.stack([maps[0] + 0.3 * own for own in maps[1:]], axis=-1)
    return np.clip(128 + 45 * mixed, 0, 255).astype(np.uint8)
