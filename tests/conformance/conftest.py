"""Pictures that a trained student codes with real statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def kodim23() -> np.ndarray:
    """A photograph, uint8 (512, 768, 3)."""
    return np.asarray(Image.open(Path(__file__).parents[1] / "data" / "kodim23.png").convert("RGB"))
