"""How near a decoded picture is to its source: PSNR in RGB and MS-SSIM.

Knows two pictures; knows nothing of codecs.
"""

from __future__ import annotations

import math

import numpy as np

MS_SSIM_MINIMUM = 161
"""Pixels that the shorter side must have: five scales of an 11-pixel window."""


def psnr(source: np.ndarray, decoded: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all three channels together.

    Args:
        source: (height, width, 3) uint8.
        decoded: likewise.

    Returns:
        dB; infinite for equal pictures.
    """
    error = float(np.mean(np.square(source.astype(np.float64) - decoded)))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ms_ssim(source: np.ndarray, decoded: np.ndarray) -> float:
    """Multi-scale structural similarity in RGB, as the published anchors have it.

    Args:
        source: (height, width, 3) uint8, no side shorter than 161.
        decoded: likewise.

    Returns:
        At most 1, which equal pictures have.

    Raises:
        ImportError: pytorch-msssim is not installed; it comes with `fastlic[bench]` and torch.
    """
    import torch
    from pytorch_msssim import ms_ssim as similarity

    one, other = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None].float() for x in (source, decoded))
    return float(similarity(one, other, data_range=255.0))


def ms_ssim_db(value: float) -> float:
    """-10 log10(1 - MS-SSIM): spreads the values near 1, for plots and BD-rate."""
    return -10 * math.log10(max(1e-9, 1 - value))
