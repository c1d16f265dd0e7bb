from __future__ import annotations

import threading

import pytest
import tiny_student

from fastlic.errors import Cancelled, TimedOut
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.deadline import Deadline


def test_check_without_limits_never_stops() -> None:
    Deadline().check("any step")


def test_check_after_the_time_says_which_step_was_not_begun() -> None:
    with pytest.raises(TimedOut, match="not done within 0 s: stopped before graph hyper"):
        Deadline(timeout=0).check("graph hyper")


def test_check_after_cancelling_stops_even_with_time_left() -> None:
    event = threading.Event()
    deadline = Deadline(timeout=1000, cancel=event)
    deadline.check("first")
    event.set()

    with pytest.raises(Cancelled, match="before second"):
        deadline.check("second")


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_time_out_that_is_no_duration_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Deadline(timeout)


def test_guarded_graphs_are_looked_up_only_in_time() -> None:
    event = threading.Event()
    graphs = Deadline(cancel=event).guard({"hyper": len})  # type: ignore[dict-item]

    assert graphs["hyper"] is len
    assert list(graphs) == ["hyper"]
    event.set()
    with pytest.raises(Cancelled, match="graph hyper"):
        graphs["hyper"]


@pytest.mark.parametrize("steps", range(5))
def test_decode_cancelled_at_any_step_stops_there_and_the_next_one_works(steps: int) -> None:
    """The tiny student looks at the event before each of two graphs, three passes and the synthesis."""

    class Countdown(threading.Event):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > steps

    bundle = tiny_student.bundle_bytes()
    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, threads=1) as decoder:
        data = encoder.encode(tiny_student.picture(64, 64))
        countdown = Countdown()

        with pytest.raises(Cancelled):
            decoder.decode(data, cancel=countdown)

        assert countdown.asked == steps + 1
        assert decoder.decode(data, timeout=1000).shape == (64, 64, 3)
