"""Checkpoints that run code, or break where a look at keys and shapes sees nothing.

Missing and extra keys, NaN, and a missing configuration are in tests/unit/export/test_checkpoint.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastlic.errors import CheckpointError
from fastlic.export import checkpoint
from fastlic.export.students.configuration import Fu2023Configuration
from fastlic.export.students.fu2023 import Fu2023

SMALL = Fu2023Configuration(
    N=4, M=4, leaky_slope=0.1, anchor_parity="even", attention=False, residual_blocks=False,
    hyper_channels=2, pen_hidden=(4, 4),
)  # fmt: skip
TENSOR = "g_a.0.conv.weight"


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "ran")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint is to be saved; its configuration is there."""
    path = tmp_path / "student.pt"
    path.with_suffix(".json").write_text(json.dumps(SMALL.to_mapping()))
    return path


def save(path: Path, **changes: object) -> None:
    """A complete state dict with tensors replaced or added."""
    torch.save({**Fu2023(SMALL).state_dict(), **changes}, path)


def test_small_checkpoint_unchanged_is_accepted(path: Path) -> None:
    save(path)

    assert checkpoint.load(path).configuration["N"] == 4


def test_checkpoint_with_code_is_refused_unrun_and_nobody_is_told_to_run_it(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    save(path, code=Payload(target))

    with pytest.raises(CheckpointError, match="holds more than tensors") as caught:
        checkpoint.load(path)

    assert not target.exists()
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(4, 3, 3, 3).to_sparse(), "sparse"),
        (torch.zeros(4, 3, 3, 3, device="meta"), "has no values"),
        (torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64), "infinity"),
        (torch.zeros(4, 3, 3, 3, dtype=torch.complex64), "no floats"),
    ],
    ids=["sparse", "without values", "beyond float32", "complex"],
)
def test_tensor_that_is_no_float32_array_is_named(path: Path, tensor: torch.Tensor, message: str) -> None:
    save(path, **{TENSOR: tensor})

    with pytest.raises(CheckpointError, match=f"'{TENSOR}' .*{message}"):
        checkpoint.load(path)


@pytest.mark.parametrize("cut", [0, 1, 100, -100, -1])
def test_cut_checkpoint_is_refused(path: Path, cut: int) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(CheckpointError, match="not a plain state dict"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leaky_slope": float("nan")}, "'leaky_slope' is nan"),
        ({"N": 10**30}, "N = 1000000000000000000000000000000, the tensors say 4"),
        ({"pen_hidden": {"a": 1}}, "pen_hidden"),
        ({"student": ["fu2023"]}, "'student'"),
        ({"parameter_order": [1]}, "'parameter_order'"),
        ({"colour": "blue"}, "unknown key 'colour'"),
    ],
)
def test_configuration_of_absurd_values_is_named(path: Path, changes: dict[str, object], message: str) -> None:
    save(path)
    path.with_suffix(".json").write_text(json.dumps({**SMALL.to_mapping(), **changes}))

    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_configuration_nested_beyond_the_parser_is_refused(path: Path) -> None:
    save(path)
    path.with_suffix(".json").write_text("[" * 100_000)

    with pytest.raises(CheckpointError, match="not a JSON file"):
        checkpoint.load(path)
