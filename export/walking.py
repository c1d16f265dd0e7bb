"""Walk through a student's coding steps without a file: with the symbols that the analysis wants, or with extreme ones.

Knows the schedule of a bundle; knows nothing of streams, which a caller may write on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fastlic.export.recipe import Arrays
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import Engine
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.manifest import IMAGE, RATE, Code
from fastlic.runtime.schedule import code_tile
from fastlic.runtime.student import Student
from fastlic.runtime.symbols import Symbols
from fastlic.runtime.tiles import Box

EXTREME_EDGES = (1, 3)
"""Height and width of a tile of extreme latents, in padding multiples."""

Coder = Callable[[Pass, np.ndarray], np.ndarray]
"""A pass and its symbols, int16 (C', h, w') -> what a reader would see of them."""


def code_picture(student: Student, tensors: Arrays, code: Coder = lambda pass_, symbols: symbols) -> Arrays:
    """Run the coding steps on one picture, as one tile.

    Args:
        student: a loaded bundle.
        tensors: what its analysis computed from the picture, the picture itself (or its shape's stand-in) among them.
        code: is given each pass, every channel active.

    Returns:
        All tensors of the tile.
    """
    height, width = tensors[IMAGE].shape[:2]
    box = Box(0, 0, width, height)
    symbols = Symbols(student.manifest, box, tensors)

    def coded(step: Code, pass_: Pass, known: Mapping[str, np.ndarray]) -> np.ndarray:
        return code(pass_, symbols.of(step, known))

    return _walk(student, box, coded, int(tensors[RATE][0]) if RATE in tensors else 0)


def code_extremes(packed: bytes, engine: Engine) -> None:
    """Run the coding steps on latents at the ends of int16, where only the graphs' own limits keep sums exact."""
    with Bundle(packed) as bundle:
        student, generator = Student(bundle, engine), np.random.default_rng(0)
        height, width = (edge * bundle.manifest.multiple for edge in EXTREME_EDGES)

        def extreme(_step: Code, pass_: Pass, _known: Mapping[str, np.ndarray]) -> np.ndarray:
            return generator.choice(np.array([-16383, 16383], np.int16), tuple(pass_.shape))

        _walk(student, Box(0, 0, width, height), extreme, student.rate(None))


def _walk(
    student: Student, box: Box, code: Callable[[Code, Pass, Mapping[str, np.ndarray]], np.ndarray], rate: int
) -> Arrays:
    return code_tile(
        student.manifest,
        student.tile_steps,
        box,
        student.graphs,
        student.distributions,
        {},
        code,
        given=student.given(rate),
    )
