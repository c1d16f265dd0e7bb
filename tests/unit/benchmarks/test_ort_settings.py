"""benchmarks/ort_settings.py on the tiny student: every variant decodes the same picture."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_student

import fastlic
from fastlic.benchmarks.ort_settings import measure, variants


@pytest.mark.parametrize("label", variants(1))
def test_every_variant_decodes_the_same_picture(label: str) -> None:
    bundle, image = tiny_student.bundle_bytes(), tiny_student.picture(64, 64)
    with fastlic.Encoder(bundle, threads=1) as encoder, fastlic.Decoder(bundle, threads=1) as decoder:
        data = encoder.encode(image)
        expected = decoder.decode(data)

    with fastlic.Decoder(bundle, engine=variants(1)[label]) as decoder:
        np.testing.assert_array_equal(decoder.decode(data), expected)


def test_measure_gives_wall_and_processor_time_per_round() -> None:
    bundle = tiny_student.bundle_bytes()
    with fastlic.Encoder(bundle, threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(64, 64))
    chosen = {label: engine for label, engine in variants(1).items() if label in ("as shipped", "no arena")}

    found = measure(data, bundle, chosen, rounds=3)

    assert list(found) == ["as shipped", "no arena"]
    for wall, processor in found.values():
        assert len(wall) == len(processor) == 3
        assert min(wall) > 0
