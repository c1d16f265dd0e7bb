"""Rate and distortion of real files: our students beside conventional codecs run here and published points.

    python -m fastlic.benchmarks.rate_distortion PICTURE... --bundle A.licb --anchors kodak_rd.json \
        --json rd.json --plot docs/rate-distortion.png

Bits are the bytes of files, everything included; pictures are what those files decode to. Published points are as
others measured them, on the Kodak pictures: compare them with runs over those alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import fastlic
from fastlic.benchmarks import conventional
from fastlic.benchmarks.curves import LEAST_POINTS, Curve, Measure, Point, anchors, bd_rate, gain_at
from fastlic.benchmarks.measure import save
from fastlic.benchmarks.quality import ms_ssim, psnr
from fastlic.runtime import pictures

OURS = "fastlic"


def point(source: np.ndarray, size: int, decoded: np.ndarray, similar: bool) -> Point:
    """Judge one decoded picture.

    Args:
        source: (height, width, 3) uint8.
        size: bytes of its file.
        decoded: (height, width, 3) uint8.
        similar: measure MS-SSIM too.
    """
    pixels = source.shape[0] * source.shape[1]
    return Point(8 * size / pixels, psnr(source, decoded), ms_ssim(source, decoded) if similar else None)


def run_ours(bundle: Path | None, sources: dict[str, np.ndarray], similar: bool) -> dict[str, Point]:
    """Encode and decode each picture with one student: points by picture."""
    found = {}
    with fastlic.Encoder(bundle) as encoder, fastlic.Decoder(bundle) as decoder:
        for name, source in track(sources.items(), description=bundle.stem if bundle else "shipped student"):
            data = encoder.encode(source)
            found[name] = point(source, len(data), decoder.decode(data), similar)
    return found


def run_conventional(sources: dict[str, np.ndarray], similar: bool) -> dict[str, dict[str, dict[str, Point]]]:
    """Run every conventional codec: points by codec, setting and picture."""
    found: dict[str, dict[str, dict[str, Point]]] = {}
    for setting in track(list(conventional.settings()), description="conventional codecs"):
        each = {name: point(source, *setting.run(source), similar) for name, source in sources.items()}
        found.setdefault(setting.codec, {})[setting.label] = each
    return found


def reuse_conventional(report: Path, names: Iterable[str]) -> dict[str, dict[str, dict[str, Point]]]:
    """What `run_conventional` found for some pictures in an earlier run: students change oftener than codecs.

    Args:
        report: the JSON of that run.
        names: of the pictures.

    Raises:
        ValueError: the report lacks a picture.
    """
    found = json.loads(report.read_text(encoding="utf-8"))["conventional"]
    wanted = list(names)
    for setting in (setting for settings in found.values() for setting in settings.values()):
        if missing := sorted(set(wanted) - set(setting)):
            raise ValueError(f"{report}: has no {missing[0]}. Leave --reuse out, or compare the same pictures")
    return {
        codec: {label: {name: Point(**each[name]) for name in wanted} for label, each in settings.items()}
        for codec, settings in found.items()
    }


def compare(ours: Curve, others: dict[str, Curve], measure: Measure) -> dict[str, dict[str, Any]]:
    """BD-rate of our curve against each other one, and the gain in dB of each of our points at its own rate."""
    return {
        name: {"bd_rate": bd_rate(curve, ours, measure), "gain_db": [gain_at(curve, one, measure) for one in ours]}
        for name, curve in others.items()
    }


def draw(curves: dict[str, Curve], title: str, path: Path) -> None:
    """Write a plot of PSNR over rate, our own curve thick; the suffix of `path` decides its format."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axis = figure.subplots()
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for index, (name, curve) in enumerate(curves.items()):
        style: dict[str, Any] = {"linewidth": 1, "color": colours[index % len(colours)], "markersize": 3}
        style["linestyle"] = "-" if name.endswith("(Pillow)") else "--"
        if name == OURS:
            # Students of one rate are no curve: points alone.
            joined = "-" if len(curve) >= LEAST_POINTS else ""
            style = {"linewidth": 2.5, "color": "black", "zorder": 3, "markersize": 7, "linestyle": joined}
        axis.plot([p.bpp for p in curve], [p.psnr for p in curve], marker="o", label=name, **style)
    shown = curves.get(OURS) or next(iter(curves.values()))
    axis.set(title=title, xlabel="bits per pixel", ylabel="PSNR-RGB, dB")
    axis.set_xlim(0, max(1.0, 1.3 * max(p.bpp for p in shown)))
    axis.set_ylim(min(24.0, min(p.psnr for p in shown)), max(38.0, 1.02 * max(p.psnr for p in shown)))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _mean_curve(settings: dict[str, dict[str, Point]]) -> Curve:
    return sorted((Point.mean(list(each.values())) for each in settings.values()), key=lambda point: point.bpp)


def _table(ours: Curve, compared: dict[str, dict[str, Any]]) -> Table:
    table = Table("against", "BD-rate %", *(f"dB at {one.bpp:.3f} bpp" for one in ours))
    for name, row in compared.items():
        values = [row["bd_rate"], *row["gain_db"]]
        table.add_row(name, *("-" if value is None else f"{value:+.2f}" for value in values))
    return table


def main() -> int:
    """Measure, print two tables, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, action="append", help="a student; repeat for several rates")
    parser.add_argument("--anchors", type=Path, help="published points, JSON")
    parser.add_argument("--no-conventional", action="store_true", help="leave out the codecs of Pillow")
    parser.add_argument("--reuse", type=Path, help="take those codecs' figures from the --json of an earlier run")
    parser.add_argument("--no-ms-ssim", action="store_true", help="PSNR alone; needs no torch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    console, similar = Console(), not arguments.no_ms_ssim
    sources = {path.name: pictures.load(path).pixels for path in arguments.pictures}
    students = {
        bundle.stem if bundle else "shipped": run_ours(bundle, sources, similar)
        for bundle in arguments.bundle or [None]
    }
    if arguments.reuse:
        codecs = reuse_conventional(arguments.reuse, sources)
    else:
        codecs = {} if arguments.no_conventional else run_conventional(sources, similar)
    ours = _mean_curve(students)
    others = {f"{name} (Pillow)": _mean_curve(settings) for name, settings in codecs.items()}
    if arguments.anchors:
        others |= anchors(arguments.anchors)
    means = Table("student", "bpp", "PSNR-RGB dB", "MS-SSIM")
    for name, each in students.items():
        mean = Point.mean(list(each.values()))
        means.add_row(
            name, f"{mean.bpp:.4f}", f"{mean.psnr:.3f}", "-" if mean.ms_ssim is None else f"{mean.ms_ssim:.5f}"
        )
    console.print(means)
    compared = {"psnr": compare(ours, others, "psnr")}
    if similar:
        compared["ms_ssim"] = compare(ours, others, "ms_ssim")
    for measure, rows in compared.items():
        console.print(measure, _table(ours, rows))
    for name in conventional.missing():
        console.print(f"{name} not run: this Pillow was built without it")
    if arguments.plot:
        draw({OURS: ours, **others}, f"mean of {len(sources)} pictures", arguments.plot)
    nested = {name: {label: _plain(each) for label, each in settings.items()} for name, settings in codecs.items()}
    save(arguments.json, {
        "command": sys.argv[1:],
        "students": {name: _plain(each) for name, each in students.items()},
        "conventional": nested,
        "compared": compared,
    })  # fmt: skip
    return 0


def _plain(each: dict[str, Point]) -> dict[str, dict[str, Any]]:
    return {name: asdict(point) for name, point in each.items()}


if __name__ == "__main__":
    sys.exit(main())
