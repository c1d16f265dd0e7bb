"""ILC: invertible up to float32, z replaced by its mode, a configuration without gaps, a latent it can be taught."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastlic.errors import CheckpointError, ConfigurationError
from fastlic.export.calibration import made_up
from fastlic.export.distill.brief import Lesson, train
from fastlic.export.distill.latents import LatentTeacher, latent_distance
from fastlic.export.students import from_configuration
from fastlic.export.students.ilc import Ilc

CONFIGURATION: dict[str, Any] = {
    "student": "ilc",
    "kernels": [5, 3],
    "hidden": [6, 8],
    "couplings": 2,
    "bound": 1.0,
    "gain": 32.0,
    "prior": "deep factorised (CompressAI key names)",
}


@pytest.fixture
def student() -> Ilc:
    torch.manual_seed(2)
    model = Ilc.from_configuration(CONFIGURATION)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return model


def test_full_latent_gives_the_picture_back_within_1e_4(student: Ilc) -> None:
    picture = torch.rand(1, 3, 32, 48)

    with torch.no_grad():
        y, z = student.encode(picture)
        back = student.inverse(fixed=True)(y, z)

    assert y.shape == (1, 16, 8, 12)
    assert z.shape == (1, 32, 8, 12)
    assert float((back - picture).abs().max()) < 1e-4


def test_decoder_replaces_z_by_its_mode(student: Ilc) -> None:
    y = torch.randn(1, 16, 4, 4)

    with torch.no_grad():
        assert torch.equal(student.inverse()(y), student.inverse()(y, torch.zeros(1, 32, 4, 4)))


def test_full_size_has_the_latent_of_the_seed() -> None:
    """768 x 512: 256 channels of 32 x 48."""
    full = {**CONFIGURATION, "kernels": [5, 5, 3, 3], "hidden": [4, 4, 4, 4], "couplings": 1}
    model = Ilc.from_configuration(full)

    with torch.no_grad():
        y, z = model.encode(torch.rand(1, 3, 64, 96))

    assert (tuple(y.shape), tuple(z.shape)) == ((1, 256, 4, 6), (1, 512, 4, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bound": ...}, "missing required field `bound`"),
        ({"colour": 1}, "unknown field `colour`"),
        ({"kernels": [4, 3]}, "'kernels' is .* but must be odd"),
        ({"hidden": [6]}, "as many widths as there are kernels"),
        ({"prior": "something"}, "Invalid enum value 'something'"),
        ({"gain": 0}, "gain"),
    ],
)
def test_configuration_that_is_wrong_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    raw = {key: value for key, value in {**CONFIGURATION, **change}.items() if value is not ...}

    with pytest.raises(CheckpointError, match=message):
        from_configuration(raw)


def test_configuration_is_written_as_it_was_read(student: Ilc) -> None:
    assert student.to_mapping() == CONFIGURATION


def test_training_lowers_the_loss_and_the_distance_to_a_teacher() -> None:
    torch.manual_seed(0)
    student, model = (Ilc.from_configuration(CONFIGURATION) for _ in range(2))
    teacher = LatentTeacher(model, channels=16, size=(16, 16))
    lesson = Lesson(steps=25, trade_off=0.01, learning_rate=3e-3, batch=1, patch=32, weight=1.0)

    rows = train(student, made_up(2, 64), lesson, teacher)

    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["distance"] < 0.8 * rows[0]["distance"]


def test_stage_of_training_leaves_other_parameters_alone() -> None:
    torch.manual_seed(0)
    student = Ilc.from_configuration(CONFIGURATION)
    before = {name: parameter.clone() for name, parameter in student.named_parameters()}

    train(student, made_up(1, 64), Lesson(steps=2, trade_off=0.01, batch=1, patch=32, train=("layers.1.", "layers.2.")))

    changed = {name for name, parameter in student.named_parameters() if not torch.equal(parameter, before[name])}
    assert "layers.1.weight" in changed
    assert all(name.startswith(("layers.1.", "layers.2.")) or name.endswith("quantiles") for name in changed)


def test_latent_distance_weighs_channels_and_leaves_the_teacher_alone() -> None:
    student, teacher = torch.zeros(1, 2, 1, 1, requires_grad=True), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    teacher.requires_grad_()

    distance = latent_distance(student, teacher, torch.tensor([2.0, 0.0]))
    distance.backward()

    assert float(distance.detach()) == 1.0
    assert teacher.grad is None


def test_teacher_of_another_resolution_is_refused() -> None:
    model = Ilc.from_configuration({**CONFIGURATION, "kernels": [3], "hidden": [4]})

    with pytest.raises(ConfigurationError, match="32 x 32 elements for 64 x 64 pixels, the student's 16 x 16"):
        LatentTeacher(model, channels=16, size=(16, 16))
