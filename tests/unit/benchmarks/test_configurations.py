"""benchmarks/configurations.py: the checkpoints it writes, at a width that takes milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_student

import fastlic
from fastlic.benchmarks.configurations import (
    CONFIGURATIONS,
    DEVIATION,
    ENCODE,
    Configuration,
    measure,
    write_checkpoint,
)
from fastlic.benchmarks.stages import WHOLE


def test_configurations_are_the_papers_widths() -> None:
    assert [(c.N, c.full) for c in CONFIGURATIONS.values()] == [(128, True), (128, False), (96, True), (64, True)]


@pytest.mark.parametrize("full", [True, False])
def test_checkpoint_loads_and_its_latents_have_the_deviation(tmp_path: Path, full: bool) -> None:
    torch = pytest.importorskip("torch", reason="writes checkpoints")
    from fastlic.export import checkpoint

    picture = tiny_student.picture(64, 128)

    write_checkpoint(Configuration(8, full, 0.0, 0.0), tmp_path / "small.pt", picture)

    model = checkpoint.load(tmp_path / "small.pt").model
    with torch.no_grad():
        deviation = model.g_a(torch.tensor(picture).permute(2, 0, 1)[None].float() / 255).std().item()
    assert deviation == pytest.approx(DEVIATION, rel=0.05)
    assert model.configuration.attention is full


def test_measure_times_encoding_and_decoding_without_the_warm_up(tmp_path: Path) -> None:
    path = tmp_path / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    image = tiny_student.picture(64, 128)

    stages, bpp = measure({"tiny": path}, [image, image], threads=1, rounds=2)["tiny"]

    assert stages[ENCODE].count == stages[WHOLE].count == 4
    assert stages[ENCODE].median > 0
    with fastlic.Encoder(path) as encoder:
        assert bpp == 8 * len(encoder.encode(image)) / (64 * 128)
