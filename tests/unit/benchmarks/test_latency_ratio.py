"""benchmarks/latency_ratio.py: the order of turns and the ratios, not the times."""

from __future__ import annotations

from fastlic.benchmarks.latency_ratio import Times, alternate, ratios
from fastlic.benchmarks.measure import Summary


def test_alternate_drops_the_first_round_and_keeps_pairs_together() -> None:
    calls: list[tuple[str, int]] = []

    def contestant(name: str, seconds: float):
        def decode(number: int) -> Times:
            calls.append((name, number))
            return Times(seconds + number, 0.0)

        return decode

    found = alternate({"a": contestant("a", 1.0), "b": contestant("b", 10.0)}, count=2, rounds=2)

    assert [times.wall for times in found["a"]] == [1.0, 2.0, 1.0, 2.0]
    assert [times.wall for times in found["b"]] == [10.0, 11.0, 10.0, 11.0]
    assert calls[:4] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert len(calls) == 2 * 2 * 3


def test_ratios_are_taken_pair_by_pair() -> None:
    """A machine that is four times slower during the second pair does not move the ratio."""
    assert ratios([1.0, 4.0, 1.0], [2.0, 8.0, 2.0]) == Summary(3, 0.5, 0.5, 0.5)
