from __future__ import annotations

import pytest
import tiny_student

import fastlic
from fastlic.benchmarks.stages import ENTROPY, REST, WHOLE, timed, with_rest


def test_timed_stages_fit_into_the_whole() -> None:
    bundle = tiny_student.bundle_bytes()
    with fastlic.Encoder(bundle, threads=1) as encoder, fastlic.Decoder(bundle, threads=1) as decoder:
        stages = timed(decoder, encoder.encode(tiny_student.picture(64, 64)))

    passes = [seconds for stage, seconds in stages.items() if stage.startswith("code ")]
    assert len(passes) == 3
    assert stages[ENTROPY] == sum(passes)
    assert sum(seconds for stage, seconds in stages.items() if stage not in (WHOLE, ENTROPY)) <= stages[WHOLE]


def test_with_rest_adds_up_to_the_whole() -> None:
    parts = with_rest(1.0, {WHOLE: 1.0, ENTROPY: 0.3, "code y all": 0.3, "synthesis": 0.5})

    assert parts == {"code y all": 0.3, "synthesis": 0.5, REST: pytest.approx(0.2)}
