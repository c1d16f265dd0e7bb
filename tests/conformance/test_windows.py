"""A transform evaluated in windows shows no seam: trained weights, a photograph, windows far below the default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastlic.runtime.bundle import shipped
from fastlic.runtime.codec import Decoder, Encoder


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_shipped_student_decoded_in_windows_differs_by_at_most_one_level(
    path: Path, kodim23: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Encoder(path, threads=1) as encoder, Decoder(path, threads=1) as decoder:
        data = encoder.encode(kodim23)
        whole = decoder.decode(data).astype(int)
        monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 256)
        in_windows = decoder.decode(data).astype(int)

    assert np.abs(in_windows - whole).max() <= 1
