"""How time and memory of a decode grow with the picture, from 0.4 to 24 megapixels.

    python -m fastlic.benchmarks.growth PICTURE --plot docs/growth.svg --json growth.json

PICTURE is mirrored to fill each size, so that content and bit rate stay alike. Each size is encoded in one process and
decoded in another, whose peak resident memory then is that of this decode and of the interpreter with its libraries.
The first decode is not timed: it loads the graphs and faults pages in.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import save
from fastlic.runtime import pictures

SIZES = ((768, 512), (1216, 832), (1728, 1152), (2432, 1664), (3456, 2304), (4864, 3328), (6000, 4000))
"""Widths and heights, each about twice the pixels of the one before; the last is 24 megapixels."""

BAR_GIB = 3.0


def mirrored(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fill (height, width, 3) with a picture (h, w, 3) and its mirror images, so that there are no seams."""
    above, beside = (2 * size for size in picture.shape[:2])
    rows = np.arange(height) % above
    columns = np.arange(width) % beside
    return picture[np.minimum(rows, above - 1 - rows)][:, np.minimum(columns, beside - 1 - columns)]


def _encode(source: str, target: str, width: str, height: str, bundle: str) -> None:
    with fastlic.Encoder(bundle or None) as encoder:
        pixels = mirrored(pictures.load(Path(source)).pixels, int(width), int(height))
        Path(target).write_bytes(encoder.encode(pixels))


def _decode(source: str, repeats: str, bundle: str) -> None:
    import resource

    data, seconds = Path(source).read_bytes(), []
    with fastlic.Decoder(bundle or None) as decoder:
        decoder.decode(data)
        for _ in range(int(repeats)):
            start = time.perf_counter()
            decoder.decode(data)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": statistics.median(seconds), "peak": peak, "bytes": len(data)}))


_CHILDREN: dict[str, Callable[..., None]] = {"encode": _encode, "decode": _decode}


def _child(*arguments: str) -> str:
    command = [sys.executable, "-m", "fastlic.benchmarks.growth", "--child", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(picture: Path, bundle: str, sizes: Sequence[tuple[int, int]], repeats: int) -> list[dict[str, float]]:
    """Encode and decode each size.

    Args:
        picture: what to fill the sizes with.
        bundle: path, or empty for the shipped student.
        sizes: (width, height).
        repeats: timed decodes.

    Returns:
        Per size: megapixels, seconds (median), GiB of peak resident memory, bits per pixel.

    Raises:
        subprocess.CalledProcessError: a child failed; its message is on standard error.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "grown.lic")
        for width, height in sizes:
            _child("encode", str(picture), file, str(width), str(height), bundle)
            found = json.loads(_child("decode", file, str(repeats), bundle))
            pixels = width * height
            rows.append(
                {
                    "megapixels": pixels / 1e6,
                    "seconds": found["seconds"],
                    "gib": found["peak"] / 2**30,
                    "bpp": 8 * found["bytes"] / pixels,
                }
            )
    return rows


def plot(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw seconds and memory over megapixels, with the bar on memory."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fastlic"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    megapixels = [row["megapixels"] for row in rows]
    slope = statistics.median(row["seconds"] / row["megapixels"] for row in rows)
    left.plot(megapixels, [row["seconds"] for row in rows], "o", label="decode")
    left.plot(megapixels, [slope * value for value in megapixels], label=f"{slope:.2f} s per megapixel")
    left.set(xlabel="megapixels", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    left.legend()
    right.plot(megapixels, [row["gib"] for row in rows], "o-")
    right.axhline(BAR_GIB, color="grey", linestyle="--", label="bar")
    right.set(xlabel="megapixels", ylabel="peak resident memory, GiB", xlim=(0, None), ylim=(0, None))
    right.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Run from the command line."""
    if sys.argv[1:2] == ["--child"]:
        _CHILDREN[sys.argv[2]](*sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bundle", default="", help="instead of the shipped student")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    rows = measure(options.picture, options.bundle, SIZES, options.repeats)

    table = Table("megapixels", "seconds", "seconds per megapixel", "peak GiB", "bpp")
    for row in rows:
        rate = row["seconds"] / row["megapixels"]
        cells = (row["megapixels"], row["seconds"], rate, row["gib"], row["bpp"])
        table.add_row(*(f"{cell:.2f}" for cell in cells))
    Console().print(table)
    save(options.json, {"rows": rows})
    if options.plot is not None:
        plot(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
