"""A run small enough to be trained within a second."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from fastlic.export.distill.configuration import Data, Loss, Optimiser, Run, Watch
from fastlic.export.students.configuration import FIXED
from fastlic.export.students.fu2023 import Fu2023

STUDENT = {
    "N": 4,
    "M": 6,
    "hyper_channels": 4,
    "pen_hidden": [8],
    "leaky_slope": 0.01,
    "anchor_parity": "even",
    "attention": False,
    "residual_blocks": False,
}
SIDE = 96


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def archive(tmp_path, rng) -> Path:
    """Twelve smooth pictures of four sources."""
    path = tmp_path / "crops.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(12):
            corners = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(corners).resize((SIDE, SIDE)).save(buffer, "webp", lossless=True)
            entry = tarfile.TarInfo(f"source{number % 4}_{number // 4}.webp")
            entry.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(entry, buffer)
    return path


@pytest.fixture
def run(archive, tmp_path) -> Run:
    return Run(
        name="tiny",
        output=tmp_path / "out",
        student=STUDENT,
        data=Data(archives=(archive,), batch=2, patch=64, held_out=0.0),
        loss=Loss(trade_off=0.0075),
        optimiser=Optimiser(iterations=6, learning_rate=1e-3, warm_up=2, ema=0.5),
        watch=Watch(every=3, pictures=1, save=2, report=1),
    )


@pytest.fixture
def build():
    """`build(N=6, ...)`: a random student as the run's, with some widths or blocks changed; always the same weights."""

    def make(**changes: Any) -> Fu2023:
        torch.manual_seed(1)
        return Fu2023.from_configuration({**FIXED, **STUDENT, **changes}).eval()

    return make


@pytest.fixture
def changed():
    """`changed(run, optimiser={...}, ...)`: a copy of a run with some values of its parts replaced."""

    def change(run: Run, **parts: Any) -> Run:
        new = {
            name: msgspec.structs.replace(part, **parts[name]) if isinstance(part, msgspec.Struct) else parts[name]
            for name, part in ((name, getattr(run, name)) for name in parts)
        }
        return msgspec.structs.replace(run, **new)

    return change
