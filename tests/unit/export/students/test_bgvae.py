"""BG-VAE: its blocks are local, its graphs one after the other are the model, its configuration has no gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastlic.errors import CheckpointError
from fastlic.export.recipe import FloatGraph, Recipe, finished
from fastlic.export.students import from_configuration
from fastlic.export.students.balanced import BalancedConvNext, ChannelNorm, CrossAttention, WaveletDown, WaveletUp
from fastlic.export.students.bgvae import BgVae
from fastlic.runtime.manifest import Code, Run

CONFIGURATION: dict[str, Any] = {
    "student": "bgvae",
    "widths": [4, 4, 4, 4],
    "kernels": [3, 3, 3, 3],
    "latents": [[2], [2, 1], [1, 1, 1], [1, 1, 1]],
    "heads": 2,
    "expansion": 2,
    "embedding": 4,
    "lambdas": [0.002, 0.008, 0.032],
    "scale_activation": "softplus(x) + 0.11",
    "input": "RGB in [0, 1]",
}


@pytest.fixture(scope="module")
def student() -> BgVae:
    torch.manual_seed(4)
    model = BgVae.from_configuration(CONFIGURATION).eval()
    with torch.no_grad():
        for posterior in model.posteriors:
            posterior.get_submodule("head").get_parameter("weight").mul_(4)
    return model


def touched(change: torch.Tensor) -> set[int]:
    """Columns where (1, C, h, w) is not zero."""
    return {int(column) for column in change.abs().amax((0, 1, 2)).nonzero()}


def test_balanced_block_sees_twice_its_kernel_and_no_more() -> None:
    torch.manual_seed(0)
    block, e = BalancedConvNext(2, 5, 2, 3), torch.randn(3)
    x, moved = torch.zeros(1, 2, 9, 21), torch.zeros(1, 2, 9, 21)
    moved[..., 10] = 1

    with torch.no_grad():
        block.balance.normal_()
        change = block(moved, e) - block(x, e)

    assert touched(change) == set(range(10 - 4, 10 + 5))


def test_attention_sees_a_neighbourhood_of_three() -> None:
    torch.manual_seed(0)
    block = CrossAttention(4, 4, 2)
    x, other, moved = torch.randn(1, 4, 3, 11), torch.zeros(1, 4, 3, 11), torch.zeros(1, 4, 3, 11)
    moved[..., 5] = 1

    with torch.no_grad():
        change = block(x, moved) - block(x, other)

    assert touched(change) == {4, 5, 6}


def test_norm_makes_each_position_mean_zero_and_variance_one() -> None:
    y = ChannelNorm(8)(torch.randn(1, 8, 2, 3) * 7 + 2)

    assert float(y.mean(1).abs().max().detach()) < 1e-5
    assert float((y.var(1, correction=0) - 1).abs().max().detach()) < 1e-3


def test_wavelets_halve_and_double() -> None:
    assert WaveletDown(3, 5)(torch.zeros(1, 3, 4, 6)).shape == (1, 5, 2, 3)
    assert WaveletUp(5, 3)(torch.zeros(1, 5, 2, 3)).shape == (1, 3, 4, 6)


def evaluated(graph: FloatGraph, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """A graph's outputs; the picture unrounded, everything else as the bundle has it."""
    values = graph.module.values(*given)
    return [
        value if port.kind == "picture" else finished(value, port.kind)
        for port, value in zip(graph.outputs, values, strict=True)
    ]


def walk(recipe: Recipe, steps: tuple[Run | Code, ...], tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Evaluate the graphs of some steps; passes change nothing."""
    with torch.no_grad():
        for step in steps:
            if isinstance(step, Run):
                given = [tensors[name] for name in step.inputs]
                outputs = evaluated(recipe.transforms[step.graph], given)
                tensors |= dict(zip(step.outputs, outputs, strict=True))
    return tensors


@pytest.mark.parametrize("number", [1, 3])
def test_graphs_one_after_the_other_are_the_model(student: BgVae, number: int) -> None:
    recipe = student.recipe()
    picture = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(3))
    given = {"image": picture[0], "rate": torch.tensor([number], dtype=torch.int32)}

    tensors = walk(recipe, recipe.analysis, dict(given))
    latents = {name: tensors[name] for name in recipe.latents}
    decoded = walk(recipe, recipe.schedule, {**latents, "rate": given["rate"]})
    with torch.no_grad():
        coded = student(picture, number=number)

    assert sum(int(latent.count_nonzero()) for latent in latents.values()) > 20
    assert torch.allclose(decoded["image"] / 255, coded.picture[0], rtol=1e-3, atol=1e-3)
    bits = float(sum(-torch.log2(part.double()).sum() for part in coded.likelihoods()))
    sample = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    assert recipe.entropy([sample]).float_bits(sample) == pytest.approx(bits, rel=1e-3)


def test_schedule_codes_nine_latents_and_everything_before_the_last_is_pinned(student: BgVae) -> None:
    recipe = student.recipe()
    passes = [number for number, step in enumerate(recipe.schedule) if isinstance(step, Code)]
    before = [step for step in recipe.schedule[: passes[-1]] if isinstance(step, Run)]

    assert len(passes) == 9
    assert all(recipe.transforms[step.graph].pinned for step in before)
    assert [latent.stride for latent in recipe.latents.values()] == [64, 32, 32, 16, 16, 16, 8, 8, 8]
    assert recipe.rates == 3


def test_rate_changes_what_is_coded(student: BgVae) -> None:
    recipe, found = student.recipe(), []
    for number in (1, 3):
        selected = torch.tensor([number], dtype=torch.int32)
        tensors = walk(recipe, recipe.analysis, {"image": torch.rand(3, 64, 64) * 0 + 0.3, "rate": selected})
        found.append(torch.cat([tensors[f"features{stride}"].flatten() for stride in (64, 8)]))

    assert float((found[0] - found[1]).abs().max()) > 0
    assert np.isfinite(found[0].numpy()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lambdas": [0.01, 0.002]}, "'lambdas' is .* but must be 2 to 64 ascending numbers"),
        ({"heads": 3}, "'widths' is .* but must be multiples of heads"),
        ({"widths": [4, 4, 4]}, "widths"),
        ({"kernels": [3, 3, 3, 2]}, "'kernels' is .* but must be odd"),
        ({"latents": [[], [1], [1], [1]]}, "at least one latent per stage"),
        ({"embedding": ...}, "missing required field `embedding`"),
    ],
)
def test_configuration_that_is_wrong_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    raw = {key: value for key, value in {**CONFIGURATION, **change}.items() if value is not ...}

    with pytest.raises(CheckpointError, match=message):
        from_configuration(raw)
