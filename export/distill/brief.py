"""Train a student of any family for a few hundred steps: enough that its statistics are not those of random weights.

Knows what every family's evaluation offers: a picture and likelihoods. Real training (schedules, averages, states on
disk, teachers of the same family) is `trainer`'s matter. Used for the conformance students and in tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.distill.latents import LatentTeacher
from fastlic.export.students.factorised import FactorisedPrior

QUANTILE_RATE = 1e-2
"""Learning rate of the priors' quantiles, which have few steps to travel far."""


class Coded(Protocol):
    """An evaluation: decoded picture in [0, 1], likelihoods of all that is coded; `y` where a teacher needs it."""

    picture: Tensor

    def likelihoods(self) -> tuple[Tensor, ...]:
        """Of every latent, bounded from below."""


@dataclass(frozen=True)
class Lesson:
    """How long and how hard: `trade_off` x squared error (0-255 scale) + bits per pixel, + `weight` x teacher.

    `train`: name prefixes of the trained parameters, empty for all: stages are lessons one after the other.
    """

    steps: int
    trade_off: float
    learning_rate: float = 1e-3
    batch: int = 4
    patch: int = 64
    weight: float = 0.0
    seed: int = 0
    train: tuple[str, ...] = ()


def train(
    model: nn.Module, pictures: Sequence[np.ndarray], lesson: Lesson, teacher: LatentTeacher | None = None
) -> list[dict[str, float]]:
    """Train in place.

    Args:
        model: called with (picture, quantise, rate) as all families are; several rates are drawn as it likes.
        pictures: uint8 (H, W, 3), at least one patch large.
        lesson: how.
        teacher: adds its loss on `y`.

    Returns:
        Per step: loss, bpp, mse (0-255 scale) and the teacher's distance.
    """
    generator = torch.Generator().manual_seed(lesson.seed)
    torch.manual_seed(lesson.seed)
    priors = [module for module in model.modules() if isinstance(module, FactorisedPrior)]
    quantiles = [prior.quantiles for prior in priors]
    learnt = [
        parameter
        for name, parameter in model.named_parameters()
        if name.startswith(lesson.train or "") and all(parameter is not quantile for quantile in quantiles)
    ]
    learnt += list(teacher.adapter.parameters()) if teacher else []
    groups: list[dict[str, Any]] = [{"params": learnt}, {"params": quantiles, "lr": QUANTILE_RATE}]
    optimiser = torch.optim.Adam(groups, lr=lesson.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, lesson.steps, lesson.learning_rate / 20)
    stacked = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    rows = []
    for _ in range(lesson.steps):
        picture = torch.stack([_patch(stacked, lesson.patch, generator) for _ in range(lesson.batch)])
        coded = model(picture, straight_through, lambda x: x + torch.rand(x.shape, generator=generator) - 0.5)
        row = _losses(coded, picture)
        total = row["loss"] = lesson.trade_off * weight_of(coded) * row["mse"] + row["bpp"]
        row["distance"] = teacher(coded.y, picture) if teacher else torch.zeros(())
        total = total + lesson.weight * row["distance"] + sum(prior.quantile_loss() for prior in priors)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        if bool(torch.isfinite(nn.utils.clip_grad_norm_(learnt, 1.0))):
            optimiser.step()
        schedule.step()
        rows.append({key: float(value.detach()) for key, value in row.items()})
    return rows


def straight_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


def _losses(coded: Coded, picture: Tensor) -> dict[str, Tensor]:
    pixels = picture.shape[0] * picture.shape[2] * picture.shape[3]
    bits = sum(-torch.log2(part).sum() for part in coded.likelihoods())
    return {"mse": 255**2 * functional.mse_loss(coded.picture, picture), "bpp": torch.as_tensor(bits) / pixels}


def weight_of(coded: Any) -> Any:
    """What the squared error counts at the rate that a student of several rates drew; 1 for others."""
    return getattr(coded, "weight", 1.0)


def _patch(pictures: Sequence[Tensor], edge: int, generator: torch.Generator) -> Tensor:
    """A random (3, edge, edge) float patch in [0, 1]."""

    def drawn(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    picture = pictures[drawn(len(pictures))]
    top, left = drawn(picture.shape[1] - edge + 1), drawn(picture.shape[2] - edge + 1)
    return picture[:, top : top + edge, left : left + edge].float() / 255
