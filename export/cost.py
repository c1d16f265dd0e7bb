"""What a packed student's coding costs in bits against its float model, in total and by cause.

Knows bundles and the writer; knows nothing of families: the bits of a float model, and of steps between it and the
coding, are the recipe's to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastlic.errors import VerificationFailed
from fastlic.export.recipe import Arrays, Entropy
from fastlic.export.walking import code_picture
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import TOTAL, MixtureTables
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.manifest import IMAGE
from fastlic.runtime.student import Student

MAX_RATE_COST = 0.003
"""Of the float model's bits, on pictures that were not calibrated on."""
MIN_RATE = 0.02
"""Bits per pixel below which a share says nothing (an untrained student): the budget is a share of this then."""
LAST_CAUSE = "skip"
"""What coding adds to the last of a recipe's causes: elements that are not coded."""


@dataclass(frozen=True)
class Coding:
    """Information content of passes as written, channel maps aside, and what skipping did to them.

    Attributes:
        bits: of all passes.
        skippable: elements of mixtures that skip where one value is nearly certain.
        changed: those of them that a decoder sees changed.
    """

    bits: float = 0.0
    skippable: int = 0
    changed: int = 0

    def __add__(self, other: Coding) -> Coding:
        return Coding(self.bits + other.bits, self.skippable + other.skippable, self.changed + other.changed)


def measured(packed: bytes, samples: Sequence[Arrays], entropy: Entropy) -> dict[str, Any]:
    """The cost over pictures that were not calibrated on.

    Args:
        packed: the bundle.
        samples: each picture's tensors, the picture itself among them.
        entropy: knows the float model's bits.

    Returns:
        Facts for the manifest: `rate_cost`, fractions of the float model's bits by cause and in `total`, and its bits
        per pixel; and, where the student skips elements, the share of them that skipping changed.

    Raises:
        VerificationFailed: the cost is more than 0.3 %.
    """
    wanted, pixels, coding = 0.0, 0, Coding()
    steps: dict[str, float] = {}
    with Bundle(packed) as bundle:
        engine = engines.create("ort-cpu")
        student = Student(bundle, engine)
        for tensors in samples:
            wanted += entropy.float_bits(tensors)
            steps = {cause: steps.get(cause, 0.0) + bits for cause, bits in entropy.causes(tensors).items()}
            coding += coded(student, tensors)
            pixels += tensors[IMAGE].shape[0] * tensors[IMAGE].shape[1]
        engine.close()
    causes = (*steps, LAST_CAUSE) if steps else ()
    bits = pairwise((wanted, *steps.values(), coding.bits))
    shares = {cause: round((after - before) / wanted, 6) for cause, (before, after) in zip(causes, bits, strict=False)}
    added = coding.bits - wanted
    if added > MAX_RATE_COST * max(wanted, MIN_RATE * pixels):
        raise VerificationFailed(
            f"coding costs {100 * added / wanted:.2f} % more than the float model's bits, {100 * MAX_RATE_COST} % is "
            f"allowed{f': {shares}' if shares else ''}. Calibrate on more photographs (--calibration)."
        )
    facts: dict[str, Any] = {
        "rate_cost": {**shares, "total": round(added / wanted, 6), "float_bpp": round(wanted / pixels, 4)}
    }
    if coding.skippable:
        facts["skip_changed_elements"] = round(coding.changed / coding.skippable, 6)
    return facts


def coded(student: Student, tensors: Arrays) -> Coding:
    """One picture's passes as written."""
    writer, skippable, changed = StreamWriter(), 0, 0

    def code(pass_: Pass, symbols: np.ndarray) -> np.ndarray:
        nonlocal skippable, changed
        seen = writer.code(pass_, symbols)
        if isinstance(pass_.distribution, MixtureTables) and pass_.distribution.skip_threshold < TOTAL:
            skippable += symbols.size
            changed += int((seen != symbols).sum())
        return seen

    code_picture(student, tensors, code)
    return Coding(writer.bits(), skippable, changed)
