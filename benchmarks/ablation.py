"""What a change of training is worth: the same runs with several seeds, so that the gain stands beside its noise.

    python -m fastlic.benchmarks.ablation export/distill/configs/ablation-alone.toml \
        export/distill/configs/ablation-taught.toml --seeds 0 1 2 --output runs/ablation --json ablation.json

The first configuration is what the others are compared with, seed by seed: a seed decides the first weights, the
patches and the noise, so each difference is between runs that saw the same data. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import msgspec
from rich.console import Console
from rich.table import Table

from fastlic.benchmarks.measure import save
from fastlic.export.distill import journal
from fastlic.export.distill.configuration import Run, read

FIGURES = ("loss", "bpp", "psnr", "z_share")


@dataclass(frozen=True)
class Curves:
    """Full pictures over iterations of one run: a list of equal length for the iteration and for each figure."""

    iteration: list[float]
    figures: dict[str, list[float]]

    @classmethod
    def of(cls, path: Path) -> Curves:
        """Of a `watch.csv`."""
        rows = journal.read(path)
        return cls(
            [float(row["iteration"]) for row in rows], {name: [float(row[name]) for row in rows] for name in FIGURES}
        )


def with_seed(run: Run, seed: int, output: Path) -> Run:
    """The same run with another seed, in a folder of its own below `output`."""
    return msgspec.structs.replace(run, seed=seed, output=output / run.name / f"seed-{seed}")


def differences(base: Sequence[Curves], other: Sequence[Curves], name: str) -> list[float]:
    """What the last full pictures of each run of `other` have over those of `base` with the same seed."""
    return [two.figures[name][-1] - one.figures[name][-1] for one, two in zip(base, other, strict=True)]


def spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean and standard deviation as text; the mean alone of a single value."""
    mean = f"{fmean(values):{sign}.{digits}f}"
    return f"{mean} +- {stdev(values):.{digits}f}" if len(values) > 1 else mean


def draw(found: dict[str, list[Curves]], path: Path) -> None:
    """Write the loss on full pictures over iterations, one line per run, one colour per configuration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for index, (name, runs) in enumerate(found.items()):
        for number, run in enumerate(runs):
            label = name if number == 0 else None
            axis.plot(
                run.iteration[1:], run.figures["loss"][1:], marker="o", markersize=3, color=f"C{index}", label=label
            )
    axis.set(xlabel="iteration", ylabel="loss on full pictures, averaged weights", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Train what is not trained yet, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("configurations", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    runs = [read(path) for path in arguments.configurations]

    from fastlic.export.distill.loop import train

    found: dict[str, list[Curves]] = {run.name: [] for run in runs}
    # Seed by seed: a run that is stopped early leaves whole comparisons.
    for seed in arguments.seeds:
        for run in runs:
            seeded = with_seed(run, seed, arguments.output)
            train(seeded)
            found[run.name].append(Curves.of(seeded.output / "watch.csv"))
    base = found[runs[0].name]
    table = Table("run", "loss", "bpp", "PSNR-RGB dB", "share of z", f"loss over {runs[0].name}")
    for name, curves in found.items():
        last = {figure: [run.figures[figure][-1] for run in curves] for figure in FIGURES}
        digits = {"loss": 4, "bpp": 4, "psnr": 2, "z_share": 4}
        gain = "-" if curves is base else spread(differences(base, curves, "loss"), 4, "+")
        table.add_row(name, *(spread(last[figure], digits[figure]) for figure in FIGURES), gain)
    Console().print(table)
    if arguments.plot:
        draw(found, arguments.plot)
    save(arguments.json, {
        "command": sys.argv[1:],
        "runs": {name: [msgspec.to_builtins(run) for run in curves] for name, curves in found.items()},
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
