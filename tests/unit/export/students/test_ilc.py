"""ILC: invertible up to float32, z replaced by its mode and a configuration without gaps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastlic.errors import CheckpointError
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
