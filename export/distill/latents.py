"""How far a student's latent is from its teacher's: a distillation loss where there are no parameters to compare.

Knows latents; knows nothing of what they are coded with. Source: seed 004 (ILC learns its teacher's latent).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlic.errors import ConfigurationError


def latent_distance(student: Tensor, teacher: Tensor, channel: Tensor | None = None) -> Tensor:
    """Mean squared difference of two latents, a scalar; no gradient reaches the teacher.

    Args:
        student: (B, M, h, w) float.
        teacher: the same shape.
        channel: (M) float of mean 1, what each channel counts; None: all alike.
    """
    difference = (student.float() - teacher.detach().float()).square().mean((0, 2, 3))
    return (difference if channel is None else difference * channel).mean()


class LatentTeacher(nn.Module):
    """A frozen teacher whose latent a student of another width or family learns to reach.

    A 1x1 convolution, which is trained with the student and thrown away afterwards, brings the student's channels to
    the teacher's; between equal numbers of channels it starts as the identity.

    Args:
        model: gives `y` (B, M, h, w) of a picture when called.
        channels: of the student's latent.
        size: (height, width) of the student's latent for a picture of 64 x 64 pixels.

    Raises:
        ConfigurationError: the teacher's latent has another resolution than the student's.
    """

    def __init__(self, model: nn.Module, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        with torch.no_grad():
            _, wanted, *theirs = model(torch.zeros(1, 3, 64, 64)).y.shape
        if tuple(theirs) != tuple(size):
            raise ConfigurationError(
                f"the teacher's latent has {theirs[0]} x {theirs[1]} elements for 64 x 64 pixels, the student's "
                f"{size[0]} x {size[1]}. Choose a teacher of the same resolution"
            )
        self.adapter = nn.Conv2d(channels, wanted, 1, bias=False)
        if channels == wanted:
            nn.init.dirac_(self.adapter.weight)

    def forward(self, y: Tensor, picture: Tensor) -> Tensor:
        """The loss: distance of y (B, C, h, w), adapted, from the teacher's latent of `picture` (B, 3, H, W)."""
        with torch.no_grad():
            wanted = self.model(picture).y
        return latent_distance(self.adapter(y), wanted)
