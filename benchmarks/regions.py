"""Do regions equal the whole picture's pixels, and what do they cost beside it?

    python -m fastlic.benchmarks.regions PICTURE

Knows one decoder and boxes; knows nothing of tiles but where their corners may lie. Give it a large photograph.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import fastlic
from fastlic.runtime import pictures

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""
TILE = 1024
"""Pixels between the corners of tiles in large pictures."""
EDGES = (256, 512, 1024)
"""Of the square regions that are timed."""


def boxes(width: int, height: int, count: int, seed: int = 11) -> list[Box]:
    """Regions inside a picture: by turns anywhere, around a corner of tiles, and one pixel."""
    rng, found = random.Random(seed), []
    for number in range(count):
        x, y = rng.randrange(width), rng.randrange(height)
        before, after = (0, 1) if number % 3 == 2 else (rng.randrange(60), rng.randrange(1, 60))
        if number % 3 == 0:
            after = rng.randrange(1, 600)
        if number % 3 == 1:
            x, y = (min(TILE * round(at / TILE), size - 1) for at, size in ((x, width), (y, height)))
        found.append((max(0, x - before), max(0, y - before), min(width, x + after), min(height, y + after)))
    return found


def differences(decoder: fastlic.Decoder, data: bytes, whole: np.ndarray, regions: Iterable[Box]) -> list[int]:
    """The largest difference of each region from the same pixels of `whole`, uint8 (height, width, 3), in levels."""
    return [
        int(np.abs(decoder.decode(data, region=box).astype(int) - whole[box[1] : box[3], box[0] : box[2]]).max())
        for box in regions
    ]


def main() -> int:
    """Run from the command line; 3 if a region differs by more than one level."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--count", type=int, default=300, help="regions to compare (default: 300)")
    options = parser.parse_args()
    with fastlic.Encoder() as encoder:
        data = encoder.encode(pictures.load(options.picture).pixels)
    with fastlic.Decoder(threads=1) as decoder:
        decoder.decode(data, region=(0, 0, 1, 1))  # loads the graphs
        start = time.process_time()
        whole = decoder.decode(data)
        seconds = time.process_time() - start
        height, width = whole.shape[:2]
        print(f"whole  {width}x{height}  {seconds:.2f} s of processor time")
        for edge in (edge for edge in EDGES if edge < min(width, height)):
            left, top = (width - edge) // 2, (height - edge) // 2
            start = time.process_time()
            decoder.decode(data, region=(left, top, left + edge, top + edge))
            print(f"region {edge}x{edge}  {(time.process_time() - start) / seconds:.4f} of the whole's")
        found = differences(decoder, data, whole, boxes(width, height, options.count))
    print(f"{len(found)} regions  {sum(map(bool, found))} differ, by at most {max(found)} levels")
    return 0 if max(found) <= 1 else 3


if __name__ == "__main__":
    sys.exit(main())
