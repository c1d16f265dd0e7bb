from __future__ import annotations

import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from fastlic.errors import LimitExceeded
from fastlic.runtime.limits import Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_value_at_the_limit_passes_and_one_more_names_the_field(name: str) -> None:
    limits = Limits(**{name: 1000})

    limits.check(name, 1000, "things")
    with pytest.raises(LimitExceeded, match=rf"things: 1001 exceeds the limit of 1000\. Pass Limits\({name}=\.\.\.\)"):
        limits.check(name, 1001, "things")


def test_defaults_hold_a_picture_of_a_large_camera() -> None:
    limits = Limits()

    limits.check("max_pixels", 15_000 * 10_000, "pixels")
    limits.check("max_tile_pixels", 1024 * 1024, "a tile's pixels")


def test_document_has_every_limit_and_its_default() -> None:
    document = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", document, re.MULTILINE)

    assert {name: int(value.replace(",", "")) for name, value in rows} == asdict(Limits())
