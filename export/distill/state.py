"""States of a run on disk: everything needed to go on at any iteration as if nothing had happened.

Knows files; what is in a state is the loop's matter. A state is written beside its place and
renamed over it, so a run killed while writing keeps the state before.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastlic.errors import CheckpointError
from fastlic.runtime.files import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values to `path`."""
    write_atomically(path, _bytes_of(state))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise CheckpointError(f"{path}: the state cannot be read ({error}). Delete it to start again") from error
    return dict(state)


def publish(path: Path, weights: dict[str, Tensor], configuration: dict[str, Any]) -> None:
    """Write a checkpoint that `fastlic export` takes: `path` (.pt) and the JSON beside it."""
    write_atomically(path, _bytes_of({key: value.cpu().float().clone() for key, value in weights.items()}))
    write_atomically(path.with_suffix(".json"), (json.dumps(configuration, indent=1) + "\n").encode())


def _bytes_of(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
