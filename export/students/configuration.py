"""Configuration of a Fu 2023 student: what the tensors cannot say, and the widths, which they can.

Knows JSON objects; knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fastlic.errors import CheckpointError

ORDER = "component-major (weight, mean, scale), then family"
SCALE = "softplus(x) + 0.11"
GDN = "beta = |b| + 1e-6, gamma = |g|"
PRIOR = "deep factorised (CompressAI key names)"
INPUT = "RGB in [0, 1]"
PARITIES = ("even", "odd")

# What is said of a student without changing its arithmetic.
NOTES = frozenset({"student", "name", "licence", "training", "lambda_mse255", "kodak_mean"})
FIXED = {"parameter_order": ORDER, "scale_activation": SCALE, "gdn": GDN, "prior": PRIOR, "input": INPUT}


@dataclass(frozen=True)
class Fu2023Configuration:
    """Widths and conventions of one student; field names are the keys of the JSON file.

    `N`: width of the transforms; `M`: latent channels, even; `hyper_channels`: of z; `pen_hidden`: hidden widths of
    both parameter networks; `leaky_slope` in [0, 1); `anchor_parity`: of (row + column).
    """

    N: int
    M: int
    leaky_slope: float
    anchor_parity: str
    attention: bool
    residual_blocks: bool
    hyper_channels: int = 64
    pen_hidden: tuple[int, ...] = (320, 320)

    def __post_init__(self) -> None:
        """Refuse values that no network can have.

        Raises:
            CheckpointError: a value has the wrong type or range; the message names its key.
        """
        for key in ("N", "M", "hyper_channels"):
            _require_count(key, getattr(self, key))
        _require(self.M % 2 == 0, "M", self.M, "even, because h_s has a layer of 1.5 M channels")
        _require(
            isinstance(self.pen_hidden, tuple) and len(self.pen_hidden) > 0, "pen_hidden", self.pen_hidden, "a list"
        )
        for width in self.pen_hidden:
            _require_count("pen_hidden", width)
        slope = self.leaky_slope
        number = isinstance(slope, (int, float)) and not isinstance(slope, bool)
        _require(number and 0 <= slope < 1, "leaky_slope", slope, "a number in [0, 1)")
        _require(self.anchor_parity in PARITIES, "anchor_parity", self.anchor_parity, "'even' or 'odd'")
        for key in ("attention", "residual_blocks"):
            _require(isinstance(getattr(self, key), bool), key, getattr(self, key), "true or false")

    @property
    def parity(self) -> int:
        """(row + column) % 2 of the anchors."""
        return PARITIES.index(self.anchor_parity)

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Fu2023Configuration:
        """Check a parsed JSON object.

        Args:
            raw: the object; widths that have a default may be absent, what tensors cannot say may not.

        Returns:
            The configuration.

        Raises:
            CheckpointError: a key is unknown or missing, or a value is not supported; the message names it.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(raw) - known - NOTES - set(FIXED))
        if unknown:
            raise CheckpointError(
                f"configuration: unknown key {unknown[0]!r}. Known keys: {sorted(known | NOTES | set(FIXED))}"
            )
        needed = ("N", "M", "leaky_slope", "anchor_parity", "attention", "residual_blocks", *FIXED)
        for key in needed:
            if key not in raw:
                raise CheckpointError(
                    f"configuration: {key!r} is missing. It cannot be read from the tensors: state it"
                )
        for key, supported in FIXED.items():
            _require(raw[key] == supported, key, raw[key], repr(supported))
        values = {key: raw[key] for key in known if key in raw}
        if isinstance(values.get("pen_hidden"), list):
            values["pen_hidden"] = tuple(values["pen_hidden"])
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """The JSON object that `from_mapping` reads back to this configuration."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"student": "fu2023", **values, "pen_hidden": list(self.pen_hidden), **FIXED}


def _require(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise CheckpointError(f"configuration: {key!r} is {value!r}, but must be {expected}")


def _require_count(key: str, value: object) -> None:
    counts = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096
    _require(counts, key, value, "a whole number from 1 to 4096")
