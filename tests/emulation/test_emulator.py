"""The emulator itself: faults put into kernels are reported, and instructions mean what the PTX manual says."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SOURCE = Path(__file__).parent / "broken.cu"
NAMES = [
    "barrier_right",
    "barrier_missing",
    "second_barrier_right",
    "second_barrier_missing",
    "warp_barrier_right",
    "warp_barrier_missing",
    "wait_right",
    "wait_missing",
    "barrier_in_half_of_the_threads",
    "vote_without_a_lane",
    "read_to",
    "write_to",
    "write_shared_to",
    "read_unwritten_shared",
    "write_input",
    "load_vector_from",
    "every_block_writes_the_same",
    "too_much_shared",
    "warp_functions",
    "matrix_product",
    "half_arithmetic",
]
ONE = (1, 1, 1)


@pytest.fixture(scope="module")
def kernels(emulation: ModuleType) -> Any:
    return emulation.Emulator(SOURCE, NAMES)


def numbers(count: int = 64) -> np.ndarray:
    return np.arange(count, dtype=np.int32) + 100


@pytest.mark.parametrize("reverse", [False, True])
def test_barrier_present_passes_and_threads_exchange(kernels: Any, emulation: ModuleType, reverse: bool) -> None:
    y = np.empty(64, np.int32)

    kernels.launch("barrier_right", ONE, (64, 1, 1), [numbers(), emulation.Out(y)], reverse)

    np.testing.assert_array_equal(y, np.roll(numbers(), -1))


@pytest.mark.parametrize("name", ["second_barrier_right", "warp_barrier_right"])
def test_other_barriers_present_pass(kernels: Any, emulation: ModuleType, name: str) -> None:
    kernels.launch(name, ONE, (64, 1, 1), [numbers(), emulation.Out(np.empty(64, np.int32))])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("barrier_missing", "race on line|before anything was written"),
        ("second_barrier_missing", "race on line"),
        ("warp_barrier_missing", "race on line|before anything was written"),
    ],
)
def test_barrier_missing_is_reported_in_either_order_of_threads(
    kernels: Any, emulation: ModuleType, name: str, what: str, reverse: bool
) -> None:
    with pytest.raises(emulation.EmulationError, match=what):
        kernels.launch(name, ONE, (64, 1, 1), [numbers(), emulation.Out(np.empty(64, np.int32))], reverse)


def test_barrier_in_different_branches_is_reported(kernels: Any, emulation: ModuleType) -> None:
    arguments = [numbers(), emulation.Out(np.empty(64, np.int32))]

    with pytest.raises(emulation.EmulationError, match="different barriers"):
        kernels.launch("barrier_in_half_of_the_threads", ONE, (64, 1, 1), arguments)


def test_vote_with_a_lane_gone_is_reported_as_endless(kernels: Any, emulation: ModuleType) -> None:
    with pytest.raises(emulation.EmulationError, match="never ends: 0 threads wait at a barrier, 31 for lanes"):
        kernels.launch("vote_without_a_lane", ONE, (32, 1, 1), [numbers(), emulation.Out(np.empty(32, np.int32))])


def test_asynchronous_copy_waited_for_arrives_with_zeros_where_not_valid(kernels: Any, emulation: ModuleType) -> None:
    x = np.random.default_rng(1).standard_normal(512).astype(np.float16)
    y = np.empty_like(x)

    kernels.launch("wait_right", ONE, (64, 1, 1), [x, emulation.Out(y)])

    np.testing.assert_array_equal(y[:-8], x[:-8])
    np.testing.assert_array_equal(y[-8:], 0)


def test_asynchronous_copy_not_waited_for_is_reported(kernels: Any, emulation: ModuleType) -> None:
    x = np.zeros(512, np.float16)

    with pytest.raises(emulation.EmulationError, match=r"read of line .* before anything was written"):
        kernels.launch("wait_missing", ONE, (64, 1, 1), [x, emulation.Out(np.empty_like(x))])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("read_to", "read outside argument 0"),
        ("write_to", "write outside argument 1"),
        ("write_shared_to", "outside line"),
    ],
)
def test_one_element_too_many_is_reported_and_the_last_is_not(
    kernels: Any, emulation: ModuleType, name: str, what: str
) -> None:
    y = emulation.Out(np.empty(10, np.int32), partial=True)
    before = [numbers(10)] if name == "read_to" else []

    kernels.launch(name, ONE, ONE, [*before, 10, y])
    with pytest.raises(emulation.EmulationError, match=what):
        kernels.launch(name, ONE, ONE, [*before, 11, y])


def test_memory_nobody_wrote_is_reported_when_read_and_when_left(kernels: Any, emulation: ModuleType) -> None:
    with pytest.raises(emulation.EmulationError, match="read of line at byte 4 before"):
        kernels.launch("read_unwritten_shared", ONE, ONE, [emulation.Out(np.empty(1, np.int32))])
    with pytest.raises(emulation.EmulationError, match="8 bytes of argument 1 were not written"):
        kernels.launch("write_to", ONE, ONE, [8, emulation.Out(np.empty(10, np.int32))])


def test_write_to_an_input_is_reported(kernels: Any, emulation: ModuleType) -> None:
    with pytest.raises(emulation.EmulationError, match="write to the input argument 0"):
        kernels.launch("write_input", ONE, ONE, [numbers()])


def test_vector_load_not_aligned_is_reported(kernels: Any, emulation: ModuleType) -> None:
    x, y = np.zeros(32, np.float16), np.empty(8, np.float16)

    kernels.launch("load_vector_from", ONE, ONE, [x, 8, emulation.Out(y)])
    with pytest.raises(emulation.EmulationError, match="byte 8 is not aligned to 16"):
        kernels.launch("load_vector_from", ONE, ONE, [x, 4, emulation.Out(y)])


def test_blocks_that_write_the_same_byte_are_reported(kernels: Any, emulation: ModuleType) -> None:
    y = emulation.Out(np.empty(1, np.int32))

    kernels.launch("every_block_writes_the_same", ONE, ONE, [y])
    with pytest.raises(emulation.EmulationError, match="race on argument 0"):
        kernels.launch("every_block_writes_the_same", (2, 1, 1), ONE, [y])


def test_more_static_shared_memory_than_a_block_has_is_reported(kernels: Any, emulation: ModuleType) -> None:
    with pytest.raises(emulation.EmulationError, match="more than 48 KB"):
        kernels.launch("too_much_shared", ONE, ONE, [emulation.Out(np.empty(1, np.int32))])


def test_arguments_of_other_kinds_are_refused(kernels: Any) -> None:
    with pytest.raises(AssertionError, match="kinds pi"):
        kernels.launch("write_to", ONE, ONE, [numbers(), 3])


def test_warp_functions_deal_out_values_and_votes(
    kernels: Any, emulation: ModuleType, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 1000, 32).astype(np.int32)
    lanes = rng.integers(0, 32, 32).astype(np.int32)
    y = np.empty((4, 32), np.int32)

    kernels.launch("warp_functions", ONE, (32, 1, 1), [x, lanes, emulation.Out(y)])

    np.testing.assert_array_equal(y[0], x[lanes])
    np.testing.assert_array_equal(y[1], np.concatenate([x[:3], x[:-3]]))
    votes = sum(1 << i for i in range(32) if x[i] % 2)
    np.testing.assert_array_equal(y[2], x[np.arange(32) ^ 5])
    np.testing.assert_array_equal(y[3].view(np.uint32), votes)


def test_matrix_fragments_multiply_as_matrices(kernels: Any, emulation: ModuleType, rng: np.random.Generator) -> None:
    a = rng.integers(-8, 9, (16, 16)).astype(np.float16)
    b = rng.integers(-8, 9, (16, 8)).astype(np.float16)
    c = rng.integers(-8, 9, (16, 8)).astype(np.float32)
    y = np.empty((16, 8), np.float32)

    kernels.launch("matrix_product", ONE, (32, 1, 1), [a, b, c, emulation.Out(y)])

    np.testing.assert_array_equal(y, a.astype(np.float32) @ b.astype(np.float32) + c)


def test_half_arithmetic_rounds_once_to_nearest_even(
    kernels: Any, emulation: ModuleType, rng: np.random.Generator
) -> None:
    count = 4096
    bits = rng.integers(0, 1 << 16, (3, 2 * count), dtype=np.uint16)
    bits[:, :4] = [[0x0001, 0x7BFF, 0x3C00, 0x7C00]] * 3
    a, b, c = halves = bits.view(np.float16)
    f = (rng.standard_normal(count) * 10.0 ** rng.integers(-9, 6, count)).astype(np.float32)
    f[:6] = [65519, 65520, 2**-25, np.nextafter(np.float32(2**-25), 1), -np.inf, np.nan]
    product, fused = np.empty(2 * count, np.float16), np.empty(2 * count, np.float16)
    rounded, widened = np.empty(count, np.float16), np.empty(count, np.float32)
    outs = [emulation.Out(out) for out in (product, fused, rounded, widened)]

    kernels.launch("half_arithmetic", (count // 64, 1, 1), (64, 1, 1), [*(x.copy() for x in halves), f, *outs])

    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(product, a * b)
        wide = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
        np.testing.assert_array_equal(rounded, f.astype(np.float16))
    if np.finfo(np.longdouble).nmant >= 63:  # wide enough for any sum of a product and a half
        np.testing.assert_array_equal(fused, nearest_half(wide))
    np.testing.assert_array_equal(widened, rounded.astype(np.float32))


def nearest_half(exact: np.ndarray) -> np.ndarray:
    """Round long doubles to halves by comparing with the neighbours of a first guess, ties to even."""
    with np.errstate(all="ignore"):
        guess = exact.astype(np.float64).astype(np.float16)
        best = guess.copy()
        for candidate in (np.nextafter(guess, np.float16(np.inf)), np.nextafter(guess, np.float16(-np.inf))):
            closer = np.abs(exact - candidate.astype(np.longdouble)) - np.abs(exact - best.astype(np.longdouble))
            even = candidate.view(np.uint16) % 2 == 0
            take = np.isfinite(candidate) & np.isfinite(best) & ((closer < 0) | ((closer == 0) & even))
            best = np.where(take, candidate, best)
    return best
