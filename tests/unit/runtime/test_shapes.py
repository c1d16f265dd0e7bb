"""The shapes that a decode of zeros finds are those that a real decode has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlic
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.ort import OrtCpuEngine
from fastlic.runtime.shapes import inputs_of_a_decode
from fastlic.runtime.student import Student

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"


class Watching(OrtCpuEngine):
    """Notes what graphs are given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen: dict[str, set[Any]] = {}

    def load(self, model: bytes, name: str, exact: bool) -> Any:
        graph = super().load(model, name, exact)

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            self.seen.setdefault(name, set()).add(tuple((array.dtype, array.shape) for array in inputs))
            return graph(inputs)

        return call


@pytest.mark.parametrize("student", ["tiny", "mbt2018-mean-small", "elic2022-small"])
@pytest.mark.parametrize("picture", ["square", "pixel"])
def test_decode_of_zeros_has_the_shapes_of_a_real_one(student: str, picture: str) -> None:
    path, data = GOLDEN / f"{student}.licb", (GOLDEN / f"{student}-{picture}.lic").read_bytes()
    watching = Watching()
    with fastlic.Decoder(path, engine=watching, threads=1) as decoder:
        decoder.decode(data)
    header = fastlic.probe(data)

    with Bundle(path) as bundle:
        found = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", 1)), header.width, header.height)

    assert {name: set(kinds) for name, kinds in found.items()} == watching.seen


def test_large_picture_needs_few_shapes_because_it_is_decoded_in_windows() -> None:
    with Bundle(GOLDEN / "tiny.licb") as bundle:
        found = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", 1)), 2500, 1400)

    assert len(found["hyper"]) == 2  # tiles are of equal size, but for the last column
    assert 1 < len(found["synthesis"]) <= 9  # corners, edges and the middle, of windows with a halo
