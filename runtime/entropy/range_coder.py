"""constriction's range coder, driven with integer frequencies.

Knows how to make a floating-point interface carry exact integers; knows nothing of distributions or passes.

constriction's `Categorical(perfect=False)` turns n weights into 24-bit frequencies 1 + weight * ((2^24 - n) / sum). A
row that holds frequency - 1 throughout sums to 2^24 - n: the factor is exactly 1, and the frequencies are those given.
Rule: docs/format.md, sections 3 and 3.1.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from fastlic.errors import CorruptedStream, DependencyMissing

TOTAL = 1 << 24
SHIFT = 8  # from 16-bit frequencies
MAX_DIGITS = 16


class _Library(NamedTuple):
    """constriction's `stream.queue`, the family of models that takes rows, and the model of an equally likely bit."""

    queue: Any
    family: Any
    bit: Any


@functools.cache
def library() -> _Library:
    """constriction, imported when it is first needed: the native reader does without, and not every system has it.

    Raises:
        DependencyMissing: it is not installed.
    """
    try:
        from constriction import stream
    except ImportError as error:
        raise DependencyMissing(
            f"constriction cannot be imported ({error}): without it nothing can be encoded, and only the native module "
            "decodes. `pip install constriction`; where there is no wheel of it, as on Linux on ARM, that compiles it, "
            "which needs Rust."
        ) from None
    categorical = stream.model.Categorical
    bit = categorical(np.full(2, TOTAL / 2 - 1), perfect=False)
    return _Library(stream.queue, categorical(perfect=False), bit)


def available() -> bool:
    """Whether constriction can be imported."""
    try:
        library()
    except DependencyMissing:
        return False
    return True


class SymbolWriter:
    """Writes the bytes of one stream.

    Raises:
        DependencyMissing: constriction is not installed.
    """

    def __init__(self) -> None:
        self._library = library()
        self._coder = self._library.queue.RangeEncoder()

    def write(self, left: np.ndarray, frequency: np.ndarray) -> None:
        """Write symbols by their intervals.

        Only the interval decides the bytes, so a row of three entries stands for any number of slots: [left,
        frequency, right]. An empty side is given a part of the other, as no frequency may be 0.

        Args:
            left: uint32 (n), 16-bit cumulative frequencies.
            frequency: uint32 (n), 1 to 2^16 - 1.
        """
        if not len(left):
            return
        below = left.astype(np.int64) << SHIFT
        inside = frequency.astype(np.int64) << SHIFT
        above = TOTAL - below - inside
        rows = np.stack([below, inside, above], axis=1)
        symbols = np.ones(len(rows), np.int32)
        first, last = below == 0, above == 0
        symbols[first], symbols[last] = 0, 2
        rows[first] = np.stack([inside, above // 2, above - above // 2], axis=1)[first]
        rows[last] = np.stack([below // 2, below - below // 2, inside], axis=1)[last]
        self._coder.encode(symbols, self._library.family, rows - 1.0)

    def write_excess(self, excess: int) -> None:
        """Write an Exp-Golomb code of equally likely bits."""
        digits = bin(excess + 1)[2:]
        bits = "0" * (len(digits) - 1) + digits
        self._coder.encode(np.array([int(bit) for bit in bits], np.int32), self._library.bit)

    def length(self) -> int:
        """Words of the stream if it ended here; once something more is written at most one fewer."""
        return self._coder.num_words()

    def finish(self) -> bytes:
        """All words, little endian."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class SymbolReader:
    """Reads the bytes of one stream.

    constriction accepts any words and does not tell how many it used. As a stream has exactly one form, everything
    read is written again, and at the end the words must be the same.

    Args:
        data: whole little-endian words.

    Raises:
        DependencyMissing: constriction is not installed.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._library = library()
        self._coder = self._library.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        self._again = SymbolWriter()

    def read(self, cdf: np.ndarray) -> np.ndarray:
        """Read n symbols.

        Args:
            cdf: int64 (n, W + 1), n > 0, 16-bit cumulative frequencies.

        Returns:
            int64 (n), slots.

        Raises:
            CorruptedStream: a quantile is out of range, or the words ended before these symbols did.
        """
        rows = (np.diff(cdf, axis=1) << SHIFT) - 1.0
        slots = self._decode(self._library.family, rows).astype(np.int64)
        each = np.arange(len(slots))
        left = cdf[each, slots]
        self._again.write(left, cdf[each, slots + 1] - left)
        if self._again.length() - 1 > len(self._data) // 4:  # whatever follows, it will not be these words
            raise CorruptedStream("it ends before its symbols do.")
        return slots

    def read_excess(self) -> int:
        """Read an Exp-Golomb code.

        Raises:
            CorruptedStream: more than `MAX_DIGITS` digits, or a quantile is out of range.
        """
        zeros = 0
        while not self._bit():
            zeros += 1
            if zeros == MAX_DIGITS:
                raise CorruptedStream(f"an excess is not a code of at most {MAX_DIGITS} digits.")
        value = 1
        for _ in range(zeros):
            value = 2 * value + self._bit()
        self._again.write_excess(value - 1)
        return value - 1

    def finish(self) -> None:
        """Raise `CorruptedStream` unless the stream ends here, in its one form."""
        if self._again.finish() != self._data:
            raise CorruptedStream("it does not end where its symbols do.")

    def _bit(self) -> int:
        return int(self._decode(self._library.bit))

    def _decode(self, *model: object) -> np.ndarray:
        try:
            return self._coder.decode(*model)
        except AssertionError:  # the only thing constriction raises for invalid words
            raise CorruptedStream("a quantile is out of range.") from None
