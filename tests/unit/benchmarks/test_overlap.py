"""benchmarks/overlap.py: how ratios are taken, not the figures."""

from __future__ import annotations

import time

import pytest

from fastlic.benchmarks import overlap


def test_every_way_has_its_turn_in_each_round_and_is_held_against_the_first() -> None:
    calls: list[str] = []

    def way(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    found = overlap.ratios({"slow": lambda: way("slow", 0.02), "fast": lambda: way("fast", 0.002)}, rounds=2)

    assert calls == ["slow", "fast", "slow", "fast", "fast", "slow"]
    assert found["slow"].median == 1.0
    assert found["fast"].count == 2
    assert found["fast"].median > 1.5


def test_overlap_gains_at_most_what_the_longer_half_leaves() -> None:
    assert overlap.most({"hyper": 1.0, "code": 1.0, "synthesis": 3.0}, "synthesis") == pytest.approx(5 / 3)
    assert overlap.most({"hyper": 4.0, "synthesis": 1.0}, "synthesis") == pytest.approx(5 / 4)
