from __future__ import annotations

import json

import pytest

from fastlic.benchmarks.measure import Summary, host, save


def test_summary_of_a_sample_gives_median_and_quartiles() -> None:
    assert Summary.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Summary(5, 3.0, 2.0, 4.0)


def test_summary_of_one_value_has_no_spread() -> None:
    assert Summary.of([0.25]) == Summary(1, 0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("count", "percentiles"), [(99, set()), (100, {"90"}), (200, {"90", "95"}), (1000, {"90", "95", "99"})]
)
def test_summary_gives_percentiles_with_ten_values_beyond_them(count: int, percentiles: set[str]) -> None:
    assert set(Summary.of([float(n) for n in range(count)]).percentiles) == percentiles


def test_summary_percentile_lies_where_it_says() -> None:
    assert Summary.of([float(n) for n in range(1001)]).percentiles == {"90": 900.0, "95": 950.0, "99": 990.0}


def test_summary_knows_when_it_is_noisy() -> None:
    assert not Summary.of([1.0, 1.01, 0.99]).noisy
    assert Summary.of([1.0, 1.2, 0.8]).noisy


def test_summary_text_scales_to_the_unit() -> None:
    assert Summary(5, 0.003, 0.002, 0.0045).text(unit=1000, digits=1) == "3.0 (2.0 to 4.5)"


def test_save_puts_the_host_beside_the_figures(tmp_path) -> None:
    path = tmp_path / "figures.json"

    save(path, {"decode": Summary(2, 0.5, 0.25, 0.75)})

    written = json.loads(path.read_text())
    assert written["decode"] == {
        "count": 2, "median": 0.5, "low": 0.25, "high": 0.75, "variation": 0.0, "percentiles": {},
    }  # fmt: skip
    assert written["host"].keys() == host().keys()


def test_save_without_a_path_writes_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    save(None, {})

    assert list(tmp_path.iterdir()) == []
