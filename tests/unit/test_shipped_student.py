"""What the project promises about every student in the package and in the zoo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastlic.runtime.bundle import Bundle, shipped
from fastlic.runtime.codec import Decoder, Encoder

MAX_BYTES = 8_000_000
PHOTOGRAPH = Path(__file__).parents[1] / "data" / "kodim23.png"

ZOO = sorted((Path(__file__).parents[2] / "zoo").glob("*.licb"))

every_student = pytest.mark.parametrize("path", [*shipped(), *ZOO], ids=lambda path: path.stem)


def test_a_student_is_shipped_and_the_zoo_has_three_rates() -> None:
    assert shipped()
    assert len(ZOO) == 3


@every_student
def test_student_is_small_and_has_a_card_that_names_it(path: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")

    assert path.stat().st_size <= MAX_BYTES
    assert card.startswith(f"# {path.stem}\n")
    assert all(word in card for word in ("licence", "training data", "Kodak"))


@every_student
def test_student_was_exported_within_its_rate_budget_on_photographs(path: Path) -> None:
    with Bundle(path) as bundle:
        validation = bundle.manifest.validation

    assert validation["rate_cost"]["total"] <= 0.003
    assert validation["calibration"]["origin"] != "made up"


@every_student
def test_bounds_of_every_exact_layer_are_below_2_to_the_24(path: Path) -> None:
    with Bundle(path) as bundle:
        certificates = bundle.manifest.certificates

    bounds = [
        bound
        for graph in certificates.values()
        for layer in graph.values()
        for bound in (*layer["products"], layer["total"], layer["activation"])
    ]
    assert len(bounds) > 20
    assert max(bounds) < 1 << 24


@every_student
def test_photograph_keeps_the_rate_and_the_quality_of_the_card(path: Path) -> None:
    picture = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))

    with Encoder(path, threads=1) as encoder, Decoder(path, threads=1) as decoder:
        data = encoder.encode(picture)
        decoded = decoder.decode(data)

    error = np.mean((decoded.astype(float) - picture) ** 2)
    assert 8 * len(data) / picture[..., 0].size < 0.5
    assert 10 * np.log10(255**2 / error) > 30
