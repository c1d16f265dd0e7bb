from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fu2023_settings import settings
from PIL import Image

from fastlic.errors import CheckpointError
from fastlic.export import checkpoint
from fastlic.export.distill.watch import measure
from fastlic.export.students import from_configuration

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FASTLIC_DATA", ROOT.parent / "shared" / "data"))
REFERENCE = DATA / "checkpoints" / "fu2023-n64-m128-l0075.pt"
CONFIGURATION = settings()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "student.pt"
    torch.manual_seed(1)
    torch.save(from_configuration(CONFIGURATION).state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(CONFIGURATION))
    return path


def _edit(path: Path, **changes: torch.Tensor | None) -> None:
    state = torch.load(path, weights_only=True)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    torch.save(state, path)


def test_load_gives_the_weights_and_the_hash(saved):
    loaded = checkpoint.load(saved)

    state = torch.load(saved, weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
    assert loaded.configuration == CONFIGURATION
    assert len(loaded.sha256) == 64
    assert not loaded.model.training


def test_load_configuration_elsewhere_is_found_when_named(saved, tmp_path):
    other = tmp_path / "elsewhere.json"
    saved.with_suffix(".json").rename(other)

    assert checkpoint.load(saved, other).configuration == CONFIGURATION
    with pytest.raises(CheckpointError, match="no configuration at"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff", ""])
def test_load_configuration_not_a_json_object_is_refused(saved, text):
    saved.with_suffix(".json").write_text(text, encoding="latin-1")

    with pytest.raises(CheckpointError, match=r"student\.json: "):
        checkpoint.load(saved)


@pytest.mark.parametrize(("key", "value"), [("N", 8), ("M", 8), ("pen_hidden", [7]), ("attention", True)])
def test_load_configuration_against_tensors_names_both_values(saved, key, value):
    saved.with_suffix(".json").write_text(json.dumps({**CONFIGURATION, key: value}))

    with pytest.raises(CheckpointError, match=rf"the configuration says {key} = .*the tensors say"):
        checkpoint.load(saved)


def test_load_widths_absent_from_the_configuration_are_read_from_tensors(saved):
    widths = ("N", "M", "hyper_channels", "pen_hidden")
    rest = {key: value for key, value in CONFIGURATION.items() if key not in widths}
    saved.with_suffix(".json").write_text(json.dumps(rest))

    assert checkpoint.load(saved).model.configuration.pen_hidden == (7, 8)


def test_load_missing_tensor_is_named(saved):
    _edit(saved, h_a__4__bias=None)

    with pytest.raises(CheckpointError, match=r"1 tensors are missing, the first is 'h_a\.4\.bias'"):
        checkpoint.load(saved)


def test_load_extra_tensor_is_named(saved):
    _edit(saved, h_a__99__bias=torch.zeros(1))

    with pytest.raises(CheckpointError, match=r"1 tensors too many, the first is 'h_a\.99\.bias'"):
        checkpoint.load(saved)


def test_load_wrong_shape_is_named(saved):
    _edit(saved, h_s__0__bias=torch.zeros(99))

    with pytest.raises(CheckpointError, match=r"'h_s\.0\.bias' has shape \(99,\)"):
        checkpoint.load(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_load_weight_not_finite_is_named(saved, value):
    _edit(saved, g_s__9__bias=torch.full((12,), value))

    with pytest.raises(CheckpointError, match=r"'g_s\.9\.bias' holds NaN, infinity"):
        checkpoint.load(saved)


def test_load_integers_are_refused(saved):
    _edit(saved, g_s__9__bias=torch.zeros(12, dtype=torch.int32))

    with pytest.raises(CheckpointError, match="or no floats"):
        checkpoint.load(saved)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_load_foreign_file_is_refused(saved, content):
    saved.write_bytes(content)

    with pytest.raises(CheckpointError, match="not a plain state dict"):
        checkpoint.load(saved)


def test_load_more_than_tensors_is_refused(saved):
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, saved)

    with pytest.raises(CheckpointError, match="holds more than tensors"):
        checkpoint.load(saved)


def test_load_missing_file_is_refused(saved):
    saved.unlink()

    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(saved)


@pytest.mark.skipif(
    not REFERENCE.is_file(), reason=f"no reference checkpoint at {REFERENCE}; FASTLIC_DATA names the folder"
)
@pytest.mark.parametrize("name", ["kodim04.png", "kodim23.png"])
def test_reference_checkpoint_gives_its_published_bits_and_quality(name):
    with REFERENCE.with_suffix(".kodak.csv").open() as file:
        listed = next(row for row in csv.DictReader(file) if row["picture"] == name)
    pixels = np.array(Image.open(ROOT / "tests" / "data" / name).convert("RGB"))

    found = measure(checkpoint.load(REFERENCE).model, torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)

    for part in ("bits_z", "bits_anchor", "bits_nonanchor"):
        assert getattr(found, part) == pytest.approx(float(listed[part]), rel=0.001)
    assert found.psnr == pytest.approx(float(listed["psnr_rgb_db"]), abs=0.02)
    assert found.zero_channels == int(listed["zero_channels"])
