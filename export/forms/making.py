"""Make a form of a graph: the rewrites, in their order.

Knows which rewrites a form consists of; the rewrites know how.
"""

from __future__ import annotations

from fastlic.export.forms import deform, editing, half, ports, products
from fastlic.runtime.forms import Form


def make(model: bytes, form: Form) -> bytes:
    """Write a graph of a bundle in a form.

    Args:
        model: the graph as it stands in the bundle, an ONNX model.
        form: which. An exact graph is only ever made in "f32".

    Returns:
        An ONNX model with its weights inside; equal arguments give equal bytes.

    Raises:
        BundleError: it is no ONNX model, or a weight does not fit float16.
        EngineUnavailable: an operator of the graph has no such form; the message says which and what to do.
    """
    rewritten = editing.read(model)
    graph = rewritten.graph
    editing.fold_weights(graph)
    if form.precision == "f16":
        half.to_half(graph)
    if form.deform in ("plugin", "library"):
        deform.to_plugin(graph, ahead=form.deform == "plugin")
    elif form.deform == "grid-sample":
        deform.to_grid_sample(graph)
    if form.products == "convolution":
        products.to_convolutions(graph)
    if form.types == "tensorrt":
        ports.to_tensorrt(graph)
    return editing.write(rewritten)
