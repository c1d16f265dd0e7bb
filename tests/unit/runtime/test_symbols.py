from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import tiny_student

from fastlic.errors import BundleError
from fastlic.runtime.manifest import Manifest, fingerprint, parse
from fastlic.runtime.symbols import Symbols
from fastlic.runtime.tiles import Box


def shifted(**changes: Any) -> dict[str, Any]:
    """The tiny student's manifest, y being coded around a tensor of the hyper graph."""
    parts = tiny_student.parts()
    parts.list_members()
    manifest = parts.manifest
    manifest["latents"]["y"]["channel_map"] = False
    manifest["graphs"]["hyper"]["outputs"].append({"name": "means", "stride": 16})
    manifest["schedule"][1]["outputs"].append("means")
    manifest["shifts"] = [
        {"step": step, "values": "y_float", "means": "means", "unit": 32, **changes} for step in (2, 4)
    ]
    return manifest


def read(manifest: dict[str, Any]) -> Manifest:
    return parse(msgspec.json.encode(manifest))


def values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    y = generator.normal(0, 4, (tiny_student.M, 4, 8)).astype(np.float32)
    return {"y_float": y, "z": np.zeros((tiny_student.Z, 1, 2), np.int16)}


def test_shifted_symbols_are_rounded_around_the_means_of_their_half() -> None:
    manifest, analysed = read(shifted()), values()
    step = manifest.schedule[2]
    means = np.random.default_rng(4).integers(-200, 200, (4, 4, tiny_student.M)).astype(np.float32)

    found = Symbols(manifest, Box(0, 0, 128, 64), analysed).of(step, {"means": means})

    assert (found.dtype, found.shape) == (np.int16, (tiny_student.M, 4, 4))
    for channel, row, packed in np.ndindex(*found.shape):
        column = 2 * packed + row % 2
        value = analysed["y_float"][channel, row, column] - means[row, packed, channel] / 32
        assert found[channel, row, packed] == np.rint(value)


def test_shifted_symbols_halfway_are_rounded_to_even_and_far_ones_limited() -> None:
    manifest, analysed = read(shifted()), values()
    analysed["y_float"][:, 0, :4] = (0.5, 0, 1.5, 0)
    analysed["y_float"][:, 0, 4] = 1e9

    found = Symbols(manifest, Box(0, 0, 128, 64), analysed).of(
        manifest.schedule[2], {"means": np.zeros((4, 4, tiny_student.M), np.float32)}
    )

    assert found[0, 0, :3].tolist() == [0, 2, 16383]


def test_means_of_another_shape_are_refused() -> None:
    manifest = read(shifted())

    with pytest.raises(BundleError, match=r"tensor means: \(4, 8, 8\) means for \(8, 4, 4\) symbols of y"):
        Symbols(manifest, Box(0, 0, 128, 64), values()).of(
            manifest.schedule[2], {"means": np.zeros((4, 8, 8), np.float32)}
        )


def test_values_of_another_type_are_refused() -> None:
    analysed = values()
    analysed["y_float"] = analysed["y_float"].astype(np.int16)

    with pytest.raises(BundleError, match="tensor y_float: a graph gave int16"):
        Symbols(read(shifted()), Box(0, 0, 128, 64), analysed)


def test_shifts_are_no_part_of_the_fingerprint() -> None:
    manifest = shifted()
    plain = {key: value for key, value in manifest.items() if key not in ("shifts", "analysis")}

    assert fingerprint(read(manifest)) == fingerprint(read(plain))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"step": 1}, "shifts: one names a step of the schedule that codes nothing"),
        ({"step": 99}, "shifts: one names a step of the schedule that codes nothing"),
        ({"means": "nonsense"}, "shifts: nonsense is not computed before step 2"),
        ({"values": "nonsense"}, "analysis: nonsense is never computed"),
        ({"unit": 0}, "unit"),
    ],
)
def test_shift_that_an_encoder_could_not_follow_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        read(shifted(**changes))


def test_latent_shifted_in_one_pass_only_is_refused() -> None:
    manifest = shifted()
    del manifest["shifts"][1]

    with pytest.raises(BundleError, match="latent y is shifted in some of its passes only"):
        read(manifest)


def test_shifted_latent_with_a_channel_map_is_refused() -> None:
    manifest = shifted()
    manifest["latents"]["y"]["channel_map"] = True

    with pytest.raises(BundleError, match="latent y has a channel map"):
        read(manifest)
