from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch

from fastlic.errors import VerificationFailed
from fastlic.export import checkpoint, pipeline, publish, verify
from fastlic.export.integer.folding import fold
from fastlic.export.integer.quantisation import calibrate, quantise
from fastlic.export.recipe import Entropy
from fastlic.runtime.bundle import Bundle


@pytest.fixture(scope="module")
def source(exported):
    """The student, the manifest of its bundle and the members."""
    model = checkpoint.load(exported.checkpoint).model
    with Bundle(exported.bundle) as bundle:
        return model, bundle.manifest, {name: bundle.member(name) for name in bundle.manifest.members}


def with_changed_weight(members: dict[str, bytes], graph: str, contains: str) -> dict[str, bytes]:
    """The members, one weight of one graph slightly changed."""
    name = f"graphs/{graph}.onnx"
    model = onnx.load_from_string(members[name])
    tensor = next(tensor for tensor in model.graph.initializer if contains in tensor.name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= 0 if values.dtype.kind == "i" else 2
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return {**members, name: model.SerializeToString()}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 128, 3), np.uint8)


@pytest.mark.parametrize("graph", ["analysis", "synthesis"])
def test_transform_with_one_changed_weight_is_refused(source, graph: str) -> None:
    model, manifest, members = source
    name = f"graphs/{graph}.onnx"
    proto = onnx.load_from_string(members[name])
    biases = [tensor for tensor in proto.graph.initializer if len(tensor.dims) == 1 and tensor.dims[0] > 1]
    changed = with_changed_weight(members, graph, biases[-1].name)

    unproved = Entropy({}, lambda tensors: 0.0)
    with pytest.raises(VerificationFailed, match=f"{graph}.*from float64"):
        pipeline.check(publish.pack(manifest, changed), model.recipe(), unproved, [picture()], verify.Report())


@pytest.fixture(scope="module")
def network(source):
    model = source[0]
    folded = fold(model)
    generator = np.random.default_rng(5)
    z = np.round(generator.laplace(0, 1, (model.configuration.hyper_channels, 2, 3))).astype(np.int16)
    y = np.round(generator.laplace(0, 2, (model.configuration.M, 8, 12))).astype(np.int16)
    return quantise(folded, calibrate(folded, [(z, y)])).network, z, y


def test_exact_graph_of_other_weights_is_refused(source, network) -> None:
    model, manifest, members = source
    _, z, y = network
    recipe = model.recipe()

    with pytest.raises(VerificationFailed, match=r"hyper, .*must be equal"):
        pipeline.check(
            publish.pack(manifest, members), recipe, recipe.entropy([{"z": z, "y": y}]), [picture()], verify.Report()
        )


def test_isolated_product_keeps_its_activation_and_its_shift(network) -> None:
    for layer in network[0].layers():
        for number in range(len(layer.products)):
            alone = verify.isolated(layer, number)
            assert alone.activation == layer.activation
            assert (alone.products[0].shift == alone.fraction).all()
            assert (alone.fraction >= 0).all()


def test_error_is_compared_with_the_float32_evaluation_of_pytorch() -> None:
    exact = torch.linspace(0, 1, 11, dtype=torch.float64)
    single = exact + 1e-4
    report = verify.Report()

    verify.require_near("g", exact - 7.9e-4, single, exact, report)
    with pytest.raises(VerificationFailed, match=r"g: 0\.00081 from float64"):
        verify.require_near("g", exact - 8.1e-4, single, exact, copy.deepcopy(report))

    assert report.transforms["g"]["error"] == pytest.approx(7.9e-4)


def test_not_a_number_is_refused() -> None:
    exact = torch.zeros(3, dtype=torch.float64)

    with pytest.raises(VerificationFailed):
        verify.require_near("g", exact + float("nan"), exact, exact, verify.Report())
