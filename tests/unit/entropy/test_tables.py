"""What is refused as a table: whatever the integer core's bounds rest on, and shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.kernels import native
from fastlic.runtime.entropy.tables import MixtureTables, RowTables


def changed(tables: MixtureTables | RowTables, **changes: object) -> dict[str, object]:
    return {field.name: getattr(tables, field.name) for field in fields(tables)} | changes


def with_entry(array: np.ndarray, index: tuple[int, ...], value: int) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


def assert_native_refuses(make: str, name: str, *arguments: object) -> None:
    """The C++ core has rules of its own for whoever has no Python: the same tables break them."""
    if native.available():
        with pytest.raises(ValueError, match=f"table {name}"):
            getattr(native.module(), make)(*arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("families", ()),
        ("families", ("normal", "laplace", "normal")),
        ("families", ("normal", "laplace", "cauchy")),
        ("components", 0),
        ("components", 6),
        ("skip_threshold", 0),
        ("skip_threshold", 65537),
        ("exponential", np.zeros(255, np.uint16)),
        ("thresholds", np.zeros((3, 63), np.int32)),
        ("tail", [1, 2, 3]),
    ],
)
def test_mixture_tables_wrong_choice_type_or_shape_raise_and_name_it(
    tables_of: Callable, name: str, value: object
) -> None:
    with pytest.raises(BundleError, match=f"table {name}: .*Export"):
        MixtureTables(**changed(tables_of(), **{name: value}))


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("exponential", (0,), 0),
        ("exponential", (9,), 65535),
        ("thresholds", (1, 20), 32767),
        ("inverse_scale", (2, 63), 0),
        ("tail", (0, 3), -1),
        ("tail", (0, 3), (1 << 20) + 1),
        ("half_cdf", (0, 0), 1),
        ("half_cdf", (1, 100), 0),
        ("half_cdf", (1, 512), 32768),
        ("half_cdf", (2, 513), 32767),
    ],
)
def test_mixture_tables_entry_out_of_range_raises_and_names_it(
    tables_of: Callable, name: str, index: tuple[int, ...], value: int
) -> None:
    tables = tables_of(("logistic", "laplace", "normal"))
    table = getattr(tables, name)
    if name == "half_cdf" and index == (2, 513):
        table = np.minimum(table, 32000)

    entries = changed(tables, **{name: with_entry(table, index, value)})

    with pytest.raises(BundleError, match=f"table {name}"):
        MixtureTables(**entries)
    assert_native_refuses("MixtureTables", name, *list(entries.values())[1:])


@pytest.mark.parametrize(
    ("name", "value"), [("components", 0), ("components", 6), ("skip_threshold", 0), ("skip_threshold", 65537)]
)
def test_native_mixture_tables_number_out_of_range_raises_and_names_it(
    tables_of: Callable, built: None, name: str, value: int
) -> None:
    entries = changed(tables_of(), **{name: value})

    assert_native_refuses("MixtureTables", name, *list(entries.values())[1:])


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("window", (1,), 24),
        ("low", (1,), -16385),
        ("low", (1,), 16383),
        ("cdf", (1, 0), 1),
        ("cdf", (1, 5), 0),
        ("cdf", (1, 5), -(2**31)),
        ("cdf", (1, 512), 65535),
    ],
)
def test_row_tables_entry_out_of_range_raises_and_names_it(
    rows_of: Callable, rng: np.random.Generator, name: str, index: tuple[int, ...], value: int
) -> None:
    tables = rows_of(rng, 4)

    entries = changed(tables, **{name: with_entry(getattr(tables, name), index, value)})

    with pytest.raises(BundleError, match=f"table {name}"):
        RowTables(**entries)
    assert_native_refuses("RowTables", name, *entries.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cdf", np.zeros((0, 513), np.int32)),
        ("cdf", np.zeros((4, 512), np.int32)),
        ("cdf", np.int32(4)),
        ("window", np.full(3, 8, np.int16)),
        ("low", np.zeros(4, np.int32)),
    ],
)
def test_row_tables_wrong_type_or_shape_raise(
    rows_of: Callable, rng: np.random.Generator, name: str, value: object
) -> None:
    with pytest.raises(BundleError, match="table"):
        RowTables(**changed(rows_of(rng, 4), **{name: value}))


def test_tables_arrays_changed_afterwards_do_not_change(tables_of: Callable) -> None:
    mine = np.array(tables_of().tail)
    tables = MixtureTables(**changed(tables_of(), tail=mine))

    mine[:] = -1

    assert tables.tail.min() >= 0
    with pytest.raises(ValueError, match="read-only"):
        tables.tail[0, 0] = 1


@pytest.mark.parametrize(
    ("families", "components", "count"), [(("normal",), 3, 9), (("normal", "laplace", "logistic"), 3, 30)]
)
def test_parameter_count_one_or_more_families(
    tables_of: Callable, families: tuple[str, ...], components: int, count: int
) -> None:
    assert tables_of(families, components).parameter_count == count


def test_native_not_built_raises(tables_of: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_load", lambda: (None, "no compiler"))

    with pytest.raises(EngineUnavailable, match="no compiler"):
        tables_of().native  # noqa: B018
