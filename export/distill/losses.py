"""Losses of the three training steps.

Knows evaluations of students; knows nothing of optimisers or data. Source: Fu et al. 2023, section on knowledge
distillation: L = lambda1 D + R(y) + R(z) + lambda2 |y|_1, and for a student lambda3 (d(x) + d(theta1) + d(theta2)) on
top, d = MSE.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fastlic.export.distill.configuration import Loss, Teacher
from fastlic.export.distill.latents import latent_distance
from fastlic.export.students.fu2023 import Coded


@dataclass(frozen=True)
class RateDistortion:
    """Scalars of one batch: loss, bits per pixel of z and of both halves of y, squared error on the 0-255 scale."""

    total: Tensor
    z_bpp: Tensor
    anchor_bpp: Tensor
    nonanchor_bpp: Tensor
    mse: Tensor

    @property
    def bpp(self) -> Tensor:
        """All bits per pixel."""
        return self.z_bpp + self.anchor_bpp + self.nonanchor_bpp


def rate_distortion(coded: Coded, picture: Tensor, loss: Loss, iteration: int) -> RateDistortion:
    """A network's own loss.

    Args:
        coded: evaluation of `picture`, (B, 3, H, W) float in [0, 1].
        picture: what was coded.
        loss: weights.
        iteration: decides whether the L1 term still counts, and how much z does.

    Returns:
        The loss and its parts.
    """
    pixels = picture.shape[0] * picture.shape[2] * picture.shape[3]
    z_bpp, anchor_bpp, nonanchor_bpp = (-torch.log2(part).sum() / pixels for part in coded.likelihoods())
    seen = coded.picture.float()
    mse = 255**2 * functional.mse_loss(seen, picture)
    distortion = mse if loss.distortion == "mse" else _ms_ssim_loss(seen, picture)
    total = loss.trade_off * distortion + hyper_weight(iteration, loss) * z_bpp + anchor_bpp + nonanchor_bpp
    if loss.sparsity and iteration < loss.sparsity_iterations:
        total = total + loss.sparsity * coded.y.float().abs().sum() / pixels
    return RateDistortion(total, z_bpp, anchor_bpp, nonanchor_bpp, mse)


def hyper_weight(iteration: int, loss: Loss) -> float:
    """How much the rate of z counts at an iteration: from `hyper` up to 1, in a straight line."""
    if iteration >= loss.hyper_iterations:
        return 1.0
    return loss.hyper + (1 - loss.hyper) * iteration / loss.hyper_iterations


def imitation(student: Coded, teacher: Coded, weights: Teacher) -> Tensor:
    """How far a student is from its teacher on the same batch: a scalar, lambda3 not yet applied.

    Args:
        student: may have another width, but the same number of latent channels where its latent or parameters are
            compared.
        teacher: evaluated without gradient, or detached here.
        weights: shares of the parts.
    """
    total = weights.picture * functional.mse_loss(student.picture.float(), teacher.picture.detach().float())
    for share, name in ((weights.anchors, "anchor_parameters"), (weights.nonanchors, "nonanchor_parameters")):
        if share:
            total = total + share * functional.mse_loss(
                getattr(student, name).float(), getattr(teacher, name).detach().float()
            )
    if weights.latent:
        channel = channel_emphasis(teacher) if weights.emphasis else None
        total = total + weights.latent * latent_distance(student.y, teacher.y, channel)
    return total


def channel_emphasis(teacher: Coded) -> Tensor:
    """(M) float of mean 1: each latent channel's share of the bits that the teacher spends on its latent."""
    bits = torch.zeros(teacher.y.shape[1], device=teacher.y.device)
    for likelihood in (teacher.anchor_likelihood, teacher.nonanchor_likelihood):
        bits = bits - torch.log2(likelihood.detach()).sum((0, 2, 3))
    return bits / bits.mean().clamp_min(1e-12)


def _ms_ssim_loss(seen: Tensor, picture: Tensor) -> Tensor:
    from pytorch_msssim import ms_ssim

    # Five scales with the usual window of 11 need 160 pixels; smaller patches take a smaller window.
    window = 11 if min(picture.shape[-2:]) > 160 else 7
    return 1 - ms_ssim(seen, picture, data_range=1.0, win_size=window)
