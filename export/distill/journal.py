"""What a run leaves to be read: two CSV files and a picture of their curves.

Knows files; knows nothing of training.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Table:
    """A CSV file that grows by a row at a time; its first column is the iteration."""

    def __init__(self, path: Path, columns: tuple[str, ...], iteration: int) -> None:
        """Open or make the file; rows after `iteration`, from which a run goes on, are dropped."""
        self.path = path
        self.columns = columns
        rows = [row for row in read(path) if int(row["iteration"]) <= iteration] if path.is_file() else []
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: row.get(key, "") for key in columns} for row in rows)

    def add(self, values: dict[str, float]) -> None:
        """Append a row; numbers are written with six significant digits."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            row = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in values.items()}
            csv.DictWriter(file, self.columns).writerow(row)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column name."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw(steps: Path, watched: Path, picture: Path) -> None:
    """Draw loss, rate, quality and z's share over iterations.

    Args:
        steps: CSV of training batches.
        watched: CSV of full pictures.
        picture: PNG to write.
    """
    from matplotlib.figure import Figure

    batches, pictures = read(steps), read(watched)
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for axis, name in zip(axes.flat, ("loss", "bpp", "psnr", "z_share"), strict=True):
        _curve(axis, batches, name, "patches, training", alpha=0.4)
        _curve(axis, pictures, name, "full pictures, averaged weights", marker="o", markersize=3)
        axis.set_title(name)
        axis.legend(fontsize=8)
    figure.supxlabel("iteration")
    figure.savefig(picture, dpi=100)


def _curve(axis: Axes, rows: list[dict[str, str]], name: str, label: str, **style: object) -> None:
    points = [(int(row["iteration"]), float(row[name])) for row in rows if row.get(name)]
    if points:
        axis.plot(*zip(*points, strict=True), label=label, **style)  # type: ignore[arg-type]
