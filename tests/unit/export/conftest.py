"""Tiny untrained students of every kind."""

from __future__ import annotations

import pytest
import torch

from fastlic.export.students.configuration import GDN, INPUT, ORDER, PRIOR, SCALE
from fastlic.export.students.fu2023 import Fu2023

TINY = {
    "student": "fu2023",
    "N": 8,
    "M": 6,
    "hyper_channels": 5,
    "pen_hidden": [12, 10],
    "attention": False,
    "residual_blocks": False,
    "leaky_slope": 0.01,
    "anchor_parity": "even",
    "parameter_order": ORDER,
    "scale_activation": SCALE,
    "gdn": GDN,
    "prior": PRIOR,
    "input": INPUT,
}
VARIANTS = {
    "plain": {},
    "odd anchors": {"anchor_parity": "odd"},
    "steep slope": {"leaky_slope": 0.2},
    "no slope": {"leaky_slope": 0.0},
    "one hidden layer": {"pen_hidden": [9]},
    "everything on": {"attention": True, "residual_blocks": True},
}


def student(**changes: object) -> Fu2023:
    """An untrained tiny student in evaluation mode, its entropy networks as lively as trained ones."""
    torch.manual_seed(3)
    model = Fu2023.from_configuration({**TINY, **changes}).eval()
    with torch.no_grad():
        model.entropy_bottleneck.quantiles[:, 0, 1] = torch.linspace(-1.4, 2.3, model.configuration.hyper_channels)
        for network in (model.h_s, model.context, model.pen_anchor, model.pen_nonanchor):
            for weight in network.parameters():
                weight.mul_(1.5)
    return model


@pytest.fixture(scope="session")
def tiny() -> Fu2023:
    """A tiny student."""
    return student()


@pytest.fixture(scope="session", params=VARIANTS.values(), ids=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Fu2023:
    """Tiny students of every kind of configuration."""
    return student(**request.param)
