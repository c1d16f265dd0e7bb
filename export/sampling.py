"""What a student's analysis computes from pictures, before there is a bundle to run it in.

Knows recipes and the engine that export runs them on; knows nothing of what the tensors are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastlic.export.recipe import Arrays, Recipe
from fastlic.runtime import engines, schedule
from fastlic.runtime.engines import Graph
from fastlic.runtime.manifest import IMAGE, RATE


def sample(recipe: Recipe, emitted: Mapping[str, bytes], pictures: Sequence[np.ndarray]) -> list[Arrays]:
    """Run the analysis steps.

    Args:
        recipe: names the steps.
        emitted: graph name -> ONNX model.
        pictures: uint8 (H, W, 3), H and W multiples of `recipe.multiple`.

    Returns:
        Every tensor, by name, of every picture; a student of several rates is asked for them in turn.
    """
    engine = engines.create("ort-cpu")
    try:
        graphs: dict[str, Graph] = {
            name: engine.load(emitted[name], name, exact=recipe.transforms[name].pinned)
            for name in {step.graph for step in recipe.analysis}
        }
        found: list[Arrays] = []
        for number, picture in enumerate(pictures):
            tensors: dict[str, np.ndarray] = {IMAGE: picture}
            if recipe.rates:
                tensors[RATE] = np.array([1 + number % recipe.rates], np.int32)
            for step in recipe.analysis:
                schedule.run(step, tensors, graphs)
            found.append(tensors)
        return found
    finally:
        engine.close()


def crop(pictures: Sequence[np.ndarray], number: int, size: tuple[int, int]) -> np.ndarray:
    """The top left (height, width) of one of the pictures, repeated where it is too small."""
    picture = pictures[number % len(pictures)]
    repeats = [-(-wanted // found) for wanted, found in zip(size, picture.shape[:2], strict=True)]
    return np.ascontiguousarray(np.tile(picture, (*repeats, 1))[: size[0], : size[1]])
