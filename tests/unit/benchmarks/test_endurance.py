"""benchmarks/endurance.py: what is counted and judged, not the figures."""

from __future__ import annotations

from collections import Counter

import pytest
import tiny_student

import fastlic
from fastlic.benchmarks import endurance
from fastlic.benchmarks.endurance import BOUND, Memory


class Alternating:
    """A decoder's stand-in whose every third picture is another one."""

    def __init__(self, decoder: fastlic.Decoder) -> None:
        self.decoder, self.calls = decoder, 0

    def decode(self, data: bytes) -> object:
        self.calls += 1
        picture = self.decoder.decode(data)
        return picture + (self.calls % 3 == 0)


def run(memory: Memory) -> endurance.Run:
    return endurance.Run("64x64", callers=1, decodes=100, differing=0, seconds=1.0, memory=memory)


def test_memory_that_grows_with_decodes_is_not_flat_and_scatter_is() -> None:
    leaking = Memory.of([number * BOUND // 50 for number in range(101)])
    scattered = Memory.of([10 * BOUND + (number % 2) * BOUND for number in range(101)])

    assert leaking.rise == pytest.approx(2 * BOUND, rel=0.01)
    assert [run(memory).holds for memory in (leaking, scattered)] == [False, True]
    assert scattered.peak - scattered.start == BOUND


def test_run_compares_every_picture_and_looks_at_memory_often() -> None:
    used = iter(range(0, 10**9, BOUND // 10))
    with fastlic.Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(64, 64))
    with fastlic.Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
        sound = endurance.endure(decoder, data, "64x64", callers=8, decodes=80, memory=lambda: 1)
        wrong = endurance.endure(Alternating(decoder), data, "64x64", callers=1, decodes=30, memory=lambda: next(used))  # type: ignore[arg-type]

    assert sound.holds
    assert (wrong.differing, wrong.memory.rise > BOUND, wrong.holds) == (10, True, False)
    assert wrong.memory.start < wrong.memory.end == wrong.memory.peak
    (row, _) = endurance.table([wrong, sound]).rows
    assert row[:4] == ("64x64", "1", "30", "10")


def test_work_is_shared_out_evenly_and_its_error_comes_out() -> None:
    calls: Counter[int] = Counter()

    endurance.share(
        4, 20, lambda: calls.update(["timed"]), lambda: calls.update(["begin"]), 8, lambda: calls.update(["warm-up"])
    )
    with pytest.raises(ZeroDivisionError):
        endurance.share(4, 4, lambda: 1 / 0)

    assert list(calls.items()) == [("warm-up", 8), ("begin", 1), ("timed", 20)]


@pytest.mark.skipif(not endurance.Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_resident_memory_sees_what_is_allocated() -> None:
    before = endurance.resident()

    held = bytearray(b"x") * (64 << 20)

    assert endurance.resident() - before > len(held) // 2
