"""What is refused as a pass: parameters and tables that do not fit together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastlic.errors import BundleError
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import open_reader
from fastlic.runtime.entropy.writer import StreamWriter


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        np.zeros((4, 5, 2, 9), np.int32),
        np.zeros((4, 5, 2, 8), np.int16),
        np.zeros((2, 4, 5, 9), np.int16),
    ],
)
def test_pass_mixture_with_other_parameters_raises(tables_of: Callable, parameters: np.ndarray | None) -> None:
    with pytest.raises(BundleError, match="parameters"):
        Pass(tables_of(("normal",), 3), parameters, (2, 4, 5))


def test_pass_fewer_rows_than_channels_raises(rows_of: Callable, rng: np.random.Generator) -> None:
    with pytest.raises(BundleError, match="2 rows cannot code 3 channels"):
        Pass(rows_of(rng, 2), None, (3, 4, 5))


@pytest.mark.parametrize("active", [np.ones(3, np.bool_), np.ones(2, np.uint8)])
def test_pass_other_channel_map_raises(rows_of: Callable, rng: np.random.Generator, active: np.ndarray) -> None:
    with pytest.raises(BundleError, match="active"):
        Pass(rows_of(rng, 2), None, (2, 4, 5), active)


@pytest.mark.usefixtures("built")
def test_pass_parameters_and_map_not_contiguous_code_the_same(
    tables_of: Callable, parameters_of: Callable, rng: np.random.Generator
) -> None:
    tables = tables_of(("normal",), 3)
    parameters = parameters_of(rng, (4, 5, 6), tables, False)
    active = np.array([True, False, True, True, False, True])
    values = rng.integers(-5, 6, (6, 4, 5)).astype(np.int16)
    strided = np.ascontiguousarray(parameters.transpose(2, 0, 1, 3)).transpose(1, 2, 0, 3)
    passes = [
        Pass(tables, parameters, (6, 4, 5), active),
        Pass(tables, strided, (6, 4, 5), np.repeat(active, 2)[::2]),
    ]

    writer = StreamWriter()
    seen = writer.code(passes[0], values)
    reader = open_reader(writer.finish(1), backend="native")

    np.testing.assert_array_equal(reader.code(passes[1]), seen)
    reader.finish()
