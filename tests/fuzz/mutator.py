"""Change `.lic` files so that the code behind checksums and length fields is reached.

A file is taken apart into header fields, metadata, index records and streams; a few of these are changed, and the file
is put together again with every length and CRC right. Then, sometimes, bytes are changed and some CRCs stay wrong.
Rule: docs/format.md, section 1. Knows bytes; knows nothing of what a decoder does with them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import tiny_student
from hostile.forgery import Forgery, Tile

from fastlic.runtime.tiles import TileGrid

# Where off-by-one, sign and overflow mistakes live.
EDGES = (0, 1, 2, 3, 4, 7, 8, 47, 48, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 4097, 32767, 32768, 65535, 65536,
         2**24, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 5, 2**32 - 4, 2**32 - 1)  # fmt: skip
NUMBERS = {"width": 32, "height": 32, "tile_width": 16, "tile_height": 16, "rate": 16, "flags": 8}
LENGTHS = ("metadata_length", "index_length")


def taken_apart(data: bytes, map_bytes: int) -> Forgery:
    """A valid file in pieces.

    Args:
        data: the file.
        map_bytes: size of a tile's channel maps together.
    """
    tile_width, tile_height, rate = struct.unpack_from("<HHH", data, 10)
    width, height, metadata_length, index_length = struct.unpack_from("<4I", data, 28)
    at, end = 48 + metadata_length, 48 + metadata_length + index_length - 4
    tiles = []
    while at < end:
        channel_map, count = data[at : at + map_bytes], data[at + map_bytes]
        *words, crc = struct.unpack_from(f"<{count + 1}I", data, at + map_bytes + 1)
        tiles.append(Tile(channel_map, tuple(words), crc))
        at += map_bytes + 1 + 4 * (count + 1)
    metadata = data[48 : 48 + metadata_length - 4] if metadata_length else b""
    return Forgery(data[16:24], width, height, tile_width, tile_height, None, rate, metadata, None, None, tiles,
                   data[end + 4 :])  # fmt: skip


class Mutator:
    """An endless supply of damaged and forged files, the same for the same seed.

    Args:
        files: valid ones to begin with, all of one student.
        map_bytes: size of a tile's channel maps together.
        seed: of the random numbers.
    """

    def __init__(self, files: Sequence[bytes], map_bytes: int, seed: int) -> None:
        self._pieces = [taken_apart(data, map_bytes) for data in files]
        self._random = random.Random(seed)
        self._changes: tuple[Callable[[Forgery], None], ...] = (
            self._change_number,
            self._change_length,
            self._change_grid,
            self._change_metadata,
            self._change_tile,
            self._change_tile_list,
            self._change_streams,
            self._change_streams,
        )

    def next(self) -> bytes:
        """One file."""
        chance = self._random
        pieces = replace(chance.choice(self._pieces))
        pieces.tiles = [replace(tile) for tile in pieces.tiles]
        for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
            chance.choice(self._changes)(pieces)
        data = pieces.pack()
        if chance.random() < 0.3:
            data = self._damaged(data)
            for section in ("metadata", "index", "header"):
                if chance.random() < 0.8:
                    data = repaired(data, section)
        return data

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _change_number(self, pieces: Forgery) -> None:
        name = self._random.choice(tuple(NUMBERS))
        setattr(pieces, name, self._number(NUMBERS[name], getattr(pieces, name) or 0))

    def _change_length(self, pieces: Forgery) -> None:
        setattr(pieces, self._random.choice(LENGTHS), self._number(32, 48))

    def _change_grid(self, pieces: Forgery) -> None:
        """Another picture size, with as many index records as that has tiles."""
        chance = self._random
        pieces.width, pieces.height = chance.randint(1, 320), chance.randint(1, 320)
        pieces.tile_width, pieces.tile_height = chance.randint(1, 4), chance.randint(1, 4)
        grid = TileGrid(pieces.width, pieces.height, 64, 64 * pieces.tile_width, 64 * pieces.tile_height)
        tiles = pieces.tiles or [Tile()]
        pieces.tiles = [replace(tiles[number % len(tiles)]) for number in range(grid.count)]
        if chance.random() < 0.5:  # streams for all of them
            pieces.streams *= -(-len(pieces.tiles) // len(tiles))

    def _change_metadata(self, pieces: Forgery) -> None:
        chance = self._random
        blocks = [
            (chance.randint(0, 4), chance.randbytes(chance.choice((0, 1, 9, 300)))) for _ in range(chance.randint(0, 3))
        ]
        if chance.random() < 0.7:
            blocks.sort()
        pieces.metadata = b"".join(
            struct.pack("<BI", kind, self._number(32, len(body)) if chance.random() < 0.1 else len(body)) + body
            for kind, body in blocks
        )
        if chance.random() < 0.2:
            pieces.metadata = pieces.metadata[: chance.randint(0, len(pieces.metadata))]

    def _change_tile(self, pieces: Forgery) -> None:
        if not pieces.tiles:
            return
        chance, tile = self._random, self._random.choice(pieces.tiles)
        which = chance.randint(0, 4)
        if which == 0:
            tile.channel_map = self._damaged(tile.channel_map) or b"\x00"
        elif which == 1:
            tile.stream_count = self._number(8, len(tile.words))
        elif which == 2:
            tile.symbol_crc = self._number(32, tile.symbol_crc)
        elif which == 3 and tile.words:
            words = list(tile.words)
            words[chance.randrange(len(words))] = self._number(32, words[0])
            tile.words = tuple(words)
        else:  # as many words, otherwise shared out
            total, count = sum(tile.words), chance.choice((1, 2, 3, 64))
            cuts = sorted(chance.randint(0, total) for _ in range(count - 1)) if total < 2**31 else [0] * (count - 1)
            tile.words = tuple(b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True) if b - a < 2**32)

    def _change_tile_list(self, pieces: Forgery) -> None:
        chance, tiles = self._random, pieces.tiles
        if tiles and chance.random() < 0.5:
            tiles.pop(chance.randrange(len(tiles)))
        else:
            tiles.insert(chance.randint(0, len(tiles)), replace(chance.choice(tiles)) if tiles else Tile())

    def _change_streams(self, pieces: Forgery) -> None:
        """Other words; when their number changes, most often the index says so too."""
        before = len(pieces.streams)
        pieces.streams = self._damaged(pieces.streams)
        words = (len(pieces.streams) - before) // 4
        if words and pieces.tiles and self._random.random() < 0.8:
            tile = self._random.choice(pieces.tiles)
            if tile.words and 0 <= tile.words[-1] + words < 2**32:
                tile.words = (*tile.words[:-1], tile.words[-1] + words)

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _number(self, bits: int, near: int) -> int:
        """An unsigned number of so many bits: at an edge, near another, or any."""
        chance = self._random
        chosen = (chance.choice(EDGES), near + chance.randint(-2, 2), chance.getrandbits(bits))
        return chance.choice(chosen) % (1 << bits)

    def _damaged(self, data: bytes) -> bytes:
        """Bytes flipped, cut off, put in, doubled or exchanged."""
        chance, changed = self._random, bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randint(0, len(changed))
            size = chance.choice((1, 1, 2, 4, 4, 8, 32))
            which = chance.randint(0, 5)
            if which == 0 and at < len(changed):
                changed[at] ^= 1 << chance.randint(0, 7)
            elif which == 1:
                del changed[at : at + size]
            elif which == 2:
                changed[at:at] = chance.randbytes(size)
            elif which == 3:
                changed[at : at + size] = chance.choice((b"\x00", b"\xff", chance.randbytes(1))) * size
            elif which == 4:
                changed[at:at] = changed[at : at + size]
            else:
                source = chance.randint(0, len(changed))
                changed[at : at + size] = changed[source : source + size]
        return bytes(changed)


def repaired(data: bytes, section: str) -> bytes:
    """`data` with a section's CRC made right, if it has such a section."""
    try:
        return tiny_student.repaired(data, section)
    except struct.error:  # lengths that lead outside the data
        return data
