from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastlic.benchmarks.guard import BaselineUnusable, compare
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.report import Report


@pytest.fixture
def baseline(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    save(path, report.to_json())
    return path


def with_ratio(report: Report, ratio: Summary) -> Report:
    return replace(report, comparison=[report.comparison[0], replace(report.comparison[1], ratio=ratio)])


def test_compare_is_silent_about_the_same_run(report: Report, baseline: Path) -> None:
    assert list(compare(report, baseline)) == []


def test_compare_warns_of_a_ratio_that_became_worse(report: Report, baseline: Path) -> None:
    (line,) = compare(with_ratio(report, Summary(15, 0.2, 0.19, 0.21)), baseline)

    assert "slower beside elic2022: 0.200" in line


def test_compare_does_not_warn_within_the_spread(report: Report, baseline: Path) -> None:
    assert list(compare(with_ratio(report, Summary(15, 0.2, 0.12, 0.3)), baseline)) == []


def test_compare_knows_nothing_of_absolute_times(report: Report, baseline: Path) -> None:
    slower = replace(report.comparison[1], seconds=Summary(15, 50.0, 50.0, 50.0))

    assert list(compare(replace(report, comparison=[report.comparison[0], slower]), baseline)) == []


def test_compare_says_what_was_not_run_now(report: Report, baseline: Path) -> None:
    (line,) = compare(replace(report, comparison=[]), baseline)

    assert "elic2022 is in the baseline and was not run" in line


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"comparison": [{"name": "x"}]})])
def test_compare_refuses_what_is_no_baseline(report: Report, tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)

    with pytest.raises(BaselineUnusable, match=r"other\.json"):
        list(compare(report, path))


def test_compare_refuses_a_baseline_that_is_not_there(report: Report, tmp_path: Path) -> None:
    with pytest.raises(BaselineUnusable, match="No such file"):
        list(compare(report, tmp_path / "absent.json"))
