from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fastlic.benchmarks.report import Report

pytest.importorskip("jinja2", reason="the page is a template")
pytest.importorskip("matplotlib", reason="draws")

from fastlic.benchmarks.page import page, write_page
from fastlic.benchmarks.plots import PALETTE, plots, standalone


def test_page_needs_nothing_else(report: Report) -> None:
    text = page(report)

    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    assert "<script" not in text
    assert "@import" not in text


def test_page_shows_every_plot_and_table_and_escapes_text(report: Report) -> None:
    text = page(report)

    for title in ("Where the time goes", "How much single decodes differ", "Growth with the picture", "Side by side",
                  "Kernels beside the machine", "latency of one picture", "not run"):  # fmt: skip
        assert title in text
    assert "Test &amp; Co" in text
    assert "no GPU &lt;here&gt;" in text


def test_page_has_both_colours_of_everything_it_uses(report: Report) -> None:
    text = page(report)

    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
    assert used <= set(PALETTE)
    assert "prefers-color-scheme: dark" in text
    drawn = "".join(plot.svg for plot in plots(report))
    assert not re.search(r"#0[0-9a-f]{5}", drawn), "a stand-in colour was left in a plot"


def test_page_of_a_report_without_figures_says_why(report: Report) -> None:
    text = page(replace(report, latencies=[], throughputs=[], comparison=[], kernels=[]))

    assert "<svg" not in text
    assert "tiny, ort-cuda" in text


def test_write_page_is_the_same_file_each_time(report: Report, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        write_page(report, tmp_path / name)

    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_standalone_plot_brings_its_colours(report: Report) -> None:
    text = standalone(next(plots(report)))

    assert text.startswith("<svg")
    assert "--series-0: #" in text
