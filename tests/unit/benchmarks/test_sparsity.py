"""benchmarks/sparsity.py on the tiny student: every element is counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_student

import fastlic
from fastlic.benchmarks.sparsity import KINDS, count, measure, reduction
from fastlic.benchmarks.stages import ENTROPY, WHOLE
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import create
from fastlic.runtime.student import Student


def test_count_adds_up_to_the_latent_and_its_empty_channels_are_those_of_the_file() -> None:
    source = tiny_student.bundle_bytes()
    with fastlic.Encoder(source) as encoder, fastlic.Decoder(source) as decoder, Bundle(source) as bundle:
        data = encoder.encode(tiny_student.picture(64, 128))
        student = Student(bundle, create("ort-cpu", threads=1))
        found = count(student, data)
        latents, _ = decoder.decode_latents(data)

    (mapped,) = student.mapped
    assert found.channels == len(latents[mapped])
    assert found.elements == latents[mapped].size
    assert found.empty == found.empty_channels * latents[mapped][0].size
    assert found.empty_channels <= int((latents[mapped] == 0).all((1, 2)).sum())
    assert found.coded > 0


def test_measure_counts_rounds_but_not_the_warm_up(tmp_path: Path) -> None:
    paths = [tmp_path / "off.licb", tmp_path / "on.licb"]
    for seed, path in enumerate(paths, 1):
        path.write_bytes(tiny_student.bundle_bytes(seed))
    image = tiny_student.picture(64, 64)

    off, on = measure(paths, [image, image], threads=1, rounds=2)

    assert (off.name, on.name) == ("off", "on")
    assert off.seconds[WHOLE].count == on.seconds[ENTROPY].count == 4
    assert sum(off.share(kind) for kind in KINDS) == pytest.approx(1)
    assert off.counts[0] == off.counts[1]


def test_reduction_is_against_the_slower_time() -> None:
    assert reduction(2.0, 4.0) == reduction(4.0, 2.0) == 0.5
    assert reduction(3.0, 3.0) == 0
