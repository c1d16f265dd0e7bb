"""Conventional codecs as Pillow runs them, at several qualities.

Knows Pillow's options; knows nothing of figures. Settings are the slow and good end of what Pillow offers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features


@dataclass(frozen=True)
class Setting:
    """One point of one codec: Pillow's format name and save options; `label` is `codec` and its quality."""

    codec: str
    quality: float
    format: str
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.codec} {self.quality:g}"

    def encode(self, source: np.ndarray) -> bytes:
        """The file of (height, width, 3) uint8."""
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, self.format, **self.options)
        return buffer.getvalue()

    def run(self, source: np.ndarray) -> tuple[int, np.ndarray]:
        """Code one picture.

        Args:
            source: (height, width, 3) uint8.

        Returns:
            Bytes of the file, and (height, width, 3) uint8 decoded from it.
        """
        data = self.encode(source)
        return len(data), decode(data)


def decode(data: bytes) -> np.ndarray:
    """Pixels of a file that Pillow reads, (height, width, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def settings() -> Iterator[Setting]:
    """Every point to run; a codec that this Pillow lacks is left out (`missing`)."""
    for quality in (10, 20, 30, 45, 60, 75, 85):
        yield Setting("JPEG", quality, "JPEG", {"quality": quality, "optimize": True, "progressive": True})
    for quality in (5, 20, 40, 60, 75, 85):
        yield Setting("WebP", quality, "WEBP", {"quality": quality, "method": 6})
    if features.check("jpg_2000"):
        for ratio in (120, 80, 50, 32, 20, 13):
            options = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True, "mct": 1}
            yield Setting("JPEG 2000", ratio, "JPEG2000", options)
    if features.check("avif"):
        for quality in (15, 25, 35, 45, 55, 68):
            yield Setting("AVIF", quality, "AVIF", {"quality": quality, "speed": 4, "subsampling": "4:2:0"})


def missing() -> list[str]:
    """Codecs that this Pillow was built without."""
    return [name for name, feature in (("JPEG 2000", "jpg_2000"), ("AVIF", "avif")) if not features.check(feature)]
