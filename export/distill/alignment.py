"""Feature alignment: how far a student's intermediate features are from its teacher's, after each of their stages.

Knows where stages end; knows nothing of losses or schedules. Widths may differ: a learnt 1x1 convolution maps the
student's features to the teacher's, and is thrown away with the teacher. Source: the feature alignment of FEDS (Fu et
al. 2025) and KDIC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.students.fu2023 import Fu2023

STAGES = ("g_a.0", "g_a.2", "g_a.5", "g_s.2", "g_s.4", "g_s.7")
"""The deformable residual modules: the blocks that change the resolution, which every configuration has."""

Features = dict[str, Tensor]


@contextmanager
def listening(model: Fu2023) -> Iterator[Features]:
    """Collect the outputs of the stages of every evaluation within; later ones replace earlier ones."""
    heard: Features = {}

    def listen_to(stage: str) -> torch.utils.hooks.RemovableHandle:
        def hear(module: nn.Module, inputs: object, output: Tensor) -> None:
            heard[stage] = output

        return model.get_submodule(stage).register_forward_hook(hear)

    handles = [listen_to(stage) for stage in STAGES]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


class Alignment(nn.Module):
    """The learnt maps from a student's stages to its teacher's."""

    def __init__(self, student: Fu2023, teacher: Fu2023) -> None:
        super().__init__()
        mine, theirs = student.configuration.N, teacher.configuration.N
        # Module names must not contain dots.
        self.maps = nn.ModuleDict({stage.replace(".", "_"): nn.Conv2d(mine, theirs, 1) for stage in STAGES})

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Mean over the stages of |map(student) - teacher|^2 / |teacher|^2: a scalar.

        Args:
            student: by stage, (B, N of the student, h, w) float.
            teacher: by stage, (B, N of the teacher, h, w) float; no gradient goes there.
        """
        distances = []
        for stage in STAGES:
            aim = teacher[stage].detach().float()
            # Stages differ in scale by orders of magnitude: relative to its power, each counts the same.
            error = functional.mse_loss(self.maps[stage.replace(".", "_")](student[stage].float()), aim)
            distances.append(error / aim.square().mean().clamp_min(1e-12))
        return torch.stack(distances).mean()
