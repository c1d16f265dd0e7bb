from __future__ import annotations

import pytest
import torch
from fu2023_settings import settings

from fastlic.export.students import from_configuration
from fastlic.export.students.fu2023 import Fu2023


@pytest.fixture
def student() -> Fu2023:
    torch.manual_seed(5)
    return from_configuration(settings()).eval()


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
def test_student_each_configuration_keeps_its_positions_and_codes_a_picture(attention, blocks):
    model = from_configuration(settings(attention=attention, residual_blocks=blocks)).eval()

    positions = sorted({int(key.split(".")[1]) for key in model.state_dict() if key.startswith("g_s.")})
    assert positions == sorted([2, 4, 7, 9] + [0, 5] * attention + [1, 3, 6, 8] * blocks)
    with torch.no_grad():
        coded = model(torch.rand(1, 3, 64, 128))
    assert coded.picture.shape == (1, 3, 64, 128)
    assert coded.y.shape == (1, 6, 4, 8)
    assert coded.z.shape == (1, 5, 1, 2)
    assert coded.anchor_likelihood.shape == coded.nonanchor_likelihood.shape == (1, 6, 4, 4)


@pytest.mark.parametrize("attention", [False, True])
def test_widths_of_reads_what_the_configuration_said(attention):
    raw = settings(attention=attention, residual_blocks=True)
    model = from_configuration(raw)

    seen = Fu2023.widths_of(model.state_dict())

    assert seen == {key: raw[key] for key in seen}
    assert set(seen) == {"N", "M", "hyper_channels", "pen_hidden", "attention", "residual_blocks"}


def test_widths_of_foreign_tensors_claims_little():
    assert Fu2023.widths_of({"g_a.7.weight": torch.zeros(())}) == {"attention": False, "residual_blocks": False}


def test_context_dead_taps_change_nothing(student):
    x = torch.randn(1, 6, 6, 6)
    before = student.context(x)

    dead = (torch.arange(5)[:, None] + torch.arange(5)) % 2 == 0
    with torch.no_grad():
        student.context.weight[:, :, dead] = 1e6

    assert int((~dead).sum()) == 12
    assert torch.equal(student.context(x), before)


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_parameters_of_anchors_depend_on_no_latent_and_others_on_anchors_alone(parity):
    model = from_configuration(settings(anchor_parity=parity)).eval()
    picture = torch.rand(1, 3, 64, 64)
    anchors = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == (parity == "odd")

    def coded(change: torch.Tensor):
        with torch.no_grad():
            return model(picture, lambda y: torch.round(y) + 3 * change)

    base, others_moved, anchors_moved = coded(torch.zeros(4, 4)), coded((~anchors).float()), coded(anchors.float())

    assert torch.equal(base.anchor_parameters, anchors_moved.anchor_parameters)
    assert torch.equal(base.nonanchor_parameters, others_moved.nonanchor_parameters)
    assert not torch.equal(base.nonanchor_parameters, anchors_moved.nonanchor_parameters)


def test_z_on_grid_keeps_medians_off_the_integers(student):
    with torch.no_grad():
        student.entropy_bottleneck.quantiles[:, 0, 1] = 0.3

    found = student.z_on_grid(torch.tensor([1.1, -0.9, 0.3, 0.9, 7.0]).view(1, 5, 1, 1))

    assert torch.allclose(found.flatten().detach(), torch.tensor([1.3, -0.7, 0.3, 1.3, 7.3]))


def test_untrained_hyper_latent_uses_several_levels(student):
    torch.manual_seed(6)
    model = from_configuration(settings(M=32, hyper_channels=16))
    with torch.no_grad():
        z = model.h_a(3 * torch.randn(2, 32, 16, 16))

    # A start that rounds to zero everywhere is the collapse that the initialisation is there to prevent.
    assert float(z.std()) > 1
