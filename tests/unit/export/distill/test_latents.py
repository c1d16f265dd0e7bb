"""The distance of latents: weighed by channel, without a gradient to the teacher, at one resolution only."""

from __future__ import annotations

import pytest
import torch

from fastlic.errors import ConfigurationError
from fastlic.export.distill.latents import LatentTeacher, latent_distance
from fastlic.export.students.ilc import Ilc


def test_latent_distance_weighs_channels_and_leaves_the_teacher_alone() -> None:
    student, teacher = torch.zeros(1, 2, 1, 1, requires_grad=True), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    teacher.requires_grad_()

    distance = latent_distance(student, teacher, torch.tensor([2.0, 0.0]))
    distance.backward()

    assert float(distance.detach()) == 1.0
    assert teacher.grad is None


def test_teacher_of_another_resolution_is_refused() -> None:
    told = {"kernels": [3], "hidden": [4], "couplings": 1, "bound": 1.0, "gain": 32.0}
    model = Ilc.from_configuration({**told, "prior": "deep factorised (CompressAI key names)"})

    with pytest.raises(ConfigurationError, match="32 x 32 elements for 64 x 64 pixels, the student's 16 x 16"):
        LatentTeacher(model, channels=16, size=(16, 16))
