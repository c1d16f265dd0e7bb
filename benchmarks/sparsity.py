"""What sparse latents save: empty channels, skipped symbols and decode time, of students with and without the L1 term.

    python -m fastlic.benchmarks.sparsity WITHOUT.licb WITH.licb --pictures PICTURE... --threads 1 --json sparsity.json

Two bundles are compared as in the paper's Table II, but a reduction is always stated against the slower time. An
element is in an empty channel (the file's channel map says so), or skipped (its distribution leaves no doubt) or coded.
Source: Fu et al. 2023, L1 regularisation; docs/format.md, section 3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.quality import psnr
from fastlic.benchmarks.stages import ENTROPY, WHOLE, timed
from fastlic.kernels import native
from fastlic.runtime import bitstream, pictures
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import create
from fastlic.runtime.entropy.intervals import intervals_of
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import Backend, open_reader
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import code_tile
from fastlic.runtime.student import Student

KINDS = ("empty", "skipped", "coded")


@dataclass(frozen=True)
class Counts:
    """Elements of the latents that have a channel map, of one file: all = empty + skipped + coded."""

    channels: int
    empty_channels: int
    empty: int
    skipped: int
    coded: int

    @property
    def elements(self) -> int:
        """All of them."""
        return self.empty + self.skipped + self.coded


def count(student: Student, data: bytes) -> Counts:
    """Decode a file of one tile and sort out its elements, pass by pass.

    Args:
        student: that wrote `data`.
        data: a `.lic` file of one tile.
    """
    header = bitstream.probe(data)
    grid = header.grid(student.manifest.multiple)
    (box,), (tile,) = grid, bitstream.read_tiles(data, header, grid, student.mapped, Limits())
    active = {
        name: np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[: student.mapped[name]].astype(bool)
        for name, bits in tile.channel_maps.items()
    }
    backend: Backend = "native" if native.available() else "constriction"
    reader = open_reader(tile.streams, backend=backend, threads=1)
    coded, empty, skipped = 0, 0, 0

    def look(step: Code, pass_: Pass, known: Mapping[str, np.ndarray]) -> np.ndarray:
        nonlocal coded, empty, skipped
        values = reader.code(pass_)
        if step.latent in active:
            found = len(intervals_of(pass_, values, native.available())[1].left)
            closed = 0 if pass_.active is None else int((~pass_.active).sum()) * values[0].size
            coded, empty, skipped = coded + found, empty + closed, skipped + values.size - closed - found
        return values

    given = student.given(header.rate)
    code_tile(
        student.manifest, student.coding_steps, box, student.graphs, student.distributions, active, look, None, given
    )
    reader.finish()
    closed_channels = sum(int((~bits).sum()) for bits in active.values())
    return Counts(sum(student.mapped.values()), closed_channels, empty, skipped, coded)


def reduction(one: float, other: float) -> float:
    """By how much the smaller of two times is below the larger, as a share of the larger."""
    return 1 - min(one, other) / max(one, other)


@dataclass(frozen=True)
class Sparsity:
    """One student over all pictures; `seconds` by stage of its decodes."""

    name: str
    bpp: float
    psnr: float
    counts: list[Counts]
    seconds: dict[str, Summary]

    def share(self, kind: str) -> float:
        """Elements of a kind ("empty", "skipped", "coded"), as a share of all."""
        return sum(getattr(one, kind) for one in self.counts) / sum(one.elements for one in self.counts)


def measure(bundles: Sequence[Path], images: Sequence[np.ndarray], threads: int, rounds: int) -> list[Sparsity]:
    """Count each student's symbols, and decode every picture with each in turn, `rounds` times after a warm-up.

    Args:
        bundles: students.
        images: (height, width, 3) uint8, of one tile each.
        threads: of engine and entropy decoder.
        rounds: that count, at least 1.
    """
    with ExitStack() as stack:
        decoders = [stack.enter_context(fastlic.Decoder(bundle, threads=threads)) for bundle in bundles]
        files, counts = [], []
        for path in bundles:
            with fastlic.Encoder(path, threads=threads) as encoder:
                files.append([encoder.encode(image) for image in images])
            with Bundle(path) as bundle:
                student = Student(bundle, create("ort-cpu", threads=threads))
                counts.append([count(student, data) for data in files[-1]])
        samples: list[list[dict[str, float]]] = [[] for _ in bundles]
        for turn in range(-1, rounds):
            for number in range(len(images)):
                for sample, decoder, own in zip(samples, decoders, files, strict=True):
                    stages = timed(decoder, own[number])
                    if turn >= 0:
                        sample.append(stages)
        return [
            Sparsity(
                path.stem,
                fmean(8 * len(data) / image[..., 0].size for data, image in zip(own, images, strict=True)),
                fmean(psnr(image, decoder.decode(data)) for data, image in zip(own, images, strict=True)),
                counted,
                {stage: Summary.of([stages[stage] for stages in sample]) for stage in (WHOLE, ENTROPY)},
            )
            for path, own, decoder, counted, sample in zip(bundles, files, decoders, counts, samples, strict=True)
        ]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs=2, metavar="BUNDLE", help="without the L1 term, then with it")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="of one tile each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.bundles, [pictures.load(path).pixels for path in options.pictures], options.threads,
                    options.rounds)  # fmt: skip
    table = Table("student", "bpp", "PSNR-RGB dB", "empty channels", *(f"{kind} %" for kind in KINDS), WHOLE, ENTROPY)
    for one in found:
        channels = fmean(file.empty_channels for file in one.counts)
        shares = (f"{100 * one.share(kind):.1f}" for kind in KINDS)
        times = (f"{one.seconds[stage].text(1000, 1)} ms" for stage in (WHOLE, ENTROPY))
        table.add_row(
            one.name,
            f"{one.bpp:.4f}",
            f"{one.psnr:.2f}",
            f"{channels:.1f} of {one.counts[0].channels}",
            *shares,
            *times,
        )
    console = Console()
    console.print(table)
    without, with_term = found
    for stage in (WHOLE, ENTROPY):
        medians = without.seconds[stage].median, with_term.seconds[stage].median
        faster = without.name if medians[0] < medians[1] else with_term.name
        console.print(f"{stage}: {faster} takes {100 * reduction(*medians):.1f} % less than the slower one")
    save(options.json, {"command": sys.argv[1:], "students": [asdict(one) for one in found]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
