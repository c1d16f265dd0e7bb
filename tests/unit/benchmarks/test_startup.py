"""benchmarks/startup.py: the statistics, not the times."""

from __future__ import annotations

from fastlic.benchmarks import startup


def test_sample_counts_only_what_follows_the_warm_up() -> None:
    calls: list[int] = []

    seconds = startup.sample(lambda: calls.append(1), runs=5)

    assert len(seconds) == 5
    assert len(calls) == 5 + startup.WARM_UP


def test_row_gives_quartiles_in_milliseconds() -> None:
    line = startup.row("probe", [number / 1000 for number in range(1, 102)], bar=0.2)

    assert "51.0000 (26.0000 to 76.0000) ms  n 101" in line
    assert line.endswith("under 200")
