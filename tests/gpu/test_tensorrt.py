"""TensorRT and TensorRT for RTX for real: build, inspect, decode, and everything that `fastlic doctor` tries.

An engine whose library is not installed is skipped with the reason.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import deformable_student

import fastlic
from fastlic.errors import EngineUnavailable
from fastlic.export import preparation
from fastlic.kernels.cuda.driver import Device
from fastlic.runtime import engines, trial
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.tensorrt.engine import TensorRTEngine
from fastlic.runtime.forms import FormCache

WAYS = [("tensorrt", "plugin"), ("tensorrt", "standard"), ("tensorrt-rtx", "grid-sample")]


@pytest.fixture(params=WAYS, ids="-".join)
def engine(request: pytest.FixtureRequest, device: Device, tmp_path: Path) -> TensorRTEngine:
    """An engine with a student of deformable convolutions prepared for the size of its file."""
    name, form = request.param
    try:
        made = engines.create(name, 1, form=form, cache=tmp_path)
    except EngineUnavailable as reason:
        pytest.skip(str(reason))
    assert isinstance(made, TensorRTEngine)
    with Bundle(deformable_student()[0]) as bundle:
        list(preparation.prepare_forms(bundle, made.form, FormCache(tmp_path), threads=4))
        header = fastlic.probe(golden().read_bytes())
        list(preparation.build_engines(bundle, made, [(header.width, header.height)]))
    made.build = False  # from here on everything must be there
    return made


def golden() -> Path:
    return deformable_student()[1]


def test_engine_passes_everything_that_doctor_tries(engine: TensorRTEngine) -> None:
    options = {"form": engine.info().detail["form"]}

    problems = {finding.check: finding.problem for finding in trial.try_engine(engine.name, **options)}

    assert problems == dict.fromkeys(problems)


def test_golden_file_has_the_right_symbols_and_pixels(engine: TensorRTEngine) -> None:
    expected = np.asarray(Image.open(golden().with_suffix(".png")).convert("RGB")).astype(int)

    with fastlic.Decoder(deformable_student()[0], engine=engine) as decoder:
        pictures = [decoder.decode(golden().read_bytes()) for _ in range(3)]  # the last ones are recorded work

    for picture in pictures:  # symbols are checked against the file's own checksum
        assert np.abs(picture.astype(int) - expected).max() <= 1
