"""A few hundred steps of any family: the loss falls, a teacher is followed, stages leave the rest alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastlic.export.calibration import made_up
from fastlic.export.distill.brief import Lesson, train
from fastlic.export.distill.latents import LatentTeacher
from fastlic.export.students.ilc import Ilc

CONFIGURATION: dict[str, Any] = {
    "student": "ilc",
    "kernels": [3, 3],
    "hidden": [4, 4],
    "couplings": 1,
    "bound": 1.0,
    "gain": 32.0,
    "prior": "deep factorised (CompressAI key names)",
}


def test_training_lowers_the_loss_and_the_distance_to_a_teacher() -> None:
    torch.manual_seed(0)
    student, model = (Ilc.from_configuration(CONFIGURATION) for _ in range(2))
    teacher = LatentTeacher(model, channels=16, size=(16, 16))
    lesson = Lesson(steps=60, trade_off=0.01, learning_rate=5e-3, batch=2, patch=32, weight=1.0)

    rows = train(student, made_up(2, 64), lesson, teacher)

    for key in ("loss", "distance"):  # patches differ from step to step, so means are compared
        first, last = (np.mean([row[key] for row in part]) for part in (rows[:8], rows[-8:]))
        assert last < 0.8 * first, key


def test_stage_of_training_leaves_other_parameters_alone() -> None:
    torch.manual_seed(0)
    student = Ilc.from_configuration(CONFIGURATION)
    before = {name: parameter.clone() for name, parameter in student.named_parameters()}

    train(student, made_up(1, 64), Lesson(steps=2, trade_off=0.01, batch=1, patch=32, train=("layers.1.", "layers.2.")))

    changed = {name for name, parameter in student.named_parameters() if not torch.equal(parameter, before[name])}
    assert "layers.1.weight" in changed
    assert all(name.startswith(("layers.1.", "layers.2.")) or name.endswith("quantiles") for name in changed)
