"""benchmarks/comparison.py: the order of turns and the ratios, not the times."""

from __future__ import annotations

from fastlic.benchmarks.comparison import Decode, Times, alternate, compare, ratios
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.peers.environment import PeerUnavailable
from fastlic.benchmarks.sampling import Effort

TWO_ROUNDS = Effort(warm_up_seconds=0, warm_up_count=1, seconds=0, count=2)


def contestant(name: str, seconds: float, calls: list[tuple[str, int]], ends_after: int = 1000) -> Decode:
    def decode(number: int) -> Times:
        calls.append((name, number))
        if sum(1 for who, _ in calls if who == name) > ends_after:
            raise PeerUnavailable("killed by signal 9")
        return Times(seconds + number, 0.5 * seconds)

    return decode


def test_alternate_drops_the_warm_up_and_rotates_the_order() -> None:
    calls: list[tuple[str, int]] = []

    turns = alternate({"a": contestant("a", 1.0, calls), "b": contestant("b", 10.0, calls)}, 2, TWO_ROUNDS)

    assert [times.wall for times in turns.times["a"]] == [1.0, 2.0, 1.0, 2.0]
    assert [times.wall for times in turns.times["b"]] == [10.0, 11.0, 10.0, 11.0]
    assert calls[:4] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert len(calls) == 2 * 2 * 3


def test_alternate_goes_on_without_a_contestant_that_stops() -> None:
    calls: list[tuple[str, int]] = []

    turns = alternate({"a": contestant("a", 1.0, calls), "b": contestant("b", 10.0, calls, 3)}, 2, TWO_ROUNDS)

    assert len(turns.times["a"]) == 4
    assert "b" not in turns.times
    assert turns.stopped == {"b": "killed by signal 9"}


def test_ratios_are_taken_pair_by_pair() -> None:
    """A machine that is four times slower during the second pair does not move the ratio."""
    assert ratios([1.0, 4.0, 1.0], [2.0, 8.0, 2.0]) == Summary(3, 0.5, 0.5, 0.5)


def test_compare_gives_ratios_of_wall_and_of_processor_time() -> None:
    found = compare([Times(1.0, 1.0)] * 3, [Times(2.0, 4.0)] * 3)

    assert (found.seconds.median, found.ratio.median, found.processor_ratio.median) == (2.0, 0.5, 0.25)
