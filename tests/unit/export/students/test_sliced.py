"""FEDS and KDIC: the program that is exported computes what the model does, and its graphs what the program does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fastlic.errors import CheckpointError
from fastlic.export import checkpoint
from fastlic.export.gaussian import normal_bits, prior_bits
from fastlic.export.integer.program import REFINED_LIMIT, FloatArithmetic, Stage, encode
from fastlic.export.recipe import Entropy, Recipe
from fastlic.export.students import from_configuration
from fastlic.runtime import engines
from fastlic.runtime.manifest import Code, Run

COMMON = {"N": 6, "M": 6, "features": 8, "leaky_slope": 0.01, "input": "RGB in [0, 1]"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "kdic": {
        "student": "kdic",
        **COMMON,
        "groups": [1, 2, 3],
        "context_hidden": 5,
        "parameter_hidden": 7,
        "anchor_parity": "even",
    },
    "feds": {
        "student": "feds",
        **COMMON,
        "slices": 3,
        "slice_hidden": 7,
        "residual_hidden": 5,
        "residual_limit": "clip to half a step",
    },
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def student(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    return from_configuration(CONFIGURATIONS[request.param]).eval()


def sample(model: nn.Module, height: int = 128, width: int = 64) -> dict[str, np.ndarray]:
    """What the analysis would compute of a random picture: y, and z around its medians."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        y = model.g_a(torch.rand(1, 3, height, width, generator=generator))
        z = model.hyper.h_a(y) - model.hyper.prior.medians()[:, None, None]
    return {"y_float": 4 * y[0].numpy(), "z": 2 * np.round(z[0].numpy()).astype(np.int16)}


@pytest.fixture(scope="module")
def entropy(student: Any) -> tuple[Recipe, Entropy]:
    recipe = student.recipe()
    return recipe, recipe.entropy([sample(student)])


def test_program_gives_the_bits_of_the_model(student: Any) -> None:
    picture = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        coded = student(picture)
        z = student.hyper.h_a(coded.y) - student.hyper.prior.medians()[:, None, None]
    symbols = np.round(z[0].numpy()).astype(np.int16)

    passes = encode(student.program(), FloatArithmetic(), {"z": symbols}, coded.y[0].double().numpy())

    z_bits, *expected = (float(-torch.log2(part.double()).sum()) for part in coded.likelihoods())
    assert prior_bits(student.hyper.prior, symbols) == pytest.approx(z_bits, rel=1e-3)
    if student.family == "kdic":
        assert [p.stage.parity for p in passes] == ["even", "odd"] * 3
    assert [normal_bits(coded_pass) for coded_pass in passes] == pytest.approx(expected, rel=5e-3)


def walk(recipe: Recipe, entropy: Entropy, engine: str, latents: Mapping[str, np.ndarray]) -> int:
    """Run the exact graphs of the schedule on an engine and compare each with its oracle; returns how many were."""
    made = engines.create(engine, threads=1)
    tensors = {name: np.zeros_like(array) for name, array in latents.items()}
    compared = 0
    for step in recipe.schedule:
        if isinstance(step, Code):
            tensors[step.latent] = latents[step.latent]  # graphs look at what was coded only, so all at once will do
        elif isinstance(step, Run) and step.graph in entropy.exact:
            exact = entropy.exact[step.graph]
            inputs = [tensors[name] for name in step.inputs]
            found = made.load(exact.content, step.graph, exact=True)(inputs)
            for name, array, wanted in zip(step.outputs, found, exact.reference(inputs), strict=True):
                np.testing.assert_array_equal(array, wanted, err_msg=f"{step.graph}, {name}")
                tensors[name] = array
                compared += 1
    made.close()
    return compared


@pytest.mark.parametrize("engine", ["ort-cpu", "torch"])
@pytest.mark.parametrize("reach", [3, 16383], ids=["ordinary", "extreme"])
def test_exact_graphs_equal_the_oracle_bit_for_bit(entropy: tuple[Recipe, Entropy], engine: str, reach: int) -> None:
    recipe, model = entropy
    generator = np.random.default_rng(reach)
    latents = {"z": (6, 1, 2), "y": (6, 4, 8)}
    symbols = {name: generator.integers(-reach, reach + 1, shape).astype(np.int16) for name, shape in latents.items()}

    assert walk(recipe, model, engine, symbols) > 6


def test_name_of_a_size_stands_for_one_resolution_in_a_graph(entropy: tuple[Recipe, Entropy]) -> None:
    """ONNX Runtime reuses buffers of tensors whose sizes have the same names: once it failed on a wide student so."""
    _, model = entropy
    for name, exact in model.exact.items():
        graph = onnx.load_from_string(exact.content).graph
        strides: dict[str, set[int]] = {}
        for found, told in ((graph.input, exact.inputs), (graph.output, exact.outputs)):
            for port, spec in zip(found, told, strict=True):
                for size in port.type.tensor_type.shape.dim:
                    if size.dim_param:
                        strides.setdefault(size.dim_param, set()).add(spec.stride)
        assert all(len(seen) == 1 for seen in strides.values()), (name, strides)


def test_every_layer_has_a_certificate_below_the_bound(entropy: tuple[Recipe, Entropy]) -> None:
    _, model = entropy
    bounds = [max(*layer["products"], layer["total"]) for g in model.exact.values() for layer in g.certificates.values()
              if layer["products"]]  # fmt: skip

    assert len(bounds) > 8
    assert max(bounds) < 1 << 24


def test_refined_slice_moves_by_at_most_half_a_step_and_is_what_the_synthesis_sees() -> None:
    torch.manual_seed(1)
    model = from_configuration(CONFIGURATIONS["feds"]).eval()
    with torch.no_grad():
        for networks in model.slices:
            networks.residual[-1].bias.copy_(torch.tensor([9.0, -9.0]))  # beyond the limit, both ways
    recipe = model.recipe()
    entropy = recipe.entropy([sample(model)])
    closing: Stage | None = model.program().closing
    assert closing is not None
    refine = entropy.exact[closing.name]
    step = next(step for step in recipe.schedule if isinstance(step, Run) and step.graph == closing.name)
    zeros: dict[str, np.ndarray] = {"y": np.zeros((6, 4, 4), np.int16)}
    channels = {name: 8 if name.startswith("h_s") else 2 for name in step.inputs}  # features; means and refined slices
    inputs = [zeros.get(name, np.zeros((4, 4, channels[name]), np.float32)) for name in step.inputs]

    (seen,) = refine.reference(inputs)

    assert seen.shape == (6, 4, 4)
    assert not seen[:4].any()  # earlier slices come in refined, as zeros here
    np.testing.assert_array_equal(seen[4:, 0, 0], [REFINED_LIMIT / 32, -REFINED_LIMIT / 32])


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("kdic", {"groups": [1, 2]}, "'groups' is .* but must be as many channels together as y has, 6"),
        ("kdic", {"anchor_parity": "odd"}, "Invalid enum value 'odd'"),
        ("kdic", {"features": ...}, "missing required field `features`"),
        ("feds", {"slices": 4}, "'M' is 6, but must be a multiple of slices, 4"),
        ("feds", {"residual_limit": "tanh"}, "Invalid enum value 'tanh'"),
        ("feds", {"colour": 1}, "unknown field `colour`"),
    ],
)
def test_configuration_that_is_wrong_is_refused_and_named(family: str, change: dict[str, Any], message: str) -> None:
    raw = {key: value for key, value in {**CONFIGURATIONS[family], **change}.items() if value is not ...}

    with pytest.raises(CheckpointError, match=message):
        from_configuration(raw)


@pytest.mark.parametrize(("told", "saved"), [("kdic", "feds"), ("feds", "kdic")])
def test_checkpoint_of_another_family_is_refused_with_what_is_missing(tmp_path: Path, told: str, saved: str) -> None:
    path = tmp_path / "student.pt"
    torch.save(from_configuration(CONFIGURATIONS[saved]).state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(CONFIGURATIONS[told]))

    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing, the first is .*Check the configuration"):
        checkpoint.load(path)


def test_truncated_checkpoint_is_refused_with_the_first_missing_key(student: Any, tmp_path: Path) -> None:
    state = student.state_dict()
    del state["g_s.6.weight"]
    torch.save(state, tmp_path / "student.pt")
    (tmp_path / "student.json").write_text(json.dumps(student.to_mapping()))

    with pytest.raises(CheckpointError, match=r"1 tensors are missing, the first is 'g_s.6.weight'"):
        checkpoint.load(tmp_path / "student.pt")
