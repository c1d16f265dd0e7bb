"""Write chosen symbols as the streams of a tile, whatever picture they belong to, if any."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import code_tile, gather
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import Box


def write_tile(
    student: Student,
    box: Box,
    latents: Mapping[str, np.ndarray],
    active: Mapping[str, np.ndarray],
    stream_count: int,
    rate: int = 0,
) -> tuple[list[bytes], dict[str, np.ndarray]]:
    """The streams that a reader turns into these symbols.

    Args:
        student: whose exact graphs give the distributions.
        box: the tile, in pixels.
        latents: int16 (C, h, w); an encoder's rules apply to them: skipped and inactive elements come out otherwise.
        active: latent -> bool (C), for the latents with a channel map.
        stream_count: 1 to 64.
        rate: of a student of several.

    Returns:
        The bytes of each stream, and all tensors as a decoder will have them.
    """
    writer = StreamWriter()

    def write(step: Code, pass_: Pass, _: Mapping[str, np.ndarray]) -> np.ndarray:
        return writer.code(pass_, gather(latents[step.latent], step))

    steps, given = student.coding_steps, student.given(rate)
    seen = code_tile(student.manifest, steps, box, student.graphs, student.distributions, active, write, given=given)
    return writer.finish(stream_count), seen
