"""Packing by parity, and evaluation in windows without seams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlic.runtime import schedule
from fastlic.runtime.manifest import Code, GraphSpec, Latent, Manifest, Port, Run
from fastlic.runtime.tiles import Box, TileGrid


def step(parity: str, channels: tuple[int, int] = (0, 2)) -> Code:
    return Code(latent="y", distribution="d", channels=channels, parity=parity)  # type: ignore[arg-type]


def test_packed_order_is_the_documents() -> None:
    latent = np.arange(16, dtype=np.int16).reshape(1, 4, 4)

    even = schedule.gather(latent, step("even", (0, 1)))[0]
    odd = schedule.gather(latent, step("odd", (0, 1)))[0]

    for row in range(4):
        for column in range(2):
            assert even[row, column] == latent[0, row, 2 * column + ((row + 0) & 1)]
            assert odd[row, column] == latent[0, row, 2 * column + ((row + 1) & 1)]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1), st.sampled_from(["all", "even", "odd"]))
def test_scatter_inverts_gather_and_touches_nothing_else(rows: int, pairs: int, first: int, parity: str) -> None:
    latent = np.random.default_rng(rows).integers(-99, 99, (3, 2 * rows, 2 * pairs)).astype(np.int16)
    chosen = step(parity, (first, 3))
    blank = np.full_like(latent, 1000)

    schedule.scatter(blank, chosen, schedule.gather(latent, chosen))

    rows_, columns = np.indices(latent.shape[1:])
    inside = np.ones(latent.shape, bool) if parity == "all" else (rows_ + columns) % 2 == (parity == "odd")
    inside = np.broadcast_to(inside, latent.shape) & (np.arange(3) >= first)[:, None, None]
    assert (blank[inside] == latent[inside]).all()
    assert (blank[~inside] == 1000).all()


def test_timings_accumulate_by_name() -> None:
    timings: dict[str, float] = {}
    for _ in range(2):
        with schedule.stage(timings, "a"):
            pass

    assert list(timings) == ["a"]
    assert timings["a"] > 0


def blur(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A stand-in synthesis of radius 2 latents: 5-tap box sums, then 16 x 16 pixels per element."""
    padded = np.pad(inputs[0][0].astype(np.int64), 2)
    rows = sum(padded[i : i + inputs[0].shape[1]] for i in range(5))
    both = sum(rows[:, j : j + inputs[0].shape[2]] for j in range(5))
    return [np.repeat(np.kron(both, np.ones((16, 16), np.int64))[..., None], 3, axis=2).astype(np.uint8)]


@pytest.mark.parametrize(("halo", "seamless"), [(32, True), (0, False)])
def test_windows_leave_no_seam_given_the_halo(halo: int, seamless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 128)
    spec = GraphSpec("s.onnx", "picture", False, (Port("y", 16),), (Port("image", 1),), halo)
    manifest = Manifest((1, 0), {"name": "t"}, 64, {"y": Latent(1, 16)}, {"s": spec}, (), {}, {})
    grid = TileGrid.choose(300, 200, 64)
    y = np.random.default_rng(1).integers(0, 10, (1, grid.padded.height // 16, grid.padded.width // 16))
    picture = np.zeros((200, 300, 3), np.uint8)

    schedule.run_in_windows(
        manifest,
        Run("s", ("y",), ("image",)),
        grid.padded,
        {"y": y, "image": picture},
        {"s": blur},
        None,
        {"image": Box(0, 0, 300, 200)},
    )

    assert bool((picture == blur([y])[0][:200, :300]).all()) == seamless


def test_symbol_crc_depends_on_order_and_value() -> None:
    latents = {"z": Latent(1, 16), "y": Latent(1, 16)}
    one = {"z": np.array([[[1]]], np.int16), "y": np.array([[[2]]], np.int16)}
    swapped = {"z": one["y"], "y": one["z"]}

    assert schedule.symbol_crc(latents, one) == 0xABCEDAFB  # of the bytes 01 00 02 00
    assert schedule.symbol_crc(latents, one) != schedule.symbol_crc(latents, swapped)
