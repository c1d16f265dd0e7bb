"""Encode under each engine and option, decode under each: how many symbols differ, how many files fail.

    python -m fastlic.benchmarks.exactness_matrix PICTURE... --json matrix.json

The contract (docs/exactness.md) says none, by construction; this counts. Encoders may write different files, because
the analysis network is floating point, but each file must give the same symbols everywhere. Decoded pictures may differ
by one level; for the files of the first encoder the largest difference is reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import save
from fastlic.errors import FastlicError
from fastlic.runtime import engines, pictures
from fastlic.runtime.coder import BundleSource
from fastlic.runtime.engines import Engine


@dataclass(frozen=True)
class Variant:
    """An engine with options that could change how it computes."""

    label: str
    engine: str
    threads: int
    options: dict[str, Any] = field(default_factory=dict)

    def create(self) -> Engine:
        """Make the engine; raises `EngineUnavailable` with the reason."""
        return engines.create(self.engine, self.threads, **self.options)


VARIANTS = (
    Variant("ort-cpu, 1 thread", "ort-cpu", 1),
    Variant("ort-cpu, 2 threads", "ort-cpu", 2),
    Variant("ort-cpu, no optimisation", "ort-cpu", 2, {"optimisation": "none"}),
    Variant("ort-cpu, its own operators", "ort-cpu", 2, {"operators": "onnxruntime"}),
    Variant("torch", "torch", 1),
    Variant("torch, no oneDNN", "torch", 1, {"onednn": False}),
)


@dataclass
class Cell:
    """What decoding the files of one encoder under one decoder gave."""

    files: int = 0
    failed: int = 0
    symbols: int = 0
    differing: int = 0
    errors: list[str] = field(default_factory=list)

    def count(self, found: dict[str, np.ndarray] | FastlicError, expected: dict[str, np.ndarray]) -> None:
        """Add one file: its latents, int16 by name, or the error it ended in."""
        self.files += 1
        self.symbols += sum(latent.size for latent in expected.values())
        if isinstance(found, FastlicError):
            self.failed += 1
            self.errors.append(f"{type(found).__name__}: {found}")
        else:
            self.differing += sum(int(np.count_nonzero(found[name] != expected[name])) for name in expected)


@dataclass
class Matrix:
    """All cells, by (encoder, decoder), and the largest difference of a pixel by decoder."""

    cells: dict[tuple[str, str], Cell]
    levels: dict[str, int]

    @property
    def clean(self) -> bool:
        """No symbol differs and no file failed."""
        return not any(cell.failed or cell.differing for cell in self.cells.values())


def measure(
    images: Sequence[np.ndarray], bundle: BundleSource | None, variants: Sequence[Variant] = VARIANTS
) -> Matrix:
    """Run the matrix.

    Args:
        images: (H, W, 3) uint8.
        bundle: student to use; None: the shipped one.
        variants: engines and options, each as encoder and as decoder.

    Raises:
        EngineUnavailable: a variant cannot run here.
        FastlicError: an encoder cannot decode its own file.
    """
    labels = [variant.label for variant in variants]
    cells = {(encoder, decoder): Cell() for encoder in labels for decoder in labels}
    levels = dict.fromkeys(labels, 0)
    with ExitStack() as stack:
        encoders = {v.label: stack.enter_context(fastlic.Encoder(bundle, engine=v.create())) for v in variants}
        decoders = {v.label: stack.enter_context(fastlic.Decoder(bundle, engine=v.create())) for v in variants}
        for image in track(images, "pictures", console=Console(stderr=True)):
            for encoder in labels:
                data = encoders[encoder].encode(image)
                expected, _ = decoders[encoder].decode_latents(data)
                for decoder in labels:
                    cells[encoder, decoder].count(_latents(decoders[decoder], data), expected)
                if encoder == labels[0]:
                    shown = {label: decoders[label].decode(data).astype(np.int16) for label in labels}
                    for label in labels:
                        levels[label] = max(levels[label], int(np.abs(shown[label] - shown[encoder]).max()))
    return Matrix(cells, levels)


def _latents(decoder: fastlic.Decoder, data: bytes) -> dict[str, np.ndarray] | FastlicError:
    try:
        return decoder.decode_latents(data)[0]
    except FastlicError as error:
        return error


def _table(matrix: Matrix) -> Table:
    decoders = list(matrix.levels)
    table = Table(title="differing symbols / failed files, encoder by row, decoder by column")
    for column in ("", *decoders):
        table.add_column(column)
    for encoder in decoders:
        row = [matrix.cells[encoder, decoder] for decoder in decoders]
        table.add_row(encoder, *(f"{cell.differing} / {cell.failed}" for cell in row))
    table.add_row("largest pixel difference", *(str(matrix.levels[decoder]) for decoder in decoders))
    return table


def main() -> int:
    """Run from the command line; 3 if a symbol differs or a file fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, help="instead of the shipped student")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    matrix = measure([pictures.load(path).pixels for path in options.pictures], options.bundle)

    console = Console()
    console.print(_table(matrix))
    for error in sorted({error for cell in matrix.cells.values() for error in cell.errors}):
        console.print(error)
    total = sum(cell.symbols for cell in matrix.cells.values())
    console.print(
        f"{len(options.pictures)} pictures, {total} symbols compared: {'clean' if matrix.clean else 'NOT CLEAN'}"
    )
    cells = [
        {"encoder": encoder, "decoder": decoder, **vars(cell)} for (encoder, decoder), cell in matrix.cells.items()
    ]
    save(options.json, {"cells": cells, "levels": matrix.levels})
    return 0 if matrix.clean else 3


if __name__ == "__main__":
    sys.exit(main())
