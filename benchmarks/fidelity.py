"""Does a bundle do what CompressAI does with the checkpoint it came from? Symbols, bits and quality, side by side.

    python -m fastlic.benchmarks.fidelity CHECKPOINT BUNDLE PICTURE... --student mbt2018-mean

Knows the library's forward pass and our files; knows nothing of how a bundle was made. Symbols differ where what the
synthesis sees is more than half a step apart; bits are those of our streams, and of whole files, against the library's
likelihoods; quality is PSNR against the picture, of the library's clamped output and of our decoded bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastlic.benchmarks.peers import library
from fastlic.benchmarks.quality import psnr
from fastlic.runtime import bitstream, pictures
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.limits import Limits


@dataclass(frozen=True)
class Fidelity:
    """One picture: counts of symbols, bits, decibels.

    Attributes:
        symbols, differing: of y, and those that differ from the library's.
        library_bits, stream_bits, file_bits: from likelihoods, of our streams, of our file.
        library_psnr, our_psnr: RGB.
    """

    symbols: int
    differing: int
    library_bits: float
    stream_bits: float
    file_bits: float
    library_psnr: float
    our_psnr: float


def compare(model: Any, encoder: Encoder, decoder: Decoder, bundle: Bundle, picture: np.ndarray) -> Fidelity:
    """Code one picture both ways.

    Args:
        model: the library's.
        encoder, decoder, bundle: of the exported student.
        picture: uint8 (H, W, 3), H and W multiples of 64.
    """
    given = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    wanted, shown, bits = library.forward(model, given)
    data = encoder.encode(picture)
    latents, grid = decoder.decode_latents(data)
    (seen,) = latents.values()
    if seen.dtype == np.int16 and not hasattr(model, "h_a"):  # symbols around medians
        seen = seen + model.entropy_bottleneck.quantiles[:, 0, 1].detach().numpy()[:, None, None]
    tiles = bitstream.read_tiles(data, bitstream.probe(data), grid, bundle.manifest.mapped, Limits())
    levels = (255 * shown).round().clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()
    return Fidelity(
        symbols=seen.size,
        differing=int((np.abs(seen - wanted.numpy()) > 0.5).sum()),
        library_bits=bits,
        stream_bits=8.0 * sum(len(stream) for tile in tiles for stream in tile.streams),
        file_bits=8.0 * len(data),
        library_psnr=psnr(picture, levels),
        our_psnr=psnr(picture, decoder.decode(data)),
    )


def report(found: Sequence[Fidelity]) -> str:
    """A line over all pictures."""
    symbols, differing = (sum(getattr(each, key) for each in found) for key in ("symbols", "differing"))
    bits, streams, files = (
        sum(getattr(each, key) for each in found) for key in ("library_bits", "stream_bits", "file_bits")
    )
    quality = [each.our_psnr - each.library_psnr for each in found]
    return (
        f"symbols {symbols}  differing {differing} ({100 * differing / symbols:.3f} %)  "
        f"bits {bits:.0f}  streams {100 * (streams / bits - 1):+.2f} %  files {100 * (files / bits - 1):+.2f} %  "
        f"PSNR {np.mean([each.library_psnr for each in found]):.3f} dB  ours {np.mean(quality):+.4f} dB  "
        f"worst {min(quality):+.4f} dB"
    )


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--student", required=True)
    options = parser.parse_args()
    model = library.load(options.checkpoint, options.student)
    with (
        Bundle(options.bundle) as bundle,
        Encoder(options.bundle, engine="ort-cpu") as encoder,
        Decoder(options.bundle, engine="ort-cpu") as decoder,
    ):
        found = []
        for path in options.pictures:
            pixels = pictures.load(path).pixels
            height, width = (size // 64 * 64 for size in pixels.shape[:2])
            found.append(compare(model, encoder, decoder, bundle, pixels[:height, :width].copy()))
    print(f"{options.student}  {len(found)} pictures  {report(found)}")


if __name__ == "__main__":
    main()
