"""Cut a picture into entropy tiles and transform windows.

Entropy tiles are independent of each other and written in the file; windows are only how a transform is evaluated piece
by piece, with a halo so that no seam shows. Both are boxes in pixels of the padded picture.
Rule: docs/format.md, sections 1.3 and 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

TARGET_EDGE = 1024
"""Pixels; edge that the writer's tiles and the windows aim at. Larger ones cost memory, smaller ones bits and halo."""


class Box(NamedTuple):
    """Half-open rectangle, in pixels unless `scaled`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    def scaled(self, stride: int) -> Box:
        """The same box in elements of `stride` pixels; all edges must be multiples of it."""
        return Box(*(edge // stride for edge in self))

    def aligned(self, multiple: int) -> Box:
        """The smallest box around this one whose edges are multiples of `multiple`."""
        left, top = (edge // multiple * multiple for edge in self[:2])
        return Box(left, top, _up(self.right, multiple), _up(self.bottom, multiple))

    def within(self, outer: Box) -> Box:
        """This box in coordinates relative to `outer`."""
        return Box(self.left - outer.left, self.top - outer.top, self.right - outer.left, self.bottom - outer.top)

    def grown(self, margin: int, bounds: Box) -> Box:
        """Extended by `margin` on each side, as far as `bounds` allows."""
        return Box(
            max(self.left - margin, bounds.left),
            max(self.top - margin, bounds.top),
            min(self.right + margin, bounds.right),
            min(self.bottom + margin, bounds.bottom),
        )

    def common(self, other: Box) -> Box:
        """The part that both boxes cover; its width or height is not above 0 if they do not meet."""
        return Box(*map(max, self[:2], other[:2]), *map(min, self[2:], other[2:]))

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    @property
    def empty(self) -> bool:
        """Whether the box covers nothing."""
        return self.left >= self.right or self.top >= self.bottom

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns), to index the last two axes of an array, or the first two of a picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles of one picture, row-major, from its top left corner.

    Attributes:
        width, height: of the picture, in pixels.
        multiple: pixels; the picture is padded to multiples of it and tiles consist of whole ones.
        tile_width, tile_height: of a full tile, in pixels.
    """

    width: int
    height: int
    multiple: int
    tile_width: int
    tile_height: int

    @classmethod
    def choose(cls, width: int, height: int, multiple: int) -> TileGrid:
        """The writer's choice: tiles of equal size, as near as possible below `TARGET_EDGE`."""
        return cls(width, height, multiple, _edge(width, multiple), _edge(height, multiple))

    @property
    def padded(self) -> Box:
        """The padded picture."""
        return Box(0, 0, _up(self.width, self.multiple), _up(self.height, self.multiple))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-self.padded.width // self.tile_width) * -(-self.padded.height // self.tile_height)

    def __iter__(self) -> Iterator[Box]:
        return _cut(self.padded, self.tile_width, self.tile_height)


def windows(padded: Box, multiple: int, halo: int, area: Box | None = None) -> Iterator[tuple[Box, Box]]:
    """Pieces in which a transform is evaluated.

    Args:
        padded: the padded picture.
        multiple: pixels; every edge is a multiple of it.
        halo: pixels that a window needs around it, rounded up to `multiple`.
        area: the part of the picture wanted; None: all of it.

    Yields:
        (inner, outer): the part of the output to keep, and the part of the input to feed.
    """
    area = padded if area is None else area
    for inner in _cut(area, _edge(area.width, multiple), _edge(area.height, multiple)):
        yield inner, fed(inner, padded, multiple, halo)


def fed(area: Box, padded: Box, multiple: int, halo: int) -> Box:
    """What a transform must be fed to give `area`; arguments as for `windows`."""
    return area.grown(_up(halo, multiple), padded)


def _cut(area: Box, width: int, height: int) -> Iterator[Box]:
    for top in range(area.top, area.bottom, height):
        for left in range(area.left, area.right, width):
            yield Box(left, top, min(left + width, area.right), min(top + height, area.bottom))


def _edge(length: int, multiple: int) -> int:
    """Edge of equal pieces of `length` pixels, in multiples, near and not above the target (or one multiple)."""
    pieces = -(-length // max(multiple, TARGET_EDGE))
    return _up(-(-length // pieces), multiple)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
