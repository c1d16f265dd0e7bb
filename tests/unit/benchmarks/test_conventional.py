from __future__ import annotations

import numpy as np
import pytest

from fastlic.benchmarks.conventional import missing, settings
from fastlic.benchmarks.quality import psnr


def _by_codec() -> dict[str, list]:
    found: dict[str, list] = {}
    for setting in settings():
        found.setdefault(setting.codec, []).append(setting)
    return found


@pytest.mark.parametrize("codec", sorted(_by_codec()))
def test_settings_span_rates_and_qualities(codec, rng):
    picture = np.kron(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    first, *_, last = _by_codec()[codec]

    sizes, decoded = zip(*(setting.run(picture) for setting in (first, last)), strict=True)

    assert all(found.shape == picture.shape for found in decoded)
    assert sizes[0] < sizes[1]
    assert psnr(picture, decoded[0]) < psnr(picture, decoded[1])


def test_every_codec_is_either_run_or_named_as_missing():
    assert set(_by_codec()) | set(missing()) == {"JPEG", "WebP", "JPEG 2000", "AVIF"}
    assert not set(_by_codec()) & set(missing())
