from __future__ import annotations

import numpy as np
import onnx
import pytest

from fastlic.export.integer.emission import ALLOWED_OPS
from fastlic.export.integer.graphs import context_graph, hyper_graph
from fastlic.runtime import engines

ENGINES = [
    ("ort-cpu", {"optimisation": "all"}),
    ("ort-cpu", {"optimisation": "none"}),
    ("torch", {}),
]


@pytest.mark.parametrize(("name", "options"), ENGINES, ids=lambda value: str(value))
@pytest.mark.parametrize("size", [(4, 4), (12, 16), (20, 8)], ids=str)
def test_graphs_equal_the_integer_reference_bit_for_bit(
    variant_converted, made_latents, name: str, options: dict[str, str], size: tuple[int, int]
) -> None:
    network = variant_converted.quantised.network
    z, y = made_latents(variant_converted.model, *size, seed=11)
    engine = engines.create(name, threads=1, **options)

    anchors, hyper = engine.load(hyper_graph(network), "hyper", exact=True)([z])
    (nonanchors,) = engine.load(context_graph(network), "context", exact=True)([hyper, y])

    engine.close()
    wanted_anchors, wanted_nonanchors = network.evaluate(z, y)
    assert anchors.dtype == nonanchors.dtype == np.int16
    np.testing.assert_array_equal(anchors, wanted_anchors)
    np.testing.assert_array_equal(nonanchors, wanted_nonanchors)


def test_graphs_clip_latents_beyond_the_certified_limits(tiny_converted) -> None:
    network = tiny_converted.quantised.network
    z, y = np.full_like(tiny_converted.z, 16383), np.full_like(tiny_converted.y, -16383)
    engine = engines.create("ort-cpu", threads=1)

    anchors, hyper = engine.load(hyper_graph(network), "hyper", exact=True)([z])
    (nonanchors,) = engine.load(context_graph(network), "context", exact=True)([hyper, y])

    engine.close()
    wanted = network.evaluate(np.full_like(z, network.hyper_limit), np.full_like(y, -network.latent_limit))
    np.testing.assert_array_equal(anchors, wanted[0])
    np.testing.assert_array_equal(nonanchors, wanted[1])


@pytest.mark.parametrize("emit", [hyper_graph, context_graph])
def test_graph_has_only_allowed_operators_and_integer_weights(tiny_converted, emit) -> None:
    graph = onnx.load_from_string(emit(tiny_converted.quantised.network)).graph

    assert {node.op_type for node in graph.node} <= ALLOWED_OPS
    kinds = {tensor.data_type for tensor in graph.initializer if tensor.name.endswith(".weight")}
    assert kinds == {onnx.TensorProto.INT8}
