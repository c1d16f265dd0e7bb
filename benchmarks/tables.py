"""A report as tables: for the terminal with rich, for documents as Markdown.

Knows which columns each table has and how numbers are written; knows nothing of measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import Latency, Report
from fastlic.benchmarks.stages import ENTROPY, PASS, WHOLE


@dataclass(frozen=True)
class Table:
    """Rows of text below a title."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """That are words; the others are numbers."""

    def to_rich(self) -> RichTable:
        """For a terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            words = number < self.text_columns
            table.add_column(column, justify="left" if words else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def to_markdown(self) -> str:
        """For a document."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(report: Report) -> list[Table]:
    """All tables that have rows, in the order of reading."""
    made = [
        _latency(report),
        _stages(report),
        _growth(report),
        _throughput(report),
        _comparison(report),
        _kernels(report),
        _not_run(report),
    ]
    return [table for table in made if table.rows]


def show(report: Report, console: Console) -> None:
    """Print every table, then the warnings."""
    for table in tables(report):
        console.print(table.to_rich())
        console.print()
    for warning in report.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")


def ordered_stages(row: Latency) -> list[str]:
    """The names of a latency's stages: the sum of the passes first, then each part in the order of work."""
    parts = [stage for stage in row.stages if stage not in (WHOLE, ENTROPY)]
    return [ENTROPY, *parts]


def milliseconds(summary: Summary) -> str:
    """Median and quartiles, with three significant digits of the median."""
    value = 1000 * summary.median
    return summary.text(1000, 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 1 else 4)


def mib(size: int | None) -> str:
    """Mebibytes."""
    return "-" if size is None else f"{size / 2**20:.0f}"


def _latency(report: Report) -> Table:
    percents = [p for p in ("90", "95", "99") if any(p in row.wall.percentiles for row in report.latencies)]
    columns = ["student", "engine", "picture", "bpp", "ms, median (quartiles)", *(f"p{p} ms" for p in percents),
               "n", "variation", "first ms", "start ms", "host MiB", "device MiB"]  # fmt: skip
    rows = [
        [
            row.student,
            row.label,
            f"{row.picture} {row.width}x{row.height}",
            f"{row.bpp:.3f}",
            milliseconds(row.wall),
            *(f"{1000 * row.wall.percentiles[p]:.1f}" if p in row.wall.percentiles else "-" for p in percents),
            str(row.wall.count),
            f"{100 * row.wall.variation:.1f} %{' !' if row.wall.noisy else ''}",
            f"{1000 * row.cold['first']:.0f}",
            f"{1000 * row.start_to_picture:.0f}",
            mib(row.host_bytes),
            mib(row.device_bytes),
        ]
        for row in report.latencies
    ]
    return Table("latency", "latency of one picture", columns, rows, 3)


def _stages(report: Report) -> Table:
    shown = nearest_common(report.latencies)
    names: list[str] = []
    for row in shown:
        names += [stage for stage in ordered_stages(row) if stage not in names]
    rows = [[WHOLE, *(milliseconds(row.wall) for row in shown)]]
    for name in names:
        label = (
            "entropy decoding, all passes" if name == ENTROPY else f"of it {name}" if name.startswith(PASS) else name
        )
        rows.append([label, *(milliseconds(row.stages[name]) if name in row.stages else "-" for row in shown)])
    if not shown:
        return Table("stages", "", [], [])
    title = f"stages, ms: {shown[0].picture} {shown[0].width}x{shown[0].height}"
    heads = [row_label(report, row) for row in shown]
    return Table("stages", title, ["stage", *heads], rows)


def nearest_common(latencies: Sequence[Latency]) -> list[Latency]:
    """The rows of one picture, so that they compare: the picture nearest to 768x512."""
    if not latencies:
        return []
    keys = {(row.picture, row.width, row.height) for row in latencies}
    chosen = min(keys, key=lambda key: (abs(key[1] * key[2] - 768 * 512), key))
    return [row for row in latencies if (row.picture, row.width, row.height) == chosen]


def row_label(report: Report, row: Latency) -> str:
    """Engine and threads, and the student where there are several."""
    several = len({each.student for each in report.latencies}) > 1
    return f"{row.student}, {row.label}" if several else row.label


def _growth(report: Report) -> Table:
    rows = [
        [
            row_label(report, row),
            f"{row.width}x{row.height}",
            f"{row.pixels / 1e6:.2f}",
            f"{row.wall.median:.3f}",
            f"{1e6 * row.wall.median / row.pixels:.3f}",
            mib(row.host_bytes),
        ]
        for row in report.latencies
    ]
    columns = ["engine", "size", "megapixels", "seconds", "seconds per megapixel", "host MiB"]
    several = len({row.pixels for row in report.latencies}) > 1
    return Table("growth", "growth with the picture", columns, rows if several else [])


def _throughput(report: Report) -> Table:
    rows = [
        [
            row.student,
            row.engine,
            row.picture,
            str(row.threads),
            str(row.streams),
            str(row.batch),
            f"{row.pictures_per_second:.2f}",
            f"{row.megapixels_per_second:.2f}",
        ]
        for row in report.throughputs
    ]
    columns = ["student", "engine", "picture", "threads each", "callers", "batch", "pictures/s", "megapixels/s"]
    return Table("throughput", "throughput", columns, rows, 3)


def _comparison(report: Report) -> Table:
    rows = [
        [
            row.label,
            f"{row.bpp:.3f}",
            "-" if row.psnr is None else f"{row.psnr:.2f}",
            milliseconds(row.seconds),
            row.ratio.text(digits=2),
            row.processor_ratio.text(digits=2),
        ]
        for row in report.comparison
    ]
    count = report.comparison[0].seconds.count if report.comparison else 0
    title = f"side by side, {report.comparison_threads} threads, {count} decodes each, in turn"
    columns = ["codec", "bpp", "PSNR dB", "ms", "fastlic / codec", "of processor time"]
    return Table("comparison", title, columns, rows)


def _kernels(report: Report) -> Table:
    rows = [
        [
            row.kernel,
            row.shape,
            row.by,
            milliseconds(row.seconds),
            f"{row.flops / row.seconds.median / 1e9:.0f}" if row.flops else "-",
            f"{row.moved / row.seconds.median / 1e9:.1f}" if row.moved else "-",
            f"{100 * row.limit / row.seconds.median:.0f} % ({row.bound})" if row.limit else "-",
        ]
        for row in report.kernels
    ]
    limits = ", ".join(f"{name} {value:.0f}" for name, value in report.roofline.items())
    columns = ["kernel", "shape", "by", "ms", "GFLOP/s", "GB/s", "of what is possible"]
    return Table("kernels", f"kernels, 1 thread; measured limits: {limits}", columns, rows, 3)


def _not_run(report: Report) -> Table:
    return Table(
        "not-run", "not run", ["what", "why"], [[row.what, row.why] for row in (*report.not_run, *report.absent)], 2
    )
