"""When a decode is to stop: at a time-out, or when another thread says so.

Knows clocks and events; knows nothing of pictures. It is asked before every step: a step that runs is finished, so a
decode stops within the time of one step, which is one graph over one window or one pass of one tile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from fastlic.errors import Cancelled, TimedOut
from fastlic.runtime.engines import Graph

_LOOK_AGAIN = 0.02
"""Seconds between looks at an event while waiting for something else: a thread cannot wait for both."""


class Deadline:
    """Begins when it is made.

    Args:
        timeout: seconds, 0 or more; None: no limit.
        cancel: set by another thread to stop; None: nobody will.

    Raises:
        ValueError: a negative time-out.
    """

    def __init__(self, timeout: float | None = None, cancel: threading.Event | None = None) -> None:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be a number of seconds from 0 up, not {timeout}")
        self._timeout, self._cancel = timeout, cancel
        self._end = None if timeout is None else time.monotonic() + timeout

    def check(self, step: str) -> None:
        """Stop before `step`, if it is time.

        Raises:
            TimedOut: the time is up.
            Cancelled: the event is set.
        """
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled(f"cancelled by the caller before {step}.")
        if self._end is not None and time.monotonic() >= self._end:
            raise TimedOut(
                f"not done within {self._timeout:g} s: stopped before {step}. Allow more time, or decode a region."
            )

    def wait_for(self, lock: threading.Lock, step: str) -> None:
        """Acquire a lock that another thread releases, unless it is time to stop before that.

        Args:
            step: what the lock keeps from beginning.

        Raises:
            TimedOut, Cancelled: as `check`; the lock is not acquired.
        """
        while True:
            self.check(step)
            patience = threading.TIMEOUT_MAX if self._cancel is None else _LOOK_AGAIN
            if self._end is not None:
                patience = min(patience, max(0.0, self._end - time.monotonic()))
            if lock.acquire(timeout=patience):
                return

    def guard(self, graphs: Mapping[str, Graph]) -> Mapping[str, Graph]:
        """The same graphs; looking one up checks first. `run` and `run_in_windows` look one up for each evaluation."""
        return _Guarded(graphs, self)


class _Guarded(Mapping[str, Graph]):
    def __init__(self, graphs: Mapping[str, Graph], deadline: Deadline) -> None:
        self._graphs, self._deadline = graphs, deadline

    def __getitem__(self, name: str) -> Graph:
        self._deadline.check(f"graph {name}")
        return self._graphs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._graphs)

    def __len__(self) -> int:
        return len(self._graphs)
