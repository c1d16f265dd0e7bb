"""The configuration of a Fu 2023 student of a few channels, as a checkpoint's JSON file has it."""

from __future__ import annotations

from typing import Any

from fastlic.export.students.configuration import FIXED


def settings(**changes: Any) -> dict[str, Any]:
    """A fresh copy, some keys changed."""
    widths = {"N": 4, "M": 6, "hyper_channels": 5, "pen_hidden": [7, 8]}
    switches = {"leaky_slope": 0.01, "anchor_parity": "even", "attention": False, "residual_blocks": False}
    return {"student": "fu2023", **widths, **switches, **FIXED, **changes}
