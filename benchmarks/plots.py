"""A report's plots as SVG text that takes its colours from the page around it, so that one file serves dark and light.

Knows what is drawn and how matplotlib draws it; knows nothing of the page beyond its colours' names. matplotlib knows
no variables, so each colour is drawn as a stand-in that is replaced in the text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastlic.benchmarks.report import Latency, Report
from fastlic.benchmarks.stages import with_rest
from fastlic.benchmarks.tables import nearest_common, row_label

PALETTE = {
    "page": ("#ffffff", "#12161c"),
    "card": ("#f5f6f8", "#1b2129"),
    "text": ("#1c2430", "#e4e8ee"),
    "quiet": ("#5a6675", "#9aa6b4"),
    "line": ("#d0d6de", "#3a4450"),
    "alarm": ("#a33a00", "#ffab70"),
    "series-0": ("#2563b8", "#6ea8f5"),
    "series-1": ("#d9760a", "#f5a94a"),
    "series-2": ("#2e8b57", "#64c48d"),
    "series-3": ("#b8323c", "#f0767e"),
    "series-4": ("#7d55b5", "#b294e6"),
    "series-5": ("#8a5a3c", "#c79b7c"),
    "series-6": ("#c2549b", "#ec8fc7"),
    "series-7": ("#7b8694", "#93a0af"),
    "series-8": ("#97931f", "#cfca55"),
    "series-9": ("#1c93a3", "#57c7d6"),
}
"""Colours by name, light and dark."""

_SERIES = [f"#0{number:x}0{number:x}f{number:x}" for number in range(10)]
_TEXT, _LINE = "#0b0e0f", "#0c0e1f"
_NAMES = {
    **{stand_in: f"var(--series-{number})" for number, stand_in in enumerate(_SERIES)},
    _TEXT: "var(--text)",
    _LINE: "var(--line)",
}
_WIDTH = 7.6  # inches; the page scales it


@dataclass(frozen=True)
class Plot:
    """A drawing, and the sentence that says how to read it."""

    name: str
    title: str
    caption: str
    svg: str


def plots(report: Report) -> Iterator[Plot]:
    """Those that the report has figures for."""
    if report.latencies:
        yield _drawn(_stages, report)
        yield _drawn(_distribution, report)
    if len({row.pixels for row in report.latencies}) > 1:
        yield _drawn(_scaling, report)
    if len(report.comparison) > 1:
        yield _drawn(_comparison, report)
    if report.kernels:
        yield _drawn(_kernels, report)


def palette_css() -> str:
    """The colours as CSS variables, for the system's choice of light or dark."""
    light, dark = (" ".join(f"--{name}: {colours[which]};" for name, colours in PALETTE.items()) for which in range(2))
    return f":root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def standalone(plot: Plot) -> str:
    """A plot as a file of its own, with its colours and a background inside."""
    head, body = plot.svg.split(">", 1)
    style = f"<style>{palette_css()} svg {{ background: var(--page); }}</style>"
    return f"{head}>{style}{body}\n"


Drawing = Callable[[Any, Report], str]
"""Draws into a figure; gives the title."""

_CAPTIONS = {
    "stages": "Median time of each part of a decode, in the order of work. What begins with code is entropy decoding "
    "on the processor; the other names are the student's networks.",
    "distribution": "A dot is one decode, a bar spans the quartiles, the line is the median. Dots far to the right are "
    "decodes that something else interrupted.",
    "scaling": "Median time of a decode, and the largest resident set of its process (interpreter and libraries "
    "included).",
    "comparison": "Median time of a decode, everyone in turn in one run. dB is PSNR of real files; peers without it "
    "have random weights, made to give as many and as likely symbols as trained ones.",
    "kernels": "100 % would be a kernel that only moves what it must, or only multiplies what it must, at the rates "
    "measured just before. A convolution by Winograd multiplies less than its formula says, "
    "and a map may fit into caches: both can pass 100 %.",
}


def _drawn(draw: Drawing, report: Report) -> Plot:
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, 3), layout="constrained")
        title = draw(figure, report)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    for stand_in, name in _NAMES.items():
        svg = svg.replace(stand_in, name)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg))
    name = draw.__name__.strip("_")
    return Plot(name, title, _CAPTIONS[name], svg[svg.index("<svg") :])


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl
    from cycler import cycler

    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT)
    settings: Any = {
        **colours,
        "axes.edgecolor": _LINE,
        "grid.color": _LINE,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=_SERIES),
        "legend.frameon": False,
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "fastlic",
    }
    with mpl.rc_context(settings):
        yield


def _height(figure: Any, rows: int) -> None:
    figure.set_size_inches(_WIDTH, 1.3 + 0.34 * max(2, rows))


def _stages(figure: Any, report: Report) -> str:
    rows = nearest_common(report.latencies)
    _height(figure, len(rows) + 2)
    axis = figure.subplots()
    parts = [with_rest(row.wall.median, {name: s.median for name, s in row.stages.items()}) for row in rows]
    names = list(dict.fromkeys(name for part in parts for name in part))
    labels = [row_label(report, row) for row in rows]
    left = [0.0] * len(rows)
    for number, name in enumerate(names):
        widths = [1000 * part.get(name, 0.0) for part in parts]
        axis.barh(labels, widths, left=left, label=name, color=_SERIES[number % len(_SERIES)], height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for label, end in zip(labels, left, strict=True):
        _beside(axis, _number(end), end, label)
    axis.set(xlabel="milliseconds", xlim=(0, 1.12 * max(left)), ylim=_rows(len(rows)))
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper left", ncols=5, fontsize=8)
    shown = rows[0]
    return f"Where the time goes: {shown.picture}, {shown.width}x{shown.height}"


def _distribution(figure: Any, report: Report) -> str:
    rows = report.latencies
    _height(figure, len(rows))
    axis = figure.subplots()
    for number, row in enumerate(rows):
        relative = [value / row.wall.median for value in row.samples]
        colour = _SERIES[number % len(_SERIES)]
        spread = [number + 0.25 * ((turn * 0.618) % 1 - 0.5) for turn in range(len(relative))]
        axis.plot(relative, spread, "o", markersize=3, alpha=0.5, color=colour, markeredgewidth=0)
        axis.plot([row.wall.low / row.wall.median, row.wall.high / row.wall.median], [number, number],
                  linewidth=5, alpha=0.7, color=colour, solid_capstyle="butt")  # fmt: skip
    axis.axvline(1, color=_TEXT, linewidth=0.8)
    labels = [f"{row_label(report, row)}, {row.picture} {row.width}x{row.height}" for row in rows]
    axis.set_yticks(range(len(rows)), labels)
    axis.set(xlabel="time of a decode over the row's median", ylim=_rows(len(rows)))
    axis.grid(axis="y", visible=False)
    return "How much single decodes differ"


def _scaling(figure: Any, report: Report) -> str:
    figure.set_size_inches(_WIDTH, 3.4)
    left, right = figure.subplots(1, 2)
    lines: dict[str, list[Latency]] = {}
    for row in report.latencies:
        lines.setdefault(row_label(report, row), []).append(row)
    for number, (label, rows) in enumerate(lines.items()):
        rows.sort(key=lambda row: row.pixels)
        megapixels = [row.pixels / 1e6 for row in rows]
        colour = _SERIES[number % len(_SERIES)]
        left.plot(megapixels, [row.wall.median for row in rows], "o-", label=label, color=colour, markersize=4)
        memory = [(x, row.host_bytes / 2**20) for x, row in zip(megapixels, rows, strict=True) if row.host_bytes]
        right.plot([x for x, _ in memory], [y for _, y in memory], "o-", color=colour, markersize=4)
    left.set(xlabel="megapixels", ylabel="seconds", xscale="log", yscale="log")
    right.set(xlabel="megapixels", ylabel="peak host memory, MiB", xscale="log", ylim=(0, None))
    for axis in (left, right):
        _plain_numbers(axis.xaxis)
    _plain_numbers(left.yaxis)
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return "Growth with the picture"


def _comparison(figure: Any, report: Report) -> str:
    rows = sorted(report.comparison, key=lambda row: row.seconds.median)
    _height(figure, len(rows))
    axis = figure.subplots()
    labels = [row.label for row in rows]
    values = [1000 * row.seconds.median for row in rows]
    colours = [_SERIES[0] if row.name == "fastlic" else _SERIES[7] for row in rows]
    axis.barh(labels, values, color=colours, height=0.6)
    for row, value in zip(rows, values, strict=True):
        quality = "" if row.psnr is None else f", {row.psnr:.1f} dB"
        _beside(axis, f"{_number(value)} ms; {row.bpp:.2f} bpp{quality}", value, row.label)
    axis.set(xlabel="milliseconds, logarithmic", xscale="log", xlim=(0.6 * min(values), 12 * max(values)))
    _plain_numbers(axis.xaxis)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return f"Side by side, {report.comparison_threads} threads"


def _kernels(figure: Any, report: Report) -> str:
    rows = [row for row in report.kernels if row.limit]
    _height(figure, len(rows))
    axis = figure.subplots()
    labels = [f"{row.kernel} {row.shape}, {row.by}" for row in rows]
    shares = [100 * row.limit / row.seconds.median for row in rows]
    makers = list(dict.fromkeys(row.by for row in rows))
    axis.barh(range(len(rows)), shares, color=[_SERIES[makers.index(row.by) % 10] for row in rows], height=0.6)
    axis.set_yticks(range(len(rows)), labels)
    for number, (row, share) in enumerate(zip(rows, shares, strict=True)):
        _beside(axis, f"{share:.0f} %, {row.bound}", share, number)
    axis.set(xlabel="percent of what the measured memory and matrix rates allow", xlim=(0, 1.25 * max(shares)))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return "Kernels beside the machine's limits"


def _rows(count: int) -> tuple[float, float]:
    """Limits of an axis whose rows go downwards, so that a single one is no wider than one of two."""
    return max(count, 2) - 0.5, -0.5


def _number(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _beside(axis: Any, text: str, end: float, row: Any) -> None:
    """Write to the right of a bar."""
    axis.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
