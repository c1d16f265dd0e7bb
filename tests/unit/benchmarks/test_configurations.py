"""benchmarks/configurations.py: the checkpoints it writes, at a width that takes milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_student

from fastlic.benchmarks.configurations import CONFIGURATIONS, DEVIATION, Configuration, write_checkpoint


def test_configurations_are_the_papers_widths() -> None:
    assert [(c.N, c.full) for c in CONFIGURATIONS.values()] == [(128, True), (128, False), (96, True), (64, True)]


@pytest.mark.parametrize("full", [True, False])
def test_checkpoint_loads_and_its_latents_have_the_deviation(tmp_path: Path, full: bool) -> None:
    torch = pytest.importorskip("torch", reason="writes checkpoints")
    from fastlic.export import checkpoint

    picture = tiny_student.picture(64, 128)

    write_checkpoint(Configuration(8, full, 0.0), tmp_path / "small.pt", picture)

    model = checkpoint.load(tmp_path / "small.pt").model
    with torch.no_grad():
        deviation = model.g_a(torch.tensor(picture).permute(2, 0, 1)[None].float() / 255).std().item()
    assert deviation == pytest.approx(DEVIATION, rel=0.05)
    assert model.configuration.attention is full
