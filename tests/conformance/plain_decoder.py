"""A slow decoder of the coded part of docs/format.md, sections 3 and 4, written from that document alone.

It shares no code with fastlic and uses integers and lists for all arithmetic, so that a mistake in the document or
in the fast decoder shows as a difference between two programs. NumPy only carries int16 tensors in and out and loads
`.npy` entries. Networks are not its subject: a caller passes `evaluate(graph name, inputs) -> outputs`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from conformance.plain_container import ENTRY_KEYS, Tile, coded_latents, coding_steps, read_file, require

MASK = 2**64 - 1
WIDTHS = (8, 16, 32, 64, 128, 256, 512)
Evaluate = Callable[[str, list[np.ndarray]], Sequence[np.ndarray]]
Element = tuple[int, int, int]


# --- 3. Passes and the range coder ----------------------------------------------------------------------------------


@dataclass
class Window:
    """Distribution of one element: W slots; `cumulative(j)` is C(j) for 0 <= j <= W."""

    width: int
    low: int
    cumulative: Callable[[int], int]

    def frequency(self, slot: int) -> int:
        """Frequency of a slot, of 2^16."""
        return self.cumulative(slot + 1) - self.cumulative(slot)


COIN = Window(2, 0, lambda j: j << 15)


class RangeDecoder:
    """One stream, section 3.1."""

    def __init__(self, data: bytes) -> None:
        self.words = [word for (word,) in struct.iter_unpack("<I", data)]
        self.lower, self.range, self.taken, self.symbols = 0, MASK, 0, 0
        self.point = self.next_word() << 32
        self.point |= self.next_word()

    def next_word(self) -> int:
        """The next word; 0 beyond the end."""
        self.taken += 1
        return self.words[self.taken - 1] if self.taken <= len(self.words) else 0

    def decode(self, window: Window) -> int:
        """The next slot."""
        self.symbols += 1
        scale = self.range >> 24
        quantile = ((self.point - self.lower) & MASK) // scale
        require(quantile < 2**24, "quantile inside the range")
        below, above = 0, window.width
        while above - below > 1:
            middle = (below + above) // 2
            if window.cumulative(middle) << 8 <= quantile:
                below = middle
            else:
                above = middle
        self.lower = (self.lower + scale * (window.cumulative(below) << 8)) & MASK
        self.range = scale * (window.frequency(below) << 8)
        if self.range < 2**32:
            self.lower, self.range = (self.lower << 32) & MASK, self.range << 32
            self.point = ((self.point << 32) & MASK) | self.next_word()
        return below

    def excess(self) -> int:
        """An Exp-Golomb code, section 3 rule 6."""
        digits = 1
        while self.decode(COIN) == 0:
            digits += 1
            require(digits <= 16, "an excess has at most 16 digits")
        number = 1
        for _ in range(digits - 1):
            number = 2 * number + self.decode(COIN)
        return number - 1

    def check_end(self) -> None:
        """The one form in which a stream may end."""
        if self.symbols == 0:
            return require(not self.words, "a stream of no symbols has no words")
        seal = ((self.lower + 2**32 - 1) & MASK) >> 32
        second = ((self.lower + self.range) & MASK) >> 32 == seal
        require(len(self.words) == self.taken - 2 + (2 if second else 1), "number of words")
        return require(self.point == seal << 32, "seal")


def decode_pass(
    streams: list[RangeDecoder], windows: dict[Element, Window], skip_threshold: int | None
) -> dict[Element, int]:
    """Values of a pass by (packed channel, row, packed column); `windows` has its active elements only."""
    values, coded = {}, []
    for element in sorted(windows):
        window = windows[element]
        centre = window.width // 2
        if skip_threshold is not None and window.frequency(centre) >= skip_threshold:
            values[element] = window.low + centre
        else:
            coded.append(element)
    coded.sort(key=lambda element: windows[element].width)  # stable: channel, row, column within a width
    n, S = len(coded), len(streams)
    for s, stream in enumerate(streams):
        share = coded[n * s // S : n * (s + 1) // S]
        slots = {element: stream.decode(windows[element]) for element in share}
        for element, slot in slots.items():
            window = windows[element]
            value = window.low + slot
            if slot == 0:
                value = window.low - stream.excess()
            elif slot == window.width - 1:
                value += stream.excess()
            require(-16383 <= value <= 16383, "range of values")
            values[element] = value
    return values


def decode_tile(
    tile: Tile, rate: int, manifest: dict[str, Any], entries: dict[str, bytes], evaluate: Evaluate
) -> dict[str, np.ndarray]:
    """All latents of a tile, int16 (C, h, w), in order of first coding; seals and checksum hold."""
    tensors = {}
    for name in coded_latents(manifest):
        stride, channels = manifest["latents"][name]["stride"], manifest["latents"][name]["channels"]
        tensors[name] = np.zeros((channels, tile.rows // stride, tile.columns // stride), "<i2")
    latents = dict(tensors)
    if manifest.get("rates", 0):
        tensors["rate"] = np.array([rate], "<i4")
    streams = [RangeDecoder(data) for data in tile.streams]
    for step in coding_steps(manifest):
        if step["step"] == "run":
            outputs = evaluate(step["graph"], [tensors[name].copy() for name in step["inputs"]])
            tensors |= dict(zip(step["outputs"], outputs, strict=True))
            continue
        latent, name, (first, end) = latents[step["latent"]], step.get("parameters"), step["channels"]
        parity = step.get("parity", "all")
        distribution = read_distribution(manifest["distributions"][step["distribution"]], entries)
        parameters = None if name is None else tensors[name].tolist()
        windows, place = {}, {}
        for c, r, j in np.ndindex(end - first, latent.shape[1], latent.shape[2] // (1 if parity == "all" else 2)):
            if tile.active[step["latent"]][first + c]:
                windows[c, r, j] = distribution.window(c, None if parameters is None else parameters[r][j][c])
            column = j if parity == "all" else 2 * j + ((r + (parity == "odd")) & 1)
            place[c, r, j] = first + c, r, column
        for element, value in decode_pass(streams, windows, distribution.skip_threshold).items():
            latent[place[element]] = value
    for stream in streams:
        stream.check_end()
    crc = 0
    for latent in latents.values():
        crc = zlib.crc32(latent.tobytes(), crc)
    require(crc == tile.symbol_crc, "symbol_crc")
    return latents


def decode(
    data: bytes, manifest: dict[str, Any], entries: dict[str, bytes], evaluate: Evaluate
) -> Iterator[dict[str, np.ndarray]]:
    """Latents of each tile of a file, in order."""
    file = read_file(data, manifest)
    for tile in file.tiles:
        yield decode_tile(tile, file.rate, manifest, entries, evaluate)


# --- 4. Distributions -----------------------------------------------------------------------------------------------

ENTRY_TYPES = {
    "cdf": "int32", "window": "int16", "low": "int16",
    "exponential": "uint16", "thresholds": "int16", "inverse_scale": "uint32", "tail": "int32", "half_cdf": "uint16",
}  # fmt: skip


def read_distribution(spec: dict[str, Any], entries: dict[str, bytes]) -> Table | Mixture:
    """The tables of one distribution as lists."""

    def load(key: str) -> list[Any]:
        array = np.load(io.BytesIO(entries[spec[key]]), allow_pickle=False)
        require(array.dtype == ENTRY_TYPES[key], f"type of {key}")
        return array.tolist()

    if spec["kind"] == "table":
        return Table(*(load(key) for key in ENTRY_KEYS["table"]))
    tables = (load(key) for key in ENTRY_KEYS["mixture"])
    return Mixture(len(spec["families"]), spec["components"], spec["skip_threshold"], *tables)


@dataclass
class Table:
    """Section 4.1."""

    cdf: list[list[int]]
    widths: list[int]
    low: list[int]
    skip_threshold = None

    def __post_init__(self) -> None:
        require(len(self.cdf) == len(self.widths) == len(self.low), "rows of a table")
        for row, W, low in zip(self.cdf, self.widths, self.low, strict=True):
            require(W in WIDTHS and len(row) == 513, "shape of a table's row")
            require(low + 1 >= -16383 and low + W - 2 <= 16383, "values of a table's row")
            require(row[0] == 0 and all(value == 2**16 for value in row[W:]), "ends of a table's row")
            require(all(row[j] < row[j + 1] for j in range(W)), "frequencies of a table's row")

    def window(self, channel: int, parameter: int | None) -> Window:
        """The row of the packed channel, or the one that the parameter names."""
        row = channel if parameter is None else parameter
        require(0 <= row < len(self.cdf), "a row of the table")
        return Window(self.widths[row], self.low[row], self.cdf[row].__getitem__)


@dataclass
class Mixture:
    """Section 4.2."""

    families: int
    components: int
    skip_threshold: int
    exponential: list[int]
    thresholds: list[list[int]]
    inverse_scale: list[list[int]]
    tail: list[list[int]]
    half_cdf: list[list[int]]

    def __post_init__(self) -> None:
        def ascends(row: list[int]) -> bool:
            return row == sorted(row)

        require(1 <= self.families <= 3 and 1 <= self.families * self.components <= 16, "number of components")
        require(1 <= self.skip_threshold <= 2**16, "skip_threshold")
        require(self.exponential[0] > 0 and ascends(self.exponential[::-1]), "exponential")
        require(all(map(ascends, self.thresholds)), "thresholds")
        require(all(min(row) > 0 for row in self.inverse_scale), "inverse_scale")
        require(all(min(row) >= 0 and max(row) <= 2**20 for row in self.tail), "tail")
        for row in self.half_cdf:
            require(row[0] == 0 and ascends(row) and row[-1] == row[-2] <= 32767, "half_cdf")

    def weights(self, logits: list[int], family_logits: list[int]) -> list[int]:
        """K weights that sum to 2^15."""
        n = self.components
        g = self.exponentials(family_logits) if self.families > 1 else [1]
        weights = []
        for family in range(self.families):
            e = self.exponentials(logits[family * n : (family + 1) * n])
            weights += [(g[family] * e_k * 2**15) // (sum(g) * sum(e)) for e_k in e]
        weights[weights.index(max(weights))] += 2**15 - sum(weights)
        return weights

    def exponentials(self, logits: list[int]) -> list[int]:
        """E at the distance of each logit below the largest."""
        return [self.exponential[min(255, max(logits) - logit)] for logit in logits]

    def window(self, _channel: int, parameters: list[int]) -> Window:
        """Window and CDF of an element with these P parameters."""
        K = self.families * self.components
        family = [k // self.components for k in range(K)]
        means, scale_indices = parameters[K : 2 * K], parameters[2 * K : 3 * K]
        weights = self.weights(parameters[:K], parameters[3 * K :])
        level = [sum(t <= scale_indices[k] for t in self.thresholds[family[k]]) for k in range(K)]
        live = [k for k in range(K) if weights[k] > 0]
        centre = (means[weights.index(max(weights))] + 16) >> 5
        reach = max(abs(means[k] - 32 * centre) + self.tail[family[k]][level[k]] for k in live)
        width = next((width for width in WIDTHS if 16 * width >= reach), 512)
        low = centre - width // 2

        def cumulative(j: int) -> int:
            if j in (0, width):
                return 2**16 * (j // width)
            total = 0
            for k in live:
                d = 32 * (low + j) - 16 - means[k]
                u = min((abs(d) * self.inverse_scale[family[k]][level[k]]) >> 12, 512 << 8)
                H, i = self.half_cdf[family[k]], u >> 8
                h = H[i] + (((H[i + 1] - H[i]) * (u & 255)) >> 8)
                total += weights[k] * (2**15 + h if d >= 0 else 2**15 - h)
            return (((total >> 15) * (2**16 - width)) >> 16) + j

        return Window(width, low, cumulative)
