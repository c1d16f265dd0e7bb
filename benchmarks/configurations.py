"""The paper's four configurations side by side, untrained: times and sizes, beside the paper's figures.

    python -m fastlic.benchmarks.configurations FOLDER PICTURE... --threads 1 2 --json configurations.json

FOLDER keeps the bundles, which take minutes each to export. Weights are random (seeded), except that the encoder's last
convolution is scaled so that latents have a standard deviation of `DEVIATION`. Networks then do the work of trained
ones, and the entropy decoder more of it: an untrained model predicts nothing, so no symbol is skipped and no channel is
empty. Rate and distortion of untrained networks say nothing: the paper's BD-rates stand alone.
Source: Fu et al. 2023, Table I, Cfg. 1 to 4 at low rates (M = 128). Widths of parameter networks are this project's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.stages import ENTROPY, WHOLE, timed
from fastlic.runtime import pictures

DEVIATION = 1.0
SYNTHESIS, ENCODE = "synthesis", "encode"
SHOWN = (ENCODE, WHOLE, SYNTHESIS, ENTROPY)


@dataclass(frozen=True)
class Configuration:
    """One of the paper's: width N, whether attention and residual blocks are on, and what the paper reports.

    `published`: seconds of a decode on a server CPU; `bd_rate`: per cent against VVC, trained.
    """

    N: int
    full: bool
    published: float
    bd_rate: float


CONFIGURATIONS = {
    "Cfg. 1": Configuration(128, True, 4.45, -4.25),
    "Cfg. 2": Configuration(128, False, 3.03, -1.89),
    "Cfg. 3": Configuration(96, True, 2.78, -0.19),
    "Cfg. 4": Configuration(64, True, 2.45, 14.23),
}


def write_checkpoint(configuration: Configuration, path: Path, picture: np.ndarray) -> None:
    """Write a random checkpoint and its configuration.

    Args:
        configuration: which.
        path: the `.pt` to write; the `.json` goes beside it.
        picture: (H, W, 3) uint8, multiples of 64; latents of it get the deviation.
    """
    import torch
    from torch import nn

    from fastlic.export.students.configuration import Fu2023Configuration
    from fastlic.export.students.fu2023 import Fu2023

    torch.manual_seed(2023)
    settings = Fu2023Configuration(
        N=configuration.N,
        M=128,
        hyper_channels=128,
        leaky_slope=0.01,
        anchor_parity="even",
        attention=configuration.full,
        residual_blocks=configuration.full,
    )
    model = Fu2023(settings).eval()
    last = cast(nn.Conv2d, model.g_a.get_submodule("7"))
    assert last.bias is not None
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        for _ in range(3):  # attention follows the convolution, so the first scaling is not exact
            factor = DEVIATION / model.g_a(pixels).std()
            last.weight.mul_(factor)
            last.bias.mul_(factor)
    torch.save(model.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(settings.to_mapping()))


def bundle_of(name: str, folder: Path, picture: np.ndarray, console: Console) -> Path:
    """The bundle of a configuration, exported on first use."""
    stem = name.lower().replace(". ", "")
    bundle = folder / f"{stem}.licb"
    if not bundle.exists():
        from fastlic.export.convert import convert

        checkpoint = folder / f"{stem}.pt"
        write_checkpoint(CONFIGURATIONS[name], checkpoint, picture)
        convert(checkpoint, bundle, progress=lambda line: console.print(f"{name}: {line}"))
    return bundle


def measure(
    bundles: dict[str, Path], images: Sequence[np.ndarray], threads: int, rounds: int
) -> dict[str, tuple[dict[str, Summary], float]]:
    """Encode and decode every picture with every configuration in turn, `rounds` times after one that warms up.

    Returns:
        By configuration: seconds of an encode and of a decode by stage, and mean bits per pixel.
    """
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in bundles}
    sizes: dict[str, list[int]] = {name: [0] * len(images) for name in bundles}
    with ExitStack() as stack:
        encoders = {name: stack.enter_context(fastlic.Encoder(path, threads=threads)) for name, path in bundles.items()}
        decoders = {name: stack.enter_context(fastlic.Decoder(path, threads=threads)) for name, path in bundles.items()}
        for turn in range(-1, rounds):
            for number, image in enumerate(images):
                for name, encoder in encoders.items():
                    begun = time.perf_counter()
                    data = encoder.encode(image)
                    encoding = time.perf_counter() - begun
                    stages = timed(decoders[name], data)
                    sizes[name][number] = len(data)
                    if turn >= 0:
                        samples[name].append({ENCODE: encoding, **stages})
    found = {}
    for name, sample in samples.items():
        rates = [8 * size / image[..., 0].size for size, image in zip(sizes[name], images, strict=True)]
        found[name] = (
            {stage: Summary.of([row[stage] for row in sample]) for stage in sample[0]},
            float(np.mean(rates)),
        )
    return found


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    console = Console()
    options.folder.mkdir(parents=True, exist_ok=True)
    images = [pictures.load(path).pixels for path in options.pictures]
    bundles = {name: bundle_of(name, options.folder, images[0], console) for name in CONFIGURATIONS}
    rows = []
    for threads in options.threads:
        table = Table(title=f"{threads} threads, seconds, median (quartiles)")
        for column in ("configuration", "bpp", "bundle MB", *SHOWN, "paper's decode (server CPU)", "paper's BD-rate"):
            table.add_column(column)
        for name, (stages, bpp) in measure(bundles, images, threads, options.rounds).items():
            paper, size = CONFIGURATIONS[name], bundles[name].stat().st_size
            shown = (stages[stage].text() for stage in SHOWN)
            table.add_row(
                name, f"{bpp:.2f}", f"{size / 1e6:.1f}", *shown, f"{paper.published:.2f}", f"{paper.bd_rate:+.2f} %"
            )
            rows.append({
                "name": name, "threads": threads, "bpp": bpp, "bytes": size, "published": paper.published,
                "published_bd_rate": paper.bd_rate, "stages": stages,
            })  # fmt: skip
        console.print(table)
    save(options.json, {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
