"""What a packed student's coding costs in bits against its float model.

Knows bundles and the writer; knows nothing of families. The split by cause that Fu 2023 has is
`rate`'s; here is the total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastlic.errors import VerificationFailed
from fastlic.export.recipe import Arrays
from fastlic.export.walking import code_picture
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.manifest import IMAGE
from fastlic.runtime.student import Student

MAX_RATE_COST = 0.003
"""Of the float model's bits, on pictures that were not calibrated on."""
MIN_RATE = 0.02
"""Bits per pixel below which a share says nothing (an untrained student): the budget is a share of this then."""


def measured(packed: bytes, samples: Sequence[Arrays], float_bits: Callable[[Arrays], float]) -> dict[str, float]:
    """The cost over pictures that were not calibrated on.

    Args:
        packed: the bundle.
        samples: each picture's tensors, the picture itself among them.
        float_bits: the float model's bits of one picture.

    Returns:
        Facts for the manifest: `total`, a fraction, and bits per pixel of the float model.

    Raises:
        VerificationFailed: the cost is more than 0.3 %.
    """
    wanted = coded = pixels = 0.0
    with Bundle(packed) as bundle:
        engine = engines.create("ort-cpu")
        student = Student(bundle, engine)
        for tensors in samples:
            wanted += float_bits(tensors)
            coded += coded_bits(student, tensors)
            pixels += tensors[IMAGE].shape[0] * tensors[IMAGE].shape[1]
        engine.close()
    share = (coded - wanted) / wanted
    if coded - wanted > MAX_RATE_COST * max(wanted, MIN_RATE * pixels):
        raise VerificationFailed(
            f"coding costs {100 * share:.2f} % more than the float model's bits, {100 * MAX_RATE_COST} % is allowed. "
            "Calibrate on more photographs (--calibration)."
        )
    return {"total": round(share, 6), "float_bpp": round(wanted / pixels, 4)}


def coded_bits(student: Student, tensors: Arrays) -> float:
    """Information content of one picture's passes as written, channel maps aside."""
    writer = StreamWriter()
    code_picture(student, tensors, writer.code)
    return writer.bits()
