from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.benchmarks.document import NoMarks, update
from fastlic.benchmarks.report import Report

pytest.importorskip("matplotlib", reason="draws")

TEXT = """# Title

<!-- bench:comparison -->
old
<!-- /bench -->

between

<!-- bench:growth -->
old growth
<!-- /bench -->
"""


def test_update_replaces_marked_tables_and_nothing_else(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(TEXT)

    update(report, path, ["comparison"])

    text = path.read_text()
    assert "| ELIC | 0.310 |" in text
    assert "    fastlic bench cat.png\n\n2026-11-21 05:00 UTC, Test & Co, 2 cores, ONNX Runtime 1.31.1, load" in text
    assert "old growth" in text
    assert "\nold\n" not in text
    assert "\nbetween\n" in text


def test_update_twice_changes_nothing_more(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(TEXT)

    update(report, path)
    once = path.read_text()
    update(report, path)

    assert path.read_text() == once


def test_update_writes_the_plots_that_the_document_links(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(TEXT + "![growth](bench-scaling.svg)\n")

    update(report, path)

    assert [each.name for each in tmp_path.glob("*.svg")] == ["bench-scaling.svg"]


def test_update_of_a_document_without_marks_is_refused(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text("# Title\n")

    with pytest.raises(NoMarks, match="bench:NAME"):
        update(report, path)

    assert path.read_text() == "# Title\n"
