"""A torch module as an ONNX graph: deterministic, small, and silent about the machine that made it.

Knows the exporter and which forms engines run fastest; knows nothing of what modules compute. Weights that half
precision holds exactly are stored in it, with a Cast that engines fold when they load the graph.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from fastlic.export.integer.emission import IR_VERSION, OPSET
from fastlic.export.students.deform import onnx_translations

MAX_EDGE = 1 << 20
MIN_HALF_SIZE = 256
"""Initialisers of fewer elements stay as they are: the Cast would cost more than it saves."""


@torch.no_grad()
def round_to_half(*networks: nn.Module) -> None:
    """Round, in place, the weights of transforms to what half precision holds exactly; they are then stored in it."""
    for network in networks:
        for parameter in network.parameters():
            if parameter.numel() >= MIN_HALF_SIZE:
                parameter.copy_(parameter.half().float())


def emit(
    module: nn.Module,
    examples: Sequence[Tensor],
    dynamic: Sequence[Mapping[int, Any]],
    inputs: Sequence[str],
    outputs: Mapping[str, Sequence[int | str]],
) -> bytes:
    """Export one module with varying height and width.

    Args:
        module: takes one tensor per input and returns one per output.
        examples: an input each, to trace with.
        dynamic: per input, axis -> its `torch.export.Dim`.
        inputs: names of the input ports.
        outputs: names of the output ports -> shape, names in it standing for sizes that vary.

    Returns:
        The serialised model; equal arguments give equal bytes.
    """
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(examples),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_as_arguments(module, tuple(dict(axes) for axes in dynamic)),
            input_names=list(inputs),
            output_names=list(outputs),
            custom_translation_table=onnx_translations(),
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch.onnx.export gave nothing for {type(module).__name__}")
    model = program.model_proto
    for port in model.graph.output:
        _set_shape(port, outputs[port.name])
    _strip(model)
    _store_as_half(model.graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _as_arguments(module: nn.Module, dynamic: tuple[Any, ...]) -> tuple[Any, ...]:
    """Per argument of `forward`; the tracer sees `*inputs` as one that is a tuple."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (dynamic,) if kinds == [inspect.Parameter.VAR_POSITIONAL] else dynamic


def _set_shape(port: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    """Name the sizes that vary, instead of the exporter's symbols."""
    kind = port.type.tensor_type.elem_type
    port.CopyFrom(helper.make_tensor_value_info(port.name, kind, list(shape)))


def _strip(model: onnx.ModelProto) -> None:
    """Remove what depends on the machine or says nothing: stack traces, intermediate shapes, versions."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fastlic", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""


def _store_as_half(graph: onnx.GraphProto) -> None:
    """Store float32 initialisers that half precision holds exactly in it, behind a Cast."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_HALF_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for position, cast in enumerate(casts):
        graph.node.insert(position, cast)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about packages it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
