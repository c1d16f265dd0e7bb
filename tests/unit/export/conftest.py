"""Tiny untrained students of every kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fastlic.export.calibration import made_up
from fastlic.export.convert import convert
from fastlic.export.students.configuration import GDN, INPUT, ORDER, PRIOR, SCALE
from fastlic.export.students.deform import DeformConv2d
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
        for module in model.modules():
            if isinstance(module, DeformConv2d):
                module.offset.weight.normal_(0, 0.02)  # zero offsets are exported as a plain convolution
    return model


@pytest.fixture(scope="session")
def tiny() -> Fu2023:
    """A tiny student."""
    return student()


@pytest.fixture(scope="session", params=VARIANTS.values(), ids=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Fu2023:
    """Tiny students of every kind of configuration."""
    return student(**request.param)


@dataclass(frozen=True)
class Exported:
    """A bundle, the checkpoint it came from, and what the export reported."""

    checkpoint: Path
    bundle: Path
    pictures: Path
    report: dict[str, Any]
    lines: list[str]


def save(model: Fu2023, folder: Path) -> Path:
    """Write a checkpoint with its configuration beside it."""
    path = folder / "tiny.pt"
    torch.save(model.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({**model.configuration.to_mapping(), "licence": "CC0-1.0"}))
    return path


def save_pictures(folder: Path, count: int, edge: int) -> Path:
    """Write made-up pictures to a folder of their own."""
    target = folder / "pictures"
    target.mkdir()
    for number, pixels in enumerate(made_up(count, edge, seed=9)):
        Image.fromarray(pixels).save(target / f"{number:02}.png")
    return target


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny student with everything on, exported once for all tests that look at a bundle."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint = save(student(attention=True, residual_blocks=True), folder)
    lines: list[str] = []
    pictures = save_pictures(folder, 8, 128)
    report = convert(checkpoint, folder / "tiny.licb", calibration=pictures, progress=lines.append)
    return Exported(checkpoint, folder / "tiny.licb", pictures, report, lines)
