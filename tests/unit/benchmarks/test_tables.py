from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import NotRun, Report
from fastlic.benchmarks.tables import milliseconds, show, tables


def test_tables_come_in_the_order_of_reading(report: Report) -> None:
    names = [table.name for table in tables(report)]

    assert names == ["latency", "stages", "growth", "throughput", "comparison", "kernels", "not-run"]


def test_tables_have_as_many_cells_as_columns(report: Report) -> None:
    for table in tables(report):
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.name


def test_tables_without_rows_are_left_out(report: Report) -> None:
    assert [table.name for table in tables(replace(report, latencies=[], kernels=[]))] == [
        "throughput", "comparison", "not-run",
    ]  # fmt: skip


def test_stages_are_of_the_picture_nearest_to_a_kodak_picture(report: Report) -> None:
    stages = next(table for table in tables(report) if table.name == "stages")

    assert stages.title == "stages, ms: cat 768x512"
    assert stages.columns == ["stage", "ort-cpu, 1 thread", "ort-cpu, 2 threads"]
    assert [row[0] for row in stages.rows] == [
        "whole decode", "entropy decoding, all passes", "of it code z all", "hyper", "of it code y even", "synthesis",
    ]  # fmt: skip


def test_percentiles_appear_only_where_a_sample_supports_them(report: Report) -> None:
    many = replace(report.latencies[0], wall=Summary.of([0.1 + 0.0001 * n for n in range(200)]))

    latency = tables(replace(report, latencies=[many, report.latencies[1]]))[0]

    assert "p90 ms" in latency.columns
    assert "p99 ms" not in latency.columns
    at = list(latency.columns).index("p95 ms")
    assert [row[at] for row in latency.rows] == ["118.9", "-"]


def test_markdown_has_a_line_below_the_head(report: Report) -> None:
    comparison = next(table for table in tables(report) if table.name == "comparison").to_markdown().splitlines()

    assert comparison[0] == "| codec | bpp | PSNR dB | ms | fastlic / codec | of processor time |"
    assert comparison[3].startswith("| ELIC | 0.310 | - | 1000 (900 to 1100) | 0.12 (0.11 to 0.13) |")


def test_show_warns_of_noise_and_load(report: Report) -> None:
    noisy = replace(report.latencies[0], wall=Summary.of([0.1, 0.2, 0.1, 0.3]))
    console = Console(width=200, record=True, file=io.StringIO())

    show(replace(report, latencies=[noisy], host={**report.host, "load": 7.5}), console)

    text = console.export_text()
    assert "1 of 1 latencies vary by 5 % or more" in text
    assert "55 %" in text
    assert "load average was 7.5 on 2 cores" in text


def test_show_leaves_brackets_alone(report: Report) -> None:
    console = Console(width=200, record=True, file=io.StringIO())

    show(replace(report, not_run=[NotRun("gpu", "pip install 'fastlic[gpu]'")]), console)

    assert "'fastlic[gpu]'" in console.export_text()


def test_milliseconds_keeps_three_digits() -> None:
    texts = [milliseconds(Summary(2, value, value, value)) for value in (1.5, 0.1234, 0.001234, 0.0000123)]

    assert [text.split(" ")[0] for text in texts] == ["1500", "123.4", "1.23", "0.0123"]
