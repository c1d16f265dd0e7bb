"""Decode side by side: everyone decodes the same pictures in turn, and ratios are taken between neighbours.

Knows turns, times and ratios; knows nothing of codecs. Each contestant is a process of its own that sleeps while
another decodes. A ratio is taken between times of the same picture in the same round, a moment apart, so that a change
of the machine's load falls on both. Beside wall time stands processor time of all threads: with one thread it is the
wall time of a machine with nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.peers.environment import PeerUnavailable
from fastlic.benchmarks.sampling import Effort


class Times(NamedTuple):
    """Seconds of one decode."""

    wall: float
    processor: float


class Compared(NamedTuple):
    """A contestant's wall seconds, and ours over them: of wall time and of processor time."""

    seconds: Summary
    ratio: Summary
    processor_ratio: Summary


Decode = Callable[[int], Times]
"""Decode picture number n."""


@dataclass(frozen=True)
class Turns:
    """What `alternate` found.

    Attributes:
        times: by name, for each (round, picture), rounds outermost; only of those who came to the end.
        stopped: by name, why a contestant did not.
    """

    times: dict[str, list[Times]]
    stopped: dict[str, str]


def alternate(
    contestants: Mapping[str, Decode], count: int, effort: Effort, clock: Callable[[], float] = time.perf_counter
) -> Turns:
    """Let everyone decode every picture in turn, in an order that rotates.

    Args:
        contestants: by name.
        count: of pictures.
        effort: counts are rounds; the warm-up is at least one, whatever it says.
        clock: seconds.
    """
    order = list(contestants)
    times: dict[str, list[Times]] = {name: [] for name in order}
    stopped: dict[str, str] = {}

    def rounds(least: int, seconds: float, keep: bool) -> None:
        nonlocal order
        start, done = clock(), 0
        while order and (done < least or clock() - start < seconds):
            for picture in range(count):
                for name in order:
                    try:
                        taken = contestants[name](picture)
                    except PeerUnavailable as reason:
                        stopped[name] = str(reason)
                        del times[name]
                        continue
                    if keep:
                        times[name].append(taken)
                order = [name for name in order[1:] + order[:1] if name not in stopped]
            done += 1

    rounds(max(1, effort.warm_up_count), effort.warm_up_seconds, keep=False)
    rounds(effort.count, effort.seconds, keep=True)
    return Turns(times, stopped)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Our time over theirs, pair by pair."""
    return Summary.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def compare(ours: Sequence[Times], theirs: Sequence[Times]) -> Compared:
    """Put two contestants beside each other, pair by pair."""
    return Compared(
        Summary.of([other.wall for other in theirs]),
        ratios([mine.wall for mine in ours], [other.wall for other in theirs]),
        ratios([mine.processor for mine in ours], [other.processor for other in theirs]),
    )
