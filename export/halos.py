"""The halo of every picture-scope graph of a recipe, by `halo.measure`.

Knows ports; how a halo is found is `halo`'s matter. Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fastlic.errors import VerificationFailed
from fastlic.export import halo, walking
from fastlic.export.recipe import SELECTED, FloatGraph, Recipe, picture_in
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.manifest import IMAGE, RATE, Run
from fastlic.runtime.schedule import run
from fastlic.runtime.student import Student


def measured(packed: bytes, recipe: Recipe, pictures: Sequence[np.ndarray]) -> dict[str, int]:
    """Pixels, by graph.

    Args:
        packed: a bundle of the recipe, whatever its halos say.
        recipe: every picture-scope graph of it is measured, at its middle rate.
        pictures: uint8 (H, W, 3), to make strips of.

    Raises:
        VerificationFailed: a graph sees too far, or takes inputs of several resolutions.
    """
    strip = halo.strip_of(pictures)
    height, width = (size // recipe.multiple * recipe.multiple for size in strip.shape[:2])
    wide = np.ascontiguousarray(strip[:height, :width])
    with Bundle(packed) as bundle:
        engine = engines.create("ort-cpu")
        student = Student(bundle, engine)
        strips = [
            _tensors(student, recipe, picture) for picture in (wide, np.ascontiguousarray(wide.transpose(1, 0, 2)))
        ]
        engine.close()
    return {
        name: max(_halo(name, graph, recipe, strips, number) for number in range(len(graph.outputs)))
        for name, graph in recipe.transforms.items()
        if graph.scope == "picture"
    }


def _tensors(student: Student, recipe: Recipe, picture: np.ndarray) -> dict[str, Tensor]:
    """Every tensor of a picture, as one tile and one window, before the schedule's picture steps."""
    tensors = {IMAGE: picture, **student.given(student.rate(None))}
    for step in recipe.analysis:
        run(step, tensors, student.graphs)
    tensors |= walking.code_picture(student, tensors)
    found = {name: torch.from_numpy(array) for name, array in tensors.items()}
    return {**found, IMAGE: picture_in(found[IMAGE])}


@torch.no_grad()
def _halo(name: str, graph: FloatGraph, recipe: Recipe, strips: Sequence[Mapping[str, Tensor]], output: int) -> int:
    """Of one output: the graph's inputs are stacked along the channels, so that one strip is cut."""
    inputs = [port for port in graph.inputs if port != SELECTED]
    strides = {port.stride for port in inputs}
    if len(strides) != 1:
        raise VerificationFailed(f"{name}: its inputs have strides {sorted(strides)}; a halo needs one.")
    names = _tensor_names(recipe, name)
    sizes = [strips[0][names[port.name]].shape[0] for port in inputs]
    rate = strips[0].get(RATE, torch.zeros(1, dtype=torch.int32))

    def transform(stacked: Tensor) -> Tensor:
        parts = iter(stacked[0].split(sizes))
        given = [rate if port == SELECTED else next(parts) for port in graph.inputs]
        return graph.module.values(*given)[output].float()[None]

    stacks = [torch.cat([strip[names[port.name]].float() for port in inputs])[None] for strip in strips]
    step = math.lcm(halo.STEP, *strides, graph.outputs[output].stride)
    return halo.measure(transform, stacks, strides.pop(), name, step)


def _tensor_names(recipe: Recipe, graph: str) -> dict[str, str]:
    """Port name -> tensor name, as the first step that runs the graph has it."""
    step = next(s for s in (*recipe.analysis, *recipe.schedule) if isinstance(s, Run) and s.graph == graph)
    return {port.name: name for port, name in zip(recipe.transforms[graph].inputs, step.inputs, strict=True)}
