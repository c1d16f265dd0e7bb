"""Pictures to calibrate and validate an export on.

Knows folders, tar archives and how to make pictures up where none are named; knows nothing of students.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from fastlic.errors import PictureError
from fastlic.runtime import pictures

Item = TypeVar("Item")

MAX_PICTURES = 96
MIN_PICTURES = 8
MAX_EDGE = 512
"""Pixels; larger pictures are cut to their centre."""
MADE_UP_EDGE = 256
MADE_UP_COUNT = 32
EVERY = 4
"""One picture in so many is kept for validation."""


@dataclass(frozen=True)
class PictureSet:
    """uint8 (H, W, 3) pictures, H and W multiples of `multiple`; those of `validation` are not calibrated on."""

    calibration: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    origin: str


def load(source: Path | None, multiple: int) -> PictureSet:
    """Collect pictures, at most 96, spread evenly over the source.

    Args:
        source: a folder (searched in depth) or a .tar of pictures; None: pictures are made up, which calibrates ranges
            well enough to be exact but less well than photographs do for the rate.
        multiple: pixels.

    Raises:
        PictureError: no such source, or fewer than 8 usable pictures in it.
    """
    if source is None:
        found = made_up(MADE_UP_COUNT, MADE_UP_EDGE)
    else:
        found = [_cut(picture, multiple) for picture in _read(source)]
        found = [picture for picture in found if picture.size]
    if len(found) < MIN_PICTURES:
        raise PictureError(
            f"{source}: {len(found)} pictures of at least {multiple} x {multiple} pixels; calibration needs "
            f"{MIN_PICTURES}. Name a folder or .tar with more photographs (--calibration)."
        )
    held = found[EVERY - 1 :: EVERY]
    used = [picture for number, picture in enumerate(found) if number % EVERY != EVERY - 1]
    return PictureSet(tuple(used), tuple(held), "made up" if source is None else source.name)


def made_up(count: int, edge: int, seed: int = 1) -> list[np.ndarray]:
    """Pictures with the statistics of photographs: noise of amplitude 1 / frequency, shaded regions with sharp edges.

    Args:
        count: how many.
        edge: pixels, height and width.
        seed: equal seeds give equal pictures.

    Returns:
        uint8 (edge, edge, 3) each.
    """
    generator = np.random.default_rng(seed)
    return [_made_up(generator, edge) for _ in range(count)]


def _made_up(generator: np.random.Generator, edge: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.rfftfreq(edge)[None, :])
    frequency[0, 0] = 1

    def noise(power: float) -> np.ndarray:
        spectrum = np.fft.rfft2(generator.normal(size=(edge, edge))) / frequency**power
        field = np.fft.irfft2(spectrum, (edge, edge))
        return (field - field.mean()) / field.std()

    power = generator.uniform(0.8, 1.8)
    luminance = noise(power)
    for _ in range(generator.integers(2, 9)):
        angle, offset = generator.uniform(0, 2 * np.pi), generator.uniform(-0.5, 0.5)
        rows, columns = np.mgrid[-0.5 : 0.5 : edge * 1j, -0.5 : 0.5 : edge * 1j]
        side = rows * np.sin(angle) + columns * np.cos(angle) + 0.05 * noise(2.0) > offset
        luminance = np.where(side, luminance * generator.uniform(0.2, 1.2) + generator.normal(), luminance)
    colours = np.stack([luminance + generator.uniform(0.1, 0.5) * noise(power + 0.3) for _ in range(3)], axis=2)
    contrast, brightness = generator.uniform(20, 60), generator.uniform(80, 170)
    return np.clip(np.round(colours * contrast + brightness), 0, 255).astype(np.uint8)


def _read(source: Path) -> list[np.ndarray]:
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in pictures.READABLE)
        return [pictures.load(path).pixels for path in _spread(paths)]
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise PictureError(f"{source}: neither a folder nor a .tar of pictures. Name another (--calibration).")
    with tarfile.open(source) as archive:
        members = [
            member for member in archive if member.isfile() and Path(member.name).suffix.lower() in pictures.READABLE
        ]
        found = []
        for member in _spread(sorted(members, key=lambda member: member.name)):
            stream = archive.extractfile(member)
            if stream is not None:
                found.append(pictures.load(stream.read(), name=f"{source}:{member.name}").pixels)
        return found


def _spread(items: Sequence[Item]) -> Sequence[Item]:
    """At most `MAX_PICTURES`, evenly spaced."""
    if len(items) <= MAX_PICTURES:
        return items
    return [items[number * len(items) // MAX_PICTURES] for number in range(MAX_PICTURES)]


def _cut(picture: np.ndarray, multiple: int) -> np.ndarray:
    height, width = (min(edge, MAX_EDGE) // multiple * multiple for edge in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])
