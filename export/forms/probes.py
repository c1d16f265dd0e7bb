"""Draw the probes: two small graphs that `fastlic doctor` runs on an engine, in every form.

Knows what goes wrong on a GPU; `runtime/trial.py` runs them. They are files of the package, so that a machine without
ONNX can be examined; `python -m fastlic.export.forms.probes` writes them anew, and a test holds them against this.

- `exact`: a product at the bound that exact graphs are certified to. TF32, half precision or a fast accumulation give
  other integers.
- `pixels`: convolutions, a deformable convolution and a normalisation, as a synthesis has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fastlic.export.forms.making import make
from fastlic.export.integer.emission import IR_VERSION, OPSET
from fastlic.runtime.files import write_atomically
from fastlic.runtime.forms import Deform, Form
from fastlic.runtime.trial import folder, probe_file

CHANNELS = 8
LIMIT = 2047
"""Largest input of `exact`: with 64 weights of at most 127 the sums end 70,000 below 2^24."""
Constants = dict[str, np.ndarray | np.generic]
_TENSORRT: tuple[Deform, ...] = ("plugin", "standard", "grid-sample")


def exact() -> bytes:
    """Of x int16 (64, h, w) q int16 (h, w, 32): a product of integers, floored after a shift of 9."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-127, 128, (64, 32)).astype(np.float32)
    weights[:, :2] = 127 * np.array([1, -1])
    nodes = [
        _node("Cast", "x", "float", to=TensorProto.FLOAT),
        _node("Clip", "float", "low", "high", "clipped"),
        _node("Transpose", "clipped", "last", perm=[1, 2, 0]),
        _node("MatMul", "last", "weights", "sum"),
        _node("Mul", "sum", "shift", "scaled"),
        _node("Floor", "scaled", "whole"),
        _node("Cast", "whole", "q", to=TensorProto.INT16),
    ]
    constants: Constants = {
        "low": np.float32(-LIMIT),
        "high": np.float32(LIMIT),
        "weights": weights,
        "shift": np.float32(2.0**-9),
    }
    return _model(nodes, ("x", TensorProto.INT16, (64, "h", "w")), ("q", TensorProto.INT16, ("h", "w", 32)), constants)


def pixels() -> bytes:
    """Of x int16 (8, h, w) image uint8 (h, w, 3): what a synthesis is made of, once."""
    rng = np.random.default_rng(2)

    def weights(outputs: int, inputs: int, size: int, gain: float = 1.0) -> np.ndarray:
        drawn = rng.standard_normal((outputs, inputs, size, size)) * gain / np.sqrt(inputs * size * size)
        return drawn.astype(np.float16).astype(np.float32)

    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        _node("Cast", "x", "float", to=TensorProto.FLOAT),
        _node("Unsqueeze", "float", "first", "batch"),
        _node("Conv", "batch", "w1", "features", **same),
        _node("Conv", "features", "w2", "offset", **same),
        _node("DeformConv", "features", "w3", "offset", "bias", "deformed", **same),
        _node("Mul", "deformed", "deformed", "square"),
        _node("Conv", "square", "gamma", "beta", "power"),
        _node("Sqrt", "power", "root"),
        _node("Mul", "deformed", "root", "normalised"),
        _node("Conv", "normalised", "w4", "grey", "levels", **same),
        _node("Clip", "levels", "low", "high", "clipped"),
        _node("Squeeze", "clipped", "first", "picture"),
        _node("Transpose", "picture", "last", perm=[1, 2, 0]),
        _node("Cast", "last", "image", to=TensorProto.UINT8),
    ]
    constants: Constants = {
        "first": np.array([0]),
        "w1": weights(CHANNELS, CHANNELS, 3, 1 / 4),
        "w2": weights(18, CHANNELS, 3),
        "w3": weights(CHANNELS, CHANNELS, 3),
        "bias": np.linspace(-0.5, 0.5, CHANNELS, dtype=np.float32),
        "gamma": np.abs(weights(CHANNELS, CHANNELS, 1, 0.25)),
        "beta": np.ones(CHANNELS, np.float32),
        "w4": weights(3, CHANNELS, 3, 16),
        "grey": np.full(3, 128.5, np.float32),
        "low": np.float32(0),
        "high": np.float32(255),
    }
    ports = ("x", TensorProto.INT16, (CHANNELS, "h", "w")), ("image", TensorProto.UINT8, ("h", "w", 3))
    return _model(nodes, *ports, constants)


def files() -> dict[str, bytes]:
    """Every file of the package's probes: the graphs themselves, and each in the forms that engines ask for."""
    drawn = {"exact": exact(), "pixels": pixels()}
    made = {f"{name}.onnx": model for name, model in drawn.items()}
    wanted = [("exact", Form(deform, "f32", "tensorrt")) for deform in _TENSORRT]
    wanted += [("pixels", Form(deform, "f16", "tensorrt")) for deform in _TENSORRT]
    wanted.append(("pixels", Form(precision="f16")))
    return made | {probe_file(name, form): make(drawn[name], form) for name, form in wanted}


def _node(kind: str, *names: str, **attributes: Any) -> NodeProto:
    """A node from its inputs and, last, its output."""
    return helper.make_node(kind, list(names[:-1]), [names[-1]], name=names[-1], **attributes)


_Port = tuple[str, int, Sequence[int | str]]


def _model(nodes: list[NodeProto], given: _Port, wanted: _Port, constants: Constants) -> bytes:
    stored = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    ports = [helper.make_tensor_value_info(*port) for port in (given, wanted)]
    graph = helper.make_graph(nodes, "probe", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "fastlic"
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Write the probes into the package's folder, or another."""
    parser = argparse.ArgumentParser(description="Write the probes that `fastlic doctor` runs.")
    parser.add_argument("--output", type=Path, default=folder())
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        write_atomically(output / name, content)


if __name__ == "__main__":
    main()
