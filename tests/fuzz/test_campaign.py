"""The campaign finds what it is there to find: crashes, hangs, memory and wrong results, and keeps the input."""

from __future__ import annotations

import itertools
import mmap
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.campaign import Campaign, Figures, ResidentMemory, TracedMemory

from fastlic.errors import CorruptedStream

INPUTS = (b"good", b"refused", b"bad")
TESTS = Path(__file__).parents[1]
Meters = type[TracedMemory] | type[ResidentMemory]


def refuse_some(data: bytes) -> bytes:
    if data == b"refused":
        raise CorruptedStream("refused")
    return data


def crash(data: bytes) -> bytes:
    if data == b"bad":
        raise IndexError("out of range")
    return refuse_some(data)


def hang(data: bytes) -> bytes:
    time.sleep(1.0 if data == b"bad" else 0.0)
    return refuse_some(data)


def allocate(data: bytes) -> bytes:
    # Pages of its own: an allocator may serve any size from what other tests have left resident.
    size = 1 << 24 if data == b"bad" else 1
    with mmap.mmap(-1, size) as pages:
        pages.write(bytes(size))
    return refuse_some(data)


def accept_anything(_data: bytes, _result: bytes) -> None:
    return


def refuse_bad(data: bytes, _result: bytes) -> None:
    assert data != b"bad"


def run(target: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], None], keep: Path, meter: Meters) -> Figures:
    campaign = Campaign(target, verify, meter(), lambda _: 1 << 22, keep)
    return campaign.run(itertools.cycle(INPUTS), count=3)


@pytest.mark.parametrize("meter", [TracedMemory, ResidentMemory])
@pytest.mark.parametrize(
    ("target", "verify", "finding"),
    [
        (crash, accept_anything, "IndexError: out of range"),
        (hang, accept_anything, "hang: 1."),
        (allocate, accept_anything, "memory: "),
        (refuse_some, refuse_bad, "wrong: AssertionError"),
    ],
)
def test_campaign_reports_and_keeps_the_input_that_went_wrong(
    target: Callable[[bytes], bytes],
    verify: Callable[[bytes, bytes], None],
    finding: str,
    meter: Meters,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if meter is ResidentMemory and not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks of resident memory are Linux's")
    monkeypatch.setattr("fuzz.campaign.MAX_SECONDS", 0.9)

    figures = run(target, verify, tmp_path, meter)

    (found,) = figures.findings
    name, _, what = found.partition(": ")
    assert what.startswith(finding)
    assert (tmp_path / name).read_bytes() == b"bad"
    assert figures.outcomes["CorruptedStream"] == 1


def test_campaign_of_good_inputs_finds_nothing_and_leaves_the_last_one_on_disk(tmp_path: Path) -> None:
    figures = run(refuse_some, accept_anything, tmp_path, TracedMemory)

    assert figures.findings == []
    assert figures.inputs == 3
    assert figures.outcomes == {"accepted": 2, "CorruptedStream": 1}
    assert (tmp_path / "current").read_bytes()[:7] == b"\3\0\0\0bad"


def test_campaign_stops_after_its_time(tmp_path: Path) -> None:
    campaign = Campaign(refuse_some, accept_anything, TracedMemory(), lambda _: 1 << 22, tmp_path)

    assert campaign.run(itertools.repeat(b"good"), seconds=0.05).inputs > 1


def test_traced_memory_of_some_blocks_is_that_of_one_in_so_many(tmp_path: Path) -> None:
    meter = TracedMemory(every=3, block=2)
    peaks = []
    for _ in range(12):
        meter.begin()
        bytearray(1 << 20)
        peaks.append(meter.peak() >= 1 << 20)
    meter.close()

    assert peaks == [True, True, False, False, False, False] * 2


def test_limited_memory_is_met_inside_and_not_afterwards() -> None:
    code = """if True:
        from fuzz.campaign import limited_memory
        try:
            with limited_memory(1 << 24):
                bytearray(1 << 26)
        except MemoryError:
            bytearray(1 << 26)
            print("limited")
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True, check=False)

    assert done.stdout == "limited\n", done.stderr
