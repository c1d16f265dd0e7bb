"""Fu 2023 as a recipe: transforms that are the student's, exact graphs that equal the oracle, tables wide enough."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from fastlic.export.graphs import round_to_half
from fastlic.export.recipe import Entropy, Recipe
from fastlic.export.students.deform import DeformConv2d, zero_offsets
from fastlic.runtime import engines


def latents(model, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    z = generator.laplace(0, 2, (model.configuration.hyper_channels, 3, 4))
    y = generator.laplace(0, 3, (model.configuration.M, 12, 16))
    return {"z": np.round(z).astype(np.int16), "y": np.round(y).astype(np.int16)}


@pytest.fixture(scope="module")
def recipe(variant) -> Recipe:
    return variant.recipe()


@pytest.fixture(scope="module")
def entropy(variant, recipe: Recipe) -> Entropy:
    return recipe.entropy([latents(variant, seed) for seed in range(1, 5)])


@torch.no_grad()
def test_synthesis_is_the_student_in_levels_and_rounds_and_clips_to_bytes(variant, recipe: Recipe) -> None:
    model = copy.deepcopy(variant)
    round_to_half(model.g_s)
    y = torch.randint(-40, 40, (model.configuration.M, 4, 8), dtype=torch.int16)

    (image,), (levels,) = (
        evaluate(y)
        for evaluate in (recipe.transforms["synthesis"].module, recipe.transforms["synthesis"].module.values)
    )

    wanted = 255 * model.g_s(y.float()[None])[0]
    torch.testing.assert_close(levels, wanted, atol=1e-3, rtol=1e-4)
    assert image.dtype == torch.uint8
    assert image.shape == (64, 128, 3)
    # Half a level of rounding, and float32 sums in another order.
    assert (image.permute(2, 0, 1) - wanted.clamp(0, 255)).abs().max() <= 0.5 + 1e-3


def test_deformable_convolutions_without_offsets_become_plain_ones_in_the_bundle_only(tiny) -> None:
    model = copy.deepcopy(tiny)
    zero_offsets(model.g_a)

    transforms = model.recipe().transforms

    enabled = {
        name: {module.enabled for module in transforms[name].module.modules() if isinstance(module, DeformConv2d)}
        for name in ("analysis", "synthesis")
    }
    assert enabled == {"analysis": {False}, "synthesis": {True}}
    assert all(module.enabled for module in model.modules() if isinstance(module, DeformConv2d))


@pytest.mark.parametrize("extreme", [False, True])
def test_every_port_of_the_exact_graphs_equals_its_oracle(variant, entropy: Entropy, extreme: bool) -> None:
    tensors = latents(variant, 9)
    if extreme:
        generator = np.random.default_rng(0)
        ends = np.array([-16383, 16383], np.int16)
        tensors = {key: generator.choice(ends, value.shape) for key, value in tensors.items()}
    engine = engines.create("ort-cpu", threads=1)

    for name, graph in entropy.exact.items():
        inputs = [tensors[port.name] for port in graph.inputs]
        found = engine.load(graph.content, name, exact=True)(inputs)
        for port, one, other in zip(graph.outputs, found, graph.reference(inputs), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{name}, {port.name}")
            tensors[port.name] = one
    engine.close()


def test_first_layer_of_the_context_is_certified_in_both_graphs(entropy: Entropy) -> None:
    both = set(entropy.exact["hyper"].certificates) & set(entropy.exact["context"].certificates)

    assert both == {"pen_nonanchor.0"}
    layers = [layer.name for graph in entropy.exact.values() for layer in graph.layers]
    assert len(layers) == len(set(layers))
    assert set(layers) == {name for graph in entropy.exact.values() for name in graph.certificates}
