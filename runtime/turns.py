"""Turns: how many threads may compute at once; the others wait, in the order in which they came.

Knows locks and a queue; knows nothing of pictures. A caller who computes holds its picture's activations, so that 64
at once on two cores hold thirty times what the cores can work on, and gain nothing. `threading.Semaphore` would let a
thread that comes back take the turn from one that was woken for it, again and again: a turn given back here goes
straight to the one who has waited longest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from fastlic.runtime.deadline import Deadline


class Turns:
    """A number of turns, all free at the beginning.

    Args:
        number: of threads that may hold one at the same time, at least 1.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()  # each is released when the turn is its maker's

    @contextmanager
    def one(self, deadline: Deadline) -> Iterator[None]:
        """Hold a turn while the block runs. A thread that holds one must not ask for another.

        Raises:
            TimedOut, Cancelled: by the deadline, while waiting; asked only where there is no turn at once.
        """
        self._take(deadline)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, deadline: Deadline) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            deadline.wait_for(mine, "its turn")
        except BaseException:  # an interrupt too: a turn that nobody takes would be lost
            with self._lock:
                given = mine not in self._waiting
                if not given:
                    self._waiting.remove(mine)
            if given:
                self._give_back()
            raise

    def _give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
