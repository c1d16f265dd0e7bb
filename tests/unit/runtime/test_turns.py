"""runtime/turns.py: how many compute at once, in which order, and what giving up leaves behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import tiny_student

from fastlic.errors import Cancelled, TimedOut
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.turns import Turns


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "does not come about"
        time.sleep(0.001)


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


def test_no_more_threads_compute_than_there_are_turns() -> None:
    turns, at_once, most, lock = Turns(2), 0, 0, threading.Lock()

    def compute() -> None:
        nonlocal at_once, most
        for _ in range(20):
            with turns.one(Deadline()):
                with lock:
                    at_once += 1
                    most = max(most, at_once)
                time.sleep(0.0002)
                with lock:
                    at_once -= 1

    threads = [threading.Thread(target=compute) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 2
    assert (turns._free, waiting(turns)) == (2, 0)


def test_turn_given_back_goes_to_the_one_who_waited_longest_and_not_to_who_comes_back() -> None:
    turns, order = Turns(1), []

    def compute(name: int) -> None:
        with turns.one(Deadline()):
            order.append(name)

    threads = [threading.Thread(target=compute, args=(name,)) for name in range(3)]
    with turns.one(Deadline()):
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda number=number: waiting(turns) == number + 1)  # type: ignore[misc]
    compute(3)
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3]


@pytest.mark.parametrize("cancelled", [False, True])
def test_who_gives_up_waiting_leaves_the_turn_to_others(cancelled: bool) -> None:
    turns, cancel = Turns(1), threading.Event()
    deadline = Deadline(cancel=cancel) if cancelled else Deadline(timeout=0.01)
    if cancelled:
        threading.Timer(0.01, cancel.set).start()

    with turns.one(Deadline()):
        with pytest.raises(Cancelled if cancelled else TimedOut, match="before its turn"), turns.one(deadline):
            pytest.fail("two have the only turn")
        assert waiting(turns) == 0

    with turns.one(Deadline(timeout=0.0)):
        assert turns._free == 0
    assert turns._free == 1


def test_turn_that_comes_while_its_thread_gives_up_is_passed_on() -> None:
    turns = Turns(1)

    class LastMoment(Deadline):
        def wait_for(self, lock: threading.Lock, step: str) -> None:
            turns._give_back()  # the holder's
            raise TimedOut(step)

    turns._take(Deadline())
    with pytest.raises(TimedOut):
        turns._take(LastMoment())

    assert (turns._free, waiting(turns)) == (1, 0)


def test_decode_that_waits_for_its_turn_heeds_the_time_out_and_the_next_one_works() -> None:
    with Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(64, 64))
    with Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        decoder._turns = Turns(1)
        with decoder._turns.one(Deadline()), pytest.raises(TimedOut, match="before its turn"):
            decoder.decode(data, timeout=0.01)

        assert decoder.decode(data, timeout=60).shape == (64, 64, 3)
