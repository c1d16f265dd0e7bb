"""One decode cut into its stages.

Knows the names that the runtime gives stages; knows nothing of how often or where.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import fastlic

WHOLE, ENTROPY, REST = "whole decode", "entropy decoding", "everything else"
PASS = "code "
"""What the names of the passes begin with."""


def timed(decoder: fastlic.Decoder, data: bytes) -> dict[str, float]:
    """Decode once; seconds by stage, with WHOLE and ENTROPY (the sum of all passes) among them."""
    stages: dict[str, float] = {}
    start = time.perf_counter()
    decoder.decode(data, timings=stages)
    whole = time.perf_counter() - start
    passes = sum(seconds for stage, seconds in stages.items() if stage.startswith(PASS))
    return {WHOLE: whole, ENTROPY: passes, **stages}


def disjoint(stages: Iterable[str]) -> list[str]:
    """The stages that do not overlap: the passes, but not their sum."""
    return [stage for stage in stages if stage not in (WHOLE, ENTROPY)]


def with_rest(whole: float, stages: Mapping[str, float]) -> dict[str, float]:
    """Disjoint stages and REST, what none of them covers; together the whole."""
    parts = {stage: stages[stage] for stage in disjoint(stages)}
    return {**parts, REST: max(0.0, whole - sum(parts.values()))}
