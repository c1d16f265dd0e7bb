from __future__ import annotations

import numpy as np
import pytest

from fastlic.export.integer.certificate import worst_sign_input
from fastlic.export.integer.emission import GraphBuilder, layer_graph
from fastlic.runtime import engines


def test_operator_outside_the_allow_list_is_refused() -> None:
    with pytest.raises(ValueError, match="Conv is not allowed"):
        GraphBuilder().op("Conv", "x", "w")


@pytest.mark.parametrize("engine", ["ort-cpu", "torch"])
def test_layer_is_exact_on_the_worst_signs_of_every_output(tiny_converted, engine: str) -> None:
    running = engines.create(engine, threads=1)
    for layer in tiny_converted.quantised.network.layers():
        if len(layer.products) > 1 or layer.upsample:
            continue
        product = layer.products[0]
        worst = np.stack([worst_sign_input(product, output) for output in range(product.weight.shape[1])])
        rows = np.concatenate((worst, -worst))

        (found,) = running.load(layer_graph(layer), layer.name, exact=True)([rows.astype(np.float32)])

        total = rows @ product.weight + layer.bias
        np.testing.assert_array_equal(found, layer.finish(total[None])[0])
    running.close()
