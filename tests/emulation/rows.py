"""Rows of the CUDA kernels beside the CPU's decoder on millions of random parameters: `python -m emulation.rows`.

K1, scan and K2 are run in the emulator on passes of random parameters, plausible and arbitrary ones in turn, for both
mixtures that there are kernels for. A stream coded with the CPU's frequencies is then decoded twice: by the CPU's lazy
decoder, which knows the parameters, and from the kernels' rows alone. Beside every symbol's interval, which the streams
compare, random slots of each row are compared with what the CPU says of them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import random_passes
from emulation.kernels import Decoding, Kernels

from fastlic.runtime.entropy.intervals import intervals_of
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import NativeReader
from fastlic.runtime.entropy.tables import WINDOWS
from fastlic.runtime.entropy.writer import StreamWriter

MIXTURES = (random_passes.GLLMM, ("normal",))
SHAPE = (64, 16, 16)


def compare(
    run: Kernels, rng: np.random.Generator, families: tuple[str, ...], wild: bool, slots: int
) -> tuple[int, int]:
    """Prepare one random pass by kernels and by the CPU; raise AssertionError where they differ.

    Returns:
        Parameters of the pass, and entries of rows that were compared.
    """
    tables = random_passes.mixture_tables(families)
    parameters = random_passes.random_parameters(rng, (*SHAPE[1:], SHAPE[0]), tables, wild)
    pass_ = Pass(tables, parameters, SHAPE)
    done = Decoding(pass_, 512 * int(np.prod(SHAPE))).by_kernels(run)
    count = int(done.starts[-1])
    elements, classes = done.elements[:count], np.repeat(np.arange(len(WINDOWS)), np.diff(done.starts))
    width = np.array(WINDOWS)[classes]
    begin = np.concatenate([[0], width.cumsum()])[:-1]
    low = done.rows[begin].view(np.int16).astype(np.int64)
    padded = np.append(done.rows.astype(np.int64), 0)

    values = np.zeros(SHAPE, np.int16)
    for _ in range(slots):
        slot = rng.integers(0, width)
        values.reshape(-1)[elements] = low + slot
        _, intervals = intervals_of(pass_, values, use_native=True)
        left = np.where(slot == 0, 0, padded[begin + slot])
        right = np.where(slot == width - 1, 1 << 16, padded[begin + slot + 1])
        np.testing.assert_array_equal(intervals.left, left)
        np.testing.assert_array_equal(intervals.frequency, right - left)

    writer = StreamWriter()
    seen = writer.code(pass_, values)
    streams = writer.finish(3)
    lazy, by_rows = NativeReader(streams, 1), NativeReader(streams, 1)
    decoded = lazy.code(pass_)
    np.testing.assert_array_equal(decoded, seen)
    np.testing.assert_array_equal(by_rows.code_rows(done.rows, done.starts), decoded.reshape(-1)[elements])
    lazy.finish()
    by_rows.finish()
    return parameters.size, 2 * slots * count


def main() -> None:
    """Compare until there were enough parameters, and say how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--millions", type=float, default=2.0, help="of parameters")
    parser.add_argument("--slots", type=int, default=6, help="of each row")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    run, rng, begun = Kernels(), np.random.default_rng(options.seed), time.perf_counter()
    parameters = entries = passes = 0
    while parameters < options.millions * 1e6:
        found = compare(run, rng, MIXTURES[passes % 2], bool(passes // 2 % 2), options.slots)
        parameters, entries, passes = parameters + found[0], entries + found[1], passes + 1
    seconds = time.perf_counter() - begun
    print(f"{passes} passes, {parameters:,} parameters, {entries:,} entries of rows: 0 differ; {seconds:.0f} s")


if __name__ == "__main__":
    main()
