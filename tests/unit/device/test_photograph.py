"""A photograph, encoded by the shipped student on the CPU, decoded on the emulated device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulation.cuda import EmulatedCuda
from PIL import Image

from fastlic.kernels import native
from fastlic.runtime.bundle import shipped
from fastlic.runtime.codec import Decoder, Encoder

PICTURE = Path(__file__).parents[2] / "data" / "kodim23.png"
STUDENT = next(path for path in shipped() if "n64-m128-l0075" in path.stem)


@pytest.mark.skipif(not native.available(), reason="the native module was not built")
def test_photograph_decoded_on_the_device_has_every_symbol_and_pixel(
    cuda: EmulatedCuda, open_decoder: Callable[..., Decoder]
) -> None:
    """All symbols, or there would be no picture; all pixels, since the same library runs the synthesis."""
    picture = np.asarray(Image.open(PICTURE))
    with Encoder(STUDENT, threads=1) as encoder, Decoder(STUDENT, threads=1) as host:
        data = encoder.encode(picture)
        expected = host.decode(data)

    decoded = open_decoder(STUDENT).decode(data)

    np.testing.assert_array_equal(decoded, expected)
    assert cuda.launches.count("mixture_rows_1x3") == cuda.launches.count("mixture_rows_3x3") == 1
