"""The transforms of a student as ONNX graphs: `analysis`, `hyper_analysis` and `synthesis`.

Knows their ports and which forms engines run fastest; knows nothing of what the networks are. They are floating
point: their outputs are symbols only for the encoder (which writes what it got) and pixels for the decoder. Weights
that half precision holds exactly are stored in it, with a Cast that engines fold when they load the graph.
Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

import contextlib
import copy
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
from torch.export import Dim

from fastlic.export.integer.emission import IR_VERSION, OPSET
from fastlic.export.students.deform import onnx_translations
from fastlic.export.students.fu2023 import Fu2023
from fastlic.runtime.entropy.tables import MAX_VALUE

STRIDE = 16
"""Pixels per element of y."""
MAX_EDGE = 1 << 20
MIN_HALF_SIZE = 256
"""Initialisers of fewer elements stay as they are: the Cast would cost more than it saves."""


class Analysis(nn.Module):
    """image uint8 (H, W, 3) -> y_float float32 (M, H / 16, W / 16), y int16 of the same shape."""

    def __init__(self, model: Fu2023) -> None:
        super().__init__()
        self.g_a = model.g_a

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes in the class docstring; H and W are multiples of 64."""
        y = self.g_a((image.float() / 255).permute(2, 0, 1)[None])[0]
        return y, _symbols(y)


class HyperAnalysis(nn.Module):
    """y_float float32 (M, h, w) -> z int16 (Cz, h / 4, w / 4): h_a(y) minus medians, rounded."""

    def __init__(self, model: Fu2023) -> None:
        super().__init__()
        self.h_a = model.h_a
        self.medians = nn.Buffer(model.entropy_bottleneck.medians()[:, None, None].clone())

    def forward(self, y: Tensor) -> Tensor:
        """Shapes in the class docstring; h and w are multiples of 4."""
        return _symbols(self.h_a(y[None])[0] - self.medians)


class Synthesis(nn.Module):
    """y int16 (M, h, w) -> image uint8 (16h, 16w, 3).

    The factor 255 and the half that rounds are folded into the last convolution, and pixels are shuffled as bytes.
    """

    def __init__(self, model: Fu2023) -> None:
        super().__init__()
        *modules, last, _shuffle = copy.deepcopy(model.g_s)
        self.g_s = nn.Sequential(*modules, last)
        with torch.no_grad():
            last.get_parameter("weight").mul_(255)
            last.get_parameter("bias").mul_(255).add_(0.5)

    def forward(self, y: Tensor) -> Tensor:
        """Shapes in the class docstring; h and w are multiples of 4."""
        levels = self.g_s(y.float()[None]).clamp(0, 255).to(torch.uint8)
        height, width = levels.shape[2:]
        return levels.view(3, 2, 2, height, width).permute(3, 1, 4, 2, 0).reshape(2 * height, 2 * width, 3)


def transform_graphs(model: Fu2023) -> dict[str, bytes]:
    """The three transforms, serialised, by name."""
    channels = model.configuration.M
    small, rows, columns = 4, Dim("rows", min=1, max=MAX_EDGE), Dim("columns", min=1, max=MAX_EDGE)
    latent = {1: 4 * rows, 2: 4 * columns}
    return {
        "analysis": emit(
            Analysis(model),
            [torch.zeros(2 * 64, 3 * 64, 3, dtype=torch.uint8)],
            [{0: 64 * rows, 1: 64 * columns}],
            ["image"],
            {"y_float": (channels, "h", "w"), "y": (channels, "h", "w")},
        ),
        "hyper_analysis": emit(
            HyperAnalysis(model),
            [torch.zeros(channels, 2 * small, 3 * small)],
            [latent],
            ["y_float"],
            {"z": (model.configuration.hyper_channels, "rows", "columns")},
        ),
        "synthesis": emit(
            Synthesis(model),
            [torch.zeros(channels, 2 * small, 3 * small, dtype=torch.int16)],
            [latent],
            ["y"],
            {"image": ("height", "width", 3)},
        ),
    }


def rounded_to_half(model: Fu2023) -> Fu2023:
    """A copy whose transforms have weights that half precision holds exactly; the entropy networks are untouched."""
    rounded = copy.deepcopy(model)
    round_to_half(rounded.g_a, rounded.g_s, rounded.h_a)
    return rounded


@torch.no_grad()
def round_to_half(*networks: nn.Module) -> None:
    """Round, in place, the weights of transforms to what half precision holds exactly; they are then stored in it."""
    for network in networks:
        for parameter in network.parameters():
            if parameter.numel() >= MIN_HALF_SIZE:
                parameter.copy_(parameter.half().float())


def _symbols(values: Tensor) -> Tensor:
    return values.round().clamp(-MAX_VALUE, MAX_VALUE).to(torch.int16)


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
