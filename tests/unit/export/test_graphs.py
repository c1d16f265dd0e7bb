from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from fastlic.export import graphs
from fastlic.runtime.bundle import Bundle


@pytest.fixture(scope="module")
def models(exported) -> dict[str, onnx.ModelProto]:
    with Bundle(exported.bundle) as bundle:
        return {
            name: onnx.load_from_string(bundle.member(bundle.manifest.graphs[name].file))
            for name in ("analysis", "hyper_analysis", "synthesis")
        }


def test_graphs_say_nothing_of_the_machine_they_were_made_on(models) -> None:
    for model in models.values():
        assert not model.metadata_props
        assert not model.graph.value_info
        assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)


def test_deformable_convolution_is_the_standard_operator(models) -> None:
    kinds = [node.op_type for node in models["synthesis"].graph.node]

    assert kinds.count("DeformConv") == 3
    assert {node.domain for node in models["synthesis"].graph.node} == {""}


def test_large_weights_are_stored_in_half_precision(models) -> None:
    for model in models.values():
        large = [t for t in model.graph.initializer if np.prod(t.dims) >= graphs.MIN_HALF_SIZE]
        half = [t for t in large if t.data_type == onnx.TensorProto.FLOAT16]
        # The last convolution of the synthesis carries the factor 255 and stays in single precision.
        assert len(large) - len(half) <= 1


def test_rounding_to_half_leaves_the_original_alone(tiny) -> None:
    kept = {key: value.clone() for key, value in tiny.state_dict().items()}

    rounded = tiny.recipe().transforms["analysis"].module.g_a.state_dict()

    assert all(torch.equal(tiny.state_dict()[key], value) for key, value in kept.items())
    large = [key for key, value in rounded.items() if value.numel() >= graphs.MIN_HALF_SIZE]
    assert any(not torch.equal(rounded[key], kept[f"g_a.{key}"]) for key in large)
    assert all(torch.equal(rounded[key], kept[f"g_a.{key}"].half().float()) for key in large)
