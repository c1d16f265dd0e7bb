"""The small students among the golden files: exact ones on every engine, the pinned one on its own, at every rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conformance.golden_files import FOLDER
from conformance.test_golden import require_its_engine

from fastlic.benchmarks.exactness_matrix import measure
from fastlic.benchmarks.pinned_differences import compare
from fastlic.errors import BitstreamError, PinMismatch, RateUnavailable
from fastlic.export.description import without_encoder
from fastlic.export.publish import pack
from fastlic.runtime import bitstream
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.conformance import check_bundle

MAX_BYTES = 200_000
BUNDLES = sorted(FOLDER.glob("*.licb"))
VARIABLE = FOLDER / "bgvae-small.licb"


def is_pinned(path: Path) -> bool:
    """Whether a bundle decodes on one engine only."""
    with Bundle(path) as bundle:
        return bundle.manifest.pin is not None


@pytest.fixture
def crop(kodim23: np.ndarray) -> np.ndarray:
    """A part of the photograph with the eye of a parrot in it, uint8 (70, 130, 3)."""
    return np.ascontiguousarray(kodim23[120:190, 300:430])


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_bundle_is_small_enough_for_a_repository(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("path", [path for path in BUNDLES if not is_pinned(path)], ids=lambda path: path.stem)
def test_exact_student_has_no_differing_symbol_on_any_pair_of_engines(path: Path, crop: np.ndarray) -> None:
    matrix = measure([crop], path)

    assert sum(cell.symbols for cell in matrix.cells.values()) > 0
    assert matrix.clean
    assert max(matrix.levels.values()) <= 1


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_student_decoded_in_windows_differs_by_at_most_one_level(
    path: Path, kodim23: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_its_engine(path)
    with Encoder(path, threads=1) as encoder, Decoder(path, threads=1) as decoder:
        data = encoder.encode(np.ascontiguousarray(kodim23[:256]))
        whole = decoder.decode(data).astype(int)
        monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 128)
        in_windows = decoder.decode(data).astype(int)

    assert whole.std() > 1
    assert np.abs(in_windows - whole).max() <= 1


def test_higher_rate_costs_bits_and_stands_in_the_header(crop: np.ndarray) -> None:
    require_its_engine(VARIABLE)
    with Bundle(VARIABLE) as bundle:
        rates = bundle.manifest.rates
    sizes = []
    with Encoder(VARIABLE, threads=1) as encoder, Decoder(VARIABLE, threads=1) as decoder:
        for rate in (1, rates):
            data = encoder.encode(crop, rate=rate)
            assert bitstream.probe(data).rate == rate
            assert decoder.decode(data).shape == crop.shape
            sizes.append(len(data))
        assert encoder.encode(crop) == encoder.encode(crop, rate=(rates + 1) // 2)

    assert rates == 5
    assert sizes[0] < sizes[1]


def test_bundle_without_an_encoder_keeps_the_graphs_that_both_run(crop: np.ndarray) -> None:
    require_its_engine(VARIABLE)
    with Bundle(VARIABLE) as bundle:
        members = {name: bundle.member(name) for name in bundle.manifest.members}
        small = pack(*without_encoder(bundle.manifest, members))

    with Encoder(VARIABLE, threads=1) as encoder, Decoder(small, threads=1) as decoder:
        assert decoder.decode(encoder.encode(crop, rate=2)).shape == crop.shape
    with Bundle(small) as bundle:
        assert set(bundle.manifest.graphs) == {"start", "synthesis", *(f"down{number}" for number in range(1, 9))}


def test_region_of_a_pinned_student_is_a_part_of_its_picture(crop: np.ndarray) -> None:
    require_its_engine(VARIABLE)
    with Encoder(VARIABLE, threads=1) as encoder, Decoder(VARIABLE, threads=1) as decoder:
        data = encoder.encode(crop, rate=5)
        whole, part = decoder.decode(data), decoder.decode(data, region=(40, 10, 90, 40))

    assert np.abs(part.astype(int) - whole[10:40, 40:90]).max() <= 1


@pytest.mark.parametrize("rate", [0, 6])
def test_rate_that_the_student_does_not_have_is_refused(crop: np.ndarray, rate: int) -> None:
    require_its_engine(VARIABLE)
    with Encoder(VARIABLE, threads=1) as encoder, pytest.raises(RateUnavailable, match=f"rates 1 to 5; {rate} was"):
        encoder.encode(crop, rate=rate)


def test_student_of_one_rate_refuses_any(crop: np.ndarray) -> None:
    with (
        Encoder(FOLDER / "ilc-small.licb", threads=1) as encoder,
        pytest.raises(RateUnavailable, match="one rate only"),
    ):
        encoder.encode(crop, rate=1)


def test_pinned_student_is_refused_by_another_engine() -> None:
    with pytest.raises(PinMismatch, match=r"equal only on ort-cpu .*; this is torch"):
        Decoder(VARIABLE, engine="torch")


def test_pinned_student_is_verified_on_its_own_engine_and_refused_where_another_is_asked_for() -> None:
    require_its_engine(VARIABLE)

    own = list(check_bundle(str(VARIABLE), None, threads=1))
    other = list(check_bundle(str(VARIABLE), "torch", threads=1))

    assert [finding for finding in own if finding.problem] == []
    assert sum("vectors, ort-cpu" in finding.check for finding in own) >= 1
    assert any("PinMismatch" in (finding.problem or "") for finding in other)


def test_pinned_student_on_another_engine_never_gives_a_wrong_picture(crop: np.ndarray) -> None:
    """Pinning overridden: the same symbols, or an error."""
    require_its_engine(VARIABLE)
    with (
        Encoder(VARIABLE, threads=1) as encoder,
        Decoder(VARIABLE, threads=1) as own,
        Decoder(VARIABLE, engine="torch", threads=1, ignore_pin=True) as foreign,
    ):
        for rate in range(1, 6):
            data = encoder.encode(crop, rate=rate)
            try:
                found, _ = foreign.decode_latents(data)
            except BitstreamError:
                continue
            np.testing.assert_array_equal(found["z9"], own.decode_latents(data)[0]["z9"])


def test_differences_between_engines_are_counted(crop: np.ndarray) -> None:
    require_its_engine(VARIABLE)

    found = compare([crop[:64, :64]], VARIABLE, "torch")

    assert found.files == 5
    assert found.parameters > 1_000
    assert found.differing < 0.01 * found.parameters
