from __future__ import annotations

from collections.abc import Callable

from fastlic.benchmarks.sampling import Effort, collect


def ticking(step: float) -> tuple[Callable[[], int], Callable[[], float]]:
    """An action that takes `step` seconds of a clock of its own, and the clock."""
    state = {"calls": 0}

    def action() -> int:
        state["calls"] += 1
        return state["calls"]

    return action, lambda: step * state["calls"]


def test_collect_goes_on_until_the_count_is_reached() -> None:
    action, clock = ticking(1.0)

    assert collect(action, Effort(0.0, 2, 3.0, 5), clock) == [3, 4, 5, 6, 7]


def test_collect_goes_on_until_the_time_is_reached() -> None:
    action, clock = ticking(0.5)

    assert len(collect(action, Effort(0.0, 0, 3.0, 2), clock)) == 6


def test_collect_warms_up_by_time_too() -> None:
    action, clock = ticking(0.25)

    assert collect(action, Effort(1.0, 1, 0.0, 1), clock) == [5]


def test_effort_survives_a_request() -> None:
    effort = Effort(0.1, 2, 3.5, 4)

    assert Effort.of(effort.to_json()) == effort
