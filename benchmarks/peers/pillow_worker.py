"""Time the conventional codecs that Pillow brings, at the quality of a student.

Knows Pillow; knows nothing of fastlic's codec. Of a codec's settings (`benchmarks/conventional.py`), the one whose mean
PSNR is nearest to the one asked for is taken, so that its rate and time stand beside ours at equal quality.

    {"do": "prepare", "name": CODEC, "pictures": [PNG, ...], "psnr": dB}  ->  {"bytes", "psnr": [...], "version": TEXT}
    {"do": "decode", "file": NUMBER}                                      ->  {"wall", "processor"}
    {"do": "memory"}                                                      ->  {"host"}
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import PIL
from PIL import Image

from fastlic.benchmarks import quality
from fastlic.benchmarks.conventional import Setting, decode, settings
from fastlic.benchmarks.peers.answers import answer_requests, peak_memory


class Contestant:
    """A codec and its files."""

    def __init__(self) -> None:
        self._files: list[bytes] = []

    def prepare(self, name: str, pictures: Sequence[str], psnr: float) -> dict[str, Any]:
        """Encode every picture at the setting nearest to the target."""
        sources = [np.asarray(Image.open(path).convert("RGB")) for path in pictures]
        offered = [setting for setting in settings() if setting.codec == name]
        if not offered:
            raise RuntimeError(f"this Pillow was built without {name}")
        tried = [_tried(setting, sources) for setting in offered]
        setting, self._files, qualities = min(tried, key=lambda each: abs(fmean(each[2]) - psnr))
        return {
            "bytes": [len(file) for file in self._files],
            "psnr": qualities,
            "version": f"Pillow {PIL.__version__}, {setting.label}",
        }

    def decode(self, file: int) -> dict[str, float]:
        """Decode one file once, to pixels in memory."""
        wall, processor = time.perf_counter(), time.process_time()
        decode(self._files[file])
        return {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}

    def memory(self) -> dict[str, Any]:
        """The largest resident set so far."""
        return {"host": peak_memory()}


def _tried(setting: Setting, sources: Sequence[np.ndarray]) -> tuple[Setting, list[bytes], list[float]]:
    files = [setting.encode(source) for source in sources]
    return setting, files, [quality.psnr(source, decode(file)) for source, file in zip(sources, files, strict=True)]


if __name__ == "__main__":
    contestant = Contestant()
    answer_requests({name: getattr(contestant, name) for name in ("prepare", "decode", "memory")})
