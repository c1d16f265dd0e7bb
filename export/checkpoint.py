"""Read a trained checkpoint: a `.pt` state dict and the JSON configuration beside it.

Knows files and refuses what cannot be exported; knows nothing of single families beyond their names.
A configuration is required: slope, parity, parameter order and scale activation cannot be read from tensors.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastlic.errors import CheckpointError
from fastlic.export.students import compressai, family_of


@dataclass(frozen=True)
class Checkpoint:
    """A loaded student in evaluation mode, its configuration as written, and the SHA-256 of the `.pt` file in hex."""

    model: Any
    configuration: dict[str, Any]
    sha256: str


def load(path: str | Path, configuration: str | Path | None = None, student: str | None = None) -> Checkpoint:
    """Load and check a checkpoint.

    Args:
        path: the `.pt` file, a plain state dict of float tensors.
        configuration: the JSON file; None: `path` with the suffix `.json`.
        student: the family, where the checkpoint is in CompressAI's format, which needs no configuration.

    Returns:
        The student with its weights.

    Raises:
        CheckpointError: a file is missing or unreadable, keys are missing or too many, a shape, a width or a value is
            impossible. The message says which, and what to do.
    """
    path = Path(path)
    if student is not None:
        return _load_library(path, configuration, student)
    written = _read_configuration(Path(configuration) if configuration else path.with_suffix(".json"), path)
    state = _read_state(path)
    _check_layout(path, state)
    _check_values(path, state)
    family = family_of(written)
    seen = family.widths_of(state)
    for key, value in seen.items():
        if written.get(key, value) != value:
            raise CheckpointError(
                f"{path}: the configuration says {key} = {written[key]!r}, the tensors say {value!r}. "
                "Correct the configuration"
            )
    model = family.from_configuration({**seen, **written})
    _check_keys(path, model.state_dict(), state)
    model.load_state_dict(state, strict=True)
    return Checkpoint(model.eval(), written, hashlib.sha256(path.read_bytes()).hexdigest())


def _load_library(path: Path, configuration: str | Path | None, student: str) -> Checkpoint:
    """A checkpoint in CompressAI's format: the family is named, everything else is in the tensors."""
    if student not in compressai.NAMES:
        raise compressai.unknown(path, student)
    if configuration is not None:
        raise CheckpointError(f"{path}: {student} needs no configuration: leave --config out")
    library = _read_state(path, nested="state_dict")  # beside the optimiser's state, as training scripts save it
    _check_layout(path, library)
    if (refusal := compressai.refused(path, library, student)) is not None:
        raise refusal
    state = compressai.plain_state(path, library)
    _check_values(path, state)
    family = family_of({"student": student})
    try:
        model = family.from_configuration(family.widths_of(state))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: the tensors of {student} that show its widths are missing ({error})") from error
    _check_keys(path, model.state_dict(), state)
    model.load_state_dict(state, strict=True)
    written = {"student": student, **family.widths_of(state)}
    return Checkpoint(model.eval(), written, hashlib.sha256(path.read_bytes()).hexdigest())


def _read_configuration(path: Path, checkpoint: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint}: no configuration at {path}. Slope, parity and parameter order cannot be read from tensors: "
            "write the JSON file, or name it with --config"
        )
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a JSON file ({error}). Write the configuration again") from error
    if not isinstance(written, dict):
        raise CheckpointError(f"{path}: holds a {type(written).__name__}, but must hold one JSON object")
    return written


def _read_state(path: Path, nested: str = "") -> dict[str, Tensor]:
    """The tensors of a file; those under the key `nested` where there is one."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. Name a checkpoint written by torch.save(model.state_dict(), ...)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to run whatever code is in the file
        raise CheckpointError(
            f"{path}: not a plain state dict: it holds more than tensors, or is damaged. "
            "Save model.state_dict() and nothing else"
        ) from error
    except Exception as error:  # torch.load raises many kinds for a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a plain state dict ({reason}). Save model.state_dict() and nothing else"
        ) from error
    if isinstance(state, dict) and nested in state:
        state = state[nested]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds more than tensors. Save model.state_dict() and nothing else")
    return dict(state)


def _check_layout(path: Path, state: dict[str, Tensor]) -> None:
    for key, value in state.items():
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            raise CheckpointError(f"{path}: tensor {key!r} is sparse or has no values. Save dense tensors")


def _check_values(path: Path, state: dict[str, Tensor]) -> None:
    for key, value in state.items():
        if not value.is_floating_point() or not bool(torch.isfinite(value.float()).all()):
            raise CheckpointError(
                f"{path}: tensor {key!r} holds NaN, infinity or no floats. Take an earlier checkpoint"
            )


def _check_keys(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing = sorted(set(expected) - set(found))
    if missing:
        raise CheckpointError(
            f"{path}: {len(missing)} tensors are missing, the first is {missing[0]!r}. Check the configuration"
        )
    extra = sorted(set(found) - set(expected))
    if extra:
        raise CheckpointError(
            f"{path}: {len(extra)} tensors too many, the first is {extra[0]!r}. Check the configuration"
        )
    for key, value in expected.items():
        if found[key].shape != value.shape:
            raise CheckpointError(
                f"{path}: tensor {key!r} has shape {tuple(found[key].shape)}, the configuration makes it "
                f"{tuple(value.shape)}. Correct the configuration"
            )
