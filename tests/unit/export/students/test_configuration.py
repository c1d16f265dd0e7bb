from __future__ import annotations

import pytest

from fastlic.errors import CheckpointError
from fastlic.export.students import family_of
from fastlic.export.students.configuration import FIXED, Fu2023Configuration

GOOD = {
    "student": "fu2023",
    "N": 8,
    "M": 12,
    "leaky_slope": 0.01,
    "anchor_parity": "odd",
    "attention": False,
    "residual_blocks": True,
    **FIXED,
}


def test_from_mapping_and_back_is_the_identity():
    configuration = Fu2023Configuration.from_mapping({**GOOD, "pen_hidden": [16, 24, 8]})

    assert configuration.pen_hidden == (16, 24, 8)
    assert configuration.parity == 1
    assert Fu2023Configuration.from_mapping(configuration.to_mapping()) == configuration


@pytest.mark.parametrize("key", sorted(set(GOOD) - {"student"}))
def test_from_mapping_missing_key_is_named(key):
    raw = {name: value for name, value in GOOD.items() if name != key}

    with pytest.raises(CheckpointError, match=rf"'{key}' is missing"):
        Fu2023Configuration.from_mapping(raw)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("N", 0),
        ("N", True),
        ("N", 2.0),
        ("M", 13),
        ("M", 10**9),
        ("hyper_channels", -1),
        ("pen_hidden", []),
        ("pen_hidden", [0]),
        ("pen_hidden", "320"),
        ("leaky_slope", 1.5),
        ("leaky_slope", "0.01"),
        ("anchor_parity", "both"),
        ("attention", 1),
        ("residual_blocks", None),
        ("gdn", "beta only"),
        ("scale_activation", "exp(x)"),
        ("parameter_order", "family-major"),
    ],
)
def test_from_mapping_impossible_value_is_refused_by_name(key, value):
    with pytest.raises(CheckpointError, match=rf"'{key}' is .* must be "):
        Fu2023Configuration.from_mapping({**GOOD, key: value})


def test_from_mapping_unknown_key_is_refused_by_name():
    with pytest.raises(CheckpointError, match="unknown key 'leaky_slop'"):
        Fu2023Configuration.from_mapping({**GOOD, "leaky_slop": 0.01})


@pytest.mark.parametrize("name", [None, 3, "fu2024"])
def test_family_of_unknown_student_lists_the_known(name):
    with pytest.raises(CheckpointError, match=r"must be one of \[.*'fu2023'.*\]"):
        family_of({"student": name})
