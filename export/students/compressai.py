"""Checkpoints in CompressAI's format: which family a state dict is of, and its tensors in our modules' terms.

Knows key names, constants and parametrisations of that library's state dicts (1.2); knows no network. Its format
implies what other checkpoints need a configuration for. Tables that the library computes from the others are left
out; constants are compared, since another value would be another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastlic.errors import CheckpointError

NAMES = (
    "bmshj2018-factorized",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "cheng2020-anchor-checkerboard",
    "elic2022",
)
"""Families that can be exported."""
AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")
"""Models of the library that cannot: each element's distribution depends on its neighbour's symbol."""

PEDESTAL = 2.0**-36
BETA_FLOOR = 1e-6
"""Of the parametrisation of GDN: value = max(parameter, sqrt(floor + pedestal))^2 - pedestal."""

_REASON = "its autoregressive context decodes one element after the other, which no engine does in real time"
_COMPUTED = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table")
_CONSTANTS = {
    "target": (-21.4164, 0.0, 21.4164),  # log(2 / 1e-9 - 1), training only
    "likelihood_lower_bound.bound": (1e-9,),
    "lower_bound_scale.bound": (0.11,),
    "scale_bound": (0.11,),
    "beta_reparam.pedestal": (PEDESTAL,),
    "gamma_reparam.pedestal": (PEDESTAL,),
    "beta_reparam.lower_bound.bound": ((BETA_FLOOR + PEDESTAL) ** 0.5,),
    "gamma_reparam.lower_bound.bound": (PEDESTAL**0.5,),
}
_CONTEXT = 5
"""Rows and columns of a checkerboard context, whose taps of odd (row + column) are alive."""
_OLD_PRIOR = {"_matrix": "matrices", "_bias": "biases", "_factor": "factors"}


def plain_state(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A library's state dict as that of our module: the same names, GDN's values instead of its parameters.

    Args:
        path: for messages.
        state: as the library saves it, with or without its computed tables, or under older names.

    Returns:
        Tensors by our modules' keys.

    Raises:
        CheckpointError: a constant has another value than the library's models have.
    """
    found: dict[str, Tensor] = {}
    for full, value in state.items():
        key = _renamed(full.removeprefix("module."))
        constant = next((known for end, known in _CONSTANTS.items() if key.endswith(f".{end}")), None)
        if constant is not None:
            _require_constant(path, key, value, torch.tensor(constant))
        if key.endswith(".likelihood_lower_bound.bound") and "entropy_bottleneck" in key:
            found[key] = value  # our prior holds it too
        elif key.endswith(".mask"):
            taps = torch.arange(_CONTEXT)
            expected = ((taps[:, None] + taps) % 2).float()
            _require_constant(path, key, value, expected.expand(*value.shape[:2], _CONTEXT, _CONTEXT))
        elif constant is None and key.rpartition(".")[2] not in _COMPUTED:
            found[key] = value
    for key in [key for key in found if key.rpartition(".")[2] in ("beta", "gamma")]:
        floor = BETA_FLOOR if key.endswith("beta") else 0.0
        found[key] = found[key].clamp_min((floor + PEDESTAL) ** 0.5) ** 2 - PEDESTAL
    return found


def family_in(state: Mapping[str, Tensor]) -> str | None:
    """The library's name of a state dict's model, which need not be one that can be exported; None: unknown."""
    keys = {key.removeprefix("module.") for key in state}

    def has(*parts: str) -> bool:
        return all(any(part in key for key in keys) for part in parts)

    if not has("entropy_bottleneck.", "g_a.0."):
        return None
    if has("Gain") or has("gain_unit") or has("QuantABCD"):
        return "a variable-rate model"
    if has("latent_codec.y.channel_context."):
        return "elic2022" if _all_previous(state) else "elic2022-chandelier"
    if has("latent_codec.y.context_prediction.", "g_a.0.conv1."):
        return "cheng2020-anchor-checkerboard"
    if has("context_prediction.", "g_a.0.conv1."):
        return "cheng2020-attn" if has("g_a.3.conv_a.") else "cheng2020-anchor"
    if has("context_prediction."):
        return "mbt2018"
    if not has("g_a.1.beta"):
        return "bmshj2018-factorized-relu" if "g_a.6.weight" in keys and not has("h_a.") else None
    if not has("h_a."):
        return "bmshj2018-factorized"
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    last, channels = (_size(plain.get(key), 0) for key in ("h_s.4.weight", "g_a.6.weight"))
    if not last or not channels:
        return None
    return "mbt2018-mean" if last == 2 * channels else "bmshj2018-hyperprior"


def refused(path: Path, state: Mapping[str, Tensor], wanted: str) -> CheckpointError | None:
    """What to say of a state dict that is not of the wanted family; None where it may be."""
    found = family_in(state)
    if found == wanted:
        return None
    supported = ", ".join(NAMES)
    if found is None:
        return CheckpointError(
            f"{path}: these are not the tensors of {wanted}, nor of another model in CompressAI's format. Supported: "
            f"{supported}; other students come with a configuration (docs/adding-a-student.md)"
        )
    if found in NAMES:
        return CheckpointError(f"{path}: these are the tensors of {found}, not of {wanted}. Say --student {found}")
    reason = _REASON if found in AUTOREGRESSIVE else "that variant is not among the supported ones"
    return CheckpointError(f"{path}: these are the tensors of {found}: {reason}. Supported: {supported}")


def unknown(path: Path, name: str) -> CheckpointError:
    """What to say of a name that is none of `NAMES`."""
    supported = ", ".join(NAMES)
    if name in AUTOREGRESSIVE:
        return CheckpointError(f"{path}: {name} cannot be exported: {_REASON}. Supported: {supported}")
    return CheckpointError(
        f"{path}: {name!r} is no family of CompressAI's format: {supported}. Other students say what they are in their "
        "configuration; leave --student out"
    )


def _all_previous(state: Mapping[str, Tensor]) -> bool:
    """Whether every channel context sees all earlier groups, as in the paper."""
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    number, total = 0, 0
    while (key := f"latent_codec.y.latent_codec.y{number}.context_prediction.weight") in plain:
        context = plain.get(f"latent_codec.y.channel_context.y{number}.0.weight")
        if number and context is not None and _size(context, 1) != total:
            return False
        total, number = total + _size(plain[key], 1), number + 1
    return number > 0


def _size(value: Tensor | None, axis: int) -> int:
    """Elements along an axis; 0 where there is none."""
    return int(value.shape[axis]) if value is not None and value.ndim > axis else 0


def _renamed(key: str) -> str:
    """Keys of the library's first releases under their present names."""
    parent, _, name = key.rpartition(".")
    if parent.endswith("entropy_bottleneck"):
        for old, new in _OLD_PRIOR.items():
            if name.startswith(old) and name.removeprefix(old).isdigit():
                return f"{parent}.{new}.{name.removeprefix(old)}"
    return key.replace(".downsample.", ".skip.")


def _require_constant(path: Path, key: str, value: Tensor, expected: Tensor) -> None:
    if value.shape != expected.shape or not torch.allclose(value.float(), expected.float(), rtol=1e-3, atol=0):
        raise CheckpointError(
            f"{path}: {key!r} is not the constant that CompressAI's models have. A model that was changed needs a "
            "family of its own (docs/adding-a-student.md)"
        )
