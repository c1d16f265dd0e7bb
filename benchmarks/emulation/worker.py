"""Decode files on the processor that runs this script, real or emulated, and print what came out as one JSON line.

    python worker.py BUNDLE FOLDER FILE.lic ...

`FOLDER` gets the pictures as 0.npy, 1.npy, ... The line has `machine`, `native` (whether the native reader was used),
`seconds` and, per file, the CRC-32 of all its latents.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import zlib
from pathlib import Path

import numpy as np

import fastlic
from fastlic.kernels import native


def main() -> None:
    """Run from the command line."""
    bundle, folder, *files = sys.argv[1:]
    crcs: list[int] = []
    start = time.perf_counter()
    with fastlic.Decoder(bundle, threads=1) as decoder:
        for number, file in enumerate(files):
            data = Path(file).read_bytes()
            latents, _ = decoder.decode_latents(data)
            crc = 0
            for name in sorted(latents):
                crc = zlib.crc32(np.ascontiguousarray(latents[name], "<i2").tobytes(), crc)
            crcs.append(crc)
            np.save(Path(folder) / f"{number}.npy", decoder.decode(data))
    seconds = round(time.perf_counter() - start, 2)
    print(json.dumps({"machine": platform.machine(), "native": native.available(), "crc": crcs, "seconds": seconds}))


if __name__ == "__main__":
    main()
