from __future__ import annotations

import pytest
import torch

from fastlic.export.distill.alignment import STAGES, Alignment, listening


@pytest.fixture
def features():
    def draw(width: int, seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {stage: torch.randn(1, width, 4, 4, generator=generator) for stage in STAGES}

    return draw


def _identity(alignment: Alignment) -> Alignment:
    for layer in alignment.maps.values():
        torch.nn.init.dirac_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return alignment


def test_listening_hears_every_stage_and_nothing_afterwards(build):
    model, picture = build(), torch.rand(1, 3, 64, 64)

    with listening(model) as heard, torch.no_grad():
        model(picture)
    first = dict(heard)
    with torch.no_grad():
        model(picture)

    assert {stage: tuple(value.shape) for stage, value in first.items()} == {
        "g_a.0": (1, 4, 32, 32), "g_a.2": (1, 4, 16, 16), "g_a.5": (1, 4, 8, 8),
        "g_s.2": (1, 4, 8, 8), "g_s.4": (1, 4, 16, 16), "g_s.7": (1, 4, 32, 32),
    }  # fmt: skip
    assert all(heard[stage] is first[stage] for stage in STAGES)


def test_alignment_of_equal_features_is_zero_whatever_their_scale(build, features):
    alignment = _identity(Alignment(build(), build()))
    mine = features(4, 0)

    assert alignment(mine, mine).item() == 0
    assert float(alignment({stage: value * 0 for stage, value in mine.items()}, mine)) == pytest.approx(1)
    thousandfold = {stage: value * 1000 for stage, value in features(4, 1).items()}
    none = {stage: value * 0 for stage, value in mine.items()}
    assert float(alignment(none, thousandfold)) == pytest.approx(1)


def test_alignment_maps_another_width_and_gives_the_teacher_no_gradient(build, features):
    alignment = Alignment(build(), build(N=6))
    mine, theirs = features(4, 0), features(6, 1)
    for value in (*mine.values(), *theirs.values()):
        value.requires_grad_()

    alignment(mine, theirs).backward()

    assert all(value.grad is not None and bool(value.grad.any()) for value in mine.values())
    assert all(value.grad is None for value in theirs.values())
    assert all(bool(parameter.grad.any()) for parameter in alignment.parameters())
