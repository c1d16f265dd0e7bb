"""benchmarks/demo.py: the figures it prints and the picture it leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_student

import fastlic
from fastlic.benchmarks import demo
from fastlic.runtime import pictures


def test_side_by_side_holds_both_pictures_untouched(rng: np.random.Generator) -> None:
    first, second = rng.integers(0, 256, (2, 20, 300, 3), dtype=np.uint8)

    sheet = np.asarray(demo.side_by_side(first, second, ("original", "decoded")))

    np.testing.assert_array_equal(sheet[:20, :300], first)
    np.testing.assert_array_equal(sheet[:20, -300:], second)
    assert sheet[20:].min() < 128  # the captions


def test_main_leaves_file_picture_and_comparison_and_prints_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    pictures.save(photo, tiny_student.picture(40, 60), {})
    bundle = tiny_student.bundle_bytes()
    encoder, decoder = fastlic.Encoder, fastlic.Decoder
    monkeypatch.setattr(fastlic, "Encoder", lambda: encoder(bundle, threads=1))
    monkeypatch.setattr(fastlic, "Decoder", lambda: decoder(bundle, threads=1))
    monkeypatch.setattr(sys, "argv", ["demo", str(photo), "--output", str(tmp_path / "demo")])

    demo.main()

    left = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert left == ["photo.decoded.png", "photo.lic", "photo.side-by-side.png"]
    size = (tmp_path / "demo/photo.lic").stat().st_size
    printed = capsys.readouterr().out
    assert f"{size} bytes  {8 * size / 2400:.4f} bpp" in printed
    assert "synthesis" in printed
