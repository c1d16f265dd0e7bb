"""Compress and decode one photograph with the shipped student, and show what that costs: `make demo`.

Knows the public API only, as an application does; needs neither torch nor a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fastlic
from fastlic.benchmarks.quality import psnr
from fastlic.runtime import pictures
from fastlic.runtime.files import write_atomically

REPETITIONS = 5
_MARGIN, _CAPTION = 8, 28  # pixels


def side_by_side(original: np.ndarray, decoded: np.ndarray, captions: tuple[str, str]) -> Image.Image:
    """Both pictures, (height, width, 3) uint8, next to each other with a line of text below each."""
    height, width = original.shape[:2]
    sheet = Image.new("RGB", (2 * width + _MARGIN, height + _CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for pixels, left, caption in zip((original, decoded), (0, width + _MARGIN), captions, strict=True):
        sheet.paste(Image.fromarray(pixels), (left, 0))
        draw.text((left + _MARGIN, height + _CAPTION // 2), caption, fill="black", anchor="lm", font_size=14)
    return sheet


def _stages(timings: Mapping[str, float], count: int) -> str:
    """Mean milliseconds per stage, in the order of the work."""
    return ", ".join(f"{name} {1000 * seconds / count:.1f}" for name, seconds in timings.items())


def main() -> None:
    """Run the demonstration from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="FOLDER")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    stem = options.output / options.picture.stem

    original = pictures.load(options.picture)
    height, width = original.pixels.shape[:2]
    with fastlic.Encoder() as encoder:
        start = time.perf_counter()
        data = encoder.encode(original.pixels, metadata=original.metadata)
        encoding = time.perf_counter() - start
    write_atomically(stem.with_suffix(".lic"), data)

    seconds: list[float] = []
    timings: dict[str, float] = {}
    with fastlic.Decoder() as decoder:
        decoder.decode(data)  # the first loads the graphs
        for _ in range(REPETITIONS):
            start = time.perf_counter()
            decoded = decoder.decode(data, timings=timings)
            seconds.append(time.perf_counter() - start)
        info = decoder.engine_info
    decoded_path, pair_path = stem.with_suffix(".decoded.png"), stem.with_suffix(".side-by-side.png")
    pictures.save(decoded_path, decoded, original.metadata)
    bpp, quality = 8 * len(data) / (width * height), psnr(original.pixels, decoded)
    raw = original.pixels.nbytes
    captions = f"{options.picture.name}, {raw} bytes as pixels", f"fastlic, {len(data)} bytes, {quality:.2f} dB"
    side_by_side(original.pixels, decoded, captions).save(pair_path)

    print(f"picture  {options.picture}  {width}x{height}")
    print(f"engine   {info.name} {info.version}, {info.threads} threads")
    print(f"file     {stem.with_suffix('.lic')}  {len(data)} bytes  {bpp:.4f} bpp  1:{raw / len(data):.0f}")
    print(f"quality  PSNR {quality:.2f} dB")
    print(f"encode   {1000 * encoding:.0f} ms, first use")
    print(f"decode   {1000 * statistics.median(seconds):.0f} ms, median of {REPETITIONS} after a warm-up")
    print(f"stages   {_stages(timings, REPETITIONS)} ms")
    print(f"wrote    {decoded_path}  {pair_path}")


if __name__ == "__main__":
    main()
