"""Look at a student on full pictures, with rounded latents: what patches hide.

Patches of 128 pixels see a hyper latent of 2 x 2 elements and no outliers: a student can promise a rate there and need
several times as much on a picture. So z's share and the elements below 1e-7 are watched on full pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fastlic.export.students.fu2023 import Fu2023

RARE = 1e-7


@dataclass(frozen=True)
class Figures:
    """Of one picture, or a mean over several.

    Bits come from the likelihoods, PSNR (RGB, dB) and squared error from the 8-bit reconstruction.
    `zero_channels`: latent channels that round to zero everywhere; `rare`: elements of a likelihood below 1e-7.
    """

    bits_z: float
    bits_anchor: float
    bits_nonanchor: float
    bpp: float
    psnr: float
    mse: float
    zero_channels: float
    largest: float
    rare: float

    @property
    def z_share(self) -> float:
        """Share of the bits that z takes."""
        return self.bits_z / max(1e-9, self.bits_z + self.bits_anchor + self.bits_nonanchor)


@torch.no_grad()
def measure(model: Fu2023, picture: Tensor) -> Figures:
    """Code one picture in float.

    Args:
        model: in evaluation mode.
        picture: (1, 3, H, W) float in [0, 1], H and W multiples of 64.

    Returns:
        Its figures.
    """
    coded = model(picture)
    bits = [float(-torch.log2(part.double()).sum()) for part in coded.likelihoods()]
    levels = (coded.picture.float() * 255).round().clamp(0, 255)
    mse = float((levels - picture * 255).square().mean())
    latent = torch.round(coded.y)
    return Figures(
        bits_z=bits[0],
        bits_anchor=bits[1],
        bits_nonanchor=bits[2],
        bpp=sum(bits) / (picture.shape[2] * picture.shape[3]),
        psnr=10 * math.log10(255**2 / max(mse, 1e-9)),
        mse=mse,
        zero_channels=float((latent == 0).all(-1).all(-1).sum()),
        largest=float(latent.abs().max()),
        rare=float(sum((part < RARE).sum() for part in coded.likelihoods())),
    )


def measure_all(model: Fu2023, pictures: list[Tensor]) -> Figures:
    """Mean of the figures over pictures; `largest` is the largest of all."""
    each = [measure(model, picture) for picture in pictures]
    means = {field.name: sum(getattr(one, field.name) for one in each) / len(each) for field in fields(Figures)}
    return Figures(**{**means, "largest": max(one.largest for one in each)})
