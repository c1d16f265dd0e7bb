"""benchmarks/decode_time.py on the tiny student: what is counted, not how long it takes."""

from __future__ import annotations

import tiny_student

import fastlic
from fastlic.benchmarks.decode_time import ENTROPY, WHOLE, measure, timed


def test_timed_stages_fit_into_the_whole() -> None:
    bundle = tiny_student.bundle_bytes()
    with fastlic.Encoder(bundle, threads=1) as encoder, fastlic.Decoder(bundle, threads=1) as decoder:
        stages = timed(decoder, encoder.encode(tiny_student.picture(64, 64)))

    passes = [seconds for stage, seconds in stages.items() if stage.startswith("code ")]
    assert len(passes) == 3
    assert stages[ENTROPY] == sum(passes)
    assert sum(seconds for stage, seconds in stages.items() if stage not in (WHOLE, ENTROPY)) <= stages[WHOLE]


def test_measure_leaves_the_warm_up_out() -> None:
    bundle = tiny_student.bundle_bytes()
    with fastlic.Encoder(bundle, threads=1) as encoder:
        files = [encoder.encode(tiny_student.picture(64, 64, seed)) for seed in (1, 2)]

    found = measure(files, bundle, threads=[1, 2], rounds=2)

    assert list(found) == [1, 2]
    assert found[1][WHOLE].count == 4
