"""A student of 8 + 3 channels that is built in milliseconds: every path of format and codec, no training.

Its networks are one layer each, yet nothing is left out: two latents, a hyper latent with a table, anchors with three
families, non-anchors that depend on the anchors, a channel map, and transforms whose receptive fields overlap.
Tests change `manifest` and `members` of a `Parts` and pack them again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

M, Z = 8, 3
FAMILIES = ("normal", "laplace", "logistic")
COMPONENTS = 3
REACH = {"normal": 6.0, "laplace": 10.0, "logistic": 9.0}
"""Standard deviations that the 512 steps of a `half_cdf` span."""


@dataclass
class Parts:
    """A bundle in pieces."""

    manifest: dict[str, Any]
    members: dict[str, bytes]

    def list_members(self) -> None:
        """Make the manifest tell the truth about sizes and hashes."""
        self.manifest["members"] = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in self.members.items()
        }

    def pack(self, *, relist: bool = True) -> bytes:
        """The archive; without `relist` the manifest stays as it is, true or not."""
        if relist:
            self.list_members()
        return zip_of({"manifest.json": json.dumps(self.manifest).encode(), **self.members})


def zip_of(entries: dict[str, bytes]) -> bytes:
    """An archive of these entries, the same bytes at any time of day."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def parts(seed: int = 1) -> Parts:
    """A fresh copy of the bundle's pieces; another seed is another student."""
    return deepcopy(_parts(seed))


def bundle_bytes(seed: int = 1) -> bytes:
    """The student as a `.licb` archive."""
    return parts(seed).pack()


def picture(height: int, width: int, seed: int = 7) -> np.ndarray:
    """A smooth picture with some texture, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (9 + 4 * k) + k) + np.cos(columns / (7 + 5 * k) - k) for k in range(3)]
    return np.clip(128 + 40 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


def repaired(data: bytes, section: str) -> bytes:
    """A `.lic` file with the CRC of one of its sections made right: "header", "metadata" or "index"."""
    metadata_length, index_length = struct.unpack_from("<II", data, 36)
    end = {"header": 48, "metadata": 48 + metadata_length, "index": 48 + metadata_length + index_length}[section]
    start = {"header": 0, "metadata": 48, "index": 48 + metadata_length}[section]
    changed = bytearray(data)
    struct.pack_into("<I", changed, end - 4, zlib.crc32(changed[start : end - 4]))
    return bytes(changed)


# --- tables ---------------------------------------------------------------------------------------------------------


def mixture_tables(families: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The tables of docs/format.md 4.2 for 64 scales from 0.11 to 256."""
    scales = np.geomspace(0.11, 256, 64)
    half = {
        "normal": lambda t: math.erf(t / math.sqrt(2)) / 2,
        "laplace": lambda t: (1 - math.exp(-math.sqrt(2) * t)) / 2,
        "logistic": lambda t: 1 / (1 + math.exp(-math.pi / math.sqrt(3) * t)) - 0.5,
    }

    def half_cdf(family: str) -> list[int]:
        steps = [min(32767, round(65536 * half[family](REACH[family] * step / 512))) for step in range(513)]
        return [*steps, steps[-1]]

    reach = np.array([REACH[family] for family in families])[:, None]
    return {
        "exponential": np.array([round(65535 * math.exp(-d / 16)) for d in range(256)], np.uint16),
        "thresholds": np.tile(np.arange(-496, 497, 16, dtype=np.int16), (len(families), 1)),
        "inverse_scale": np.round(2**12 * 2**8 * 512 / (32 * reach * scales)).astype(np.uint32),
        "tail": np.ceil(32 * reach * scales).astype(np.int32),
        "half_cdf": np.array([half_cdf(family) for family in families], np.uint16),
    }


def row_tables(widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The tables of docs/format.md 4.1: bell-shaped rows around 0 of the given widths."""
    cdf = np.full((len(widths), 513), 2**16, np.int32)
    for row, width in enumerate(widths):
        weight = np.exp(-np.abs(np.arange(width) - width / 2) * 8 / width)
        cdf[row, : width + 1] = np.arange(width + 1)
        cdf[row, 1 : width + 1] += np.floor(np.cumsum(weight) / weight.sum() * (2**16 - width)).astype(np.int32)
        cdf[row, width] = 2**16
    return {"cdf": cdf, "window": np.array(widths, np.int16), "low": np.array([-w // 2 for w in widths], np.int16)}


def npy(array: np.ndarray) -> bytes:
    """An array as a `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


# --- graphs ---------------------------------------------------------------------------------------------------------


class Drawing:
    """Collects nodes and constants of one graph; a node's output is named after its number."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: np.ndarray | np.generic | list[int]) -> str:
        """A constant; Python integers become int64."""
        name = f"c{len(self.constants)}"
        array = np.array(value, np.int64) if isinstance(value, list) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def __call__(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node; returns its output's name."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def clip_to_int16(self, tensor: str, limit: int, output: str) -> None:
        """Clamp a float tensor and make it the int16 output."""
        bounds = (self.constant(np.float32(sign * limit)) for sign in (-1, 1))
        self("Cast", self("Clip", self("Round", tensor), *bounds), to=TensorProto.INT16, output=output)

    def model(self, inputs: dict[str, tuple[int, int]], outputs: dict[str, tuple[int, int]]) -> bytes:
        """The ONNX model; ports are name -> (element type, rank)."""

        def ports(of: dict[str, tuple[int, int]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, kind, [f"{name}_{axis}" for axis in range(rank)])
                for name, (kind, rank) in of.items()
            ]

        graph = helper.make_graph(self.nodes, "tiny", ports(inputs), ports(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
        return model.SerializeToString()


Rng = np.random.Generator


def _analysis(rng: Rng) -> bytes:
    g = Drawing()
    scaled = g("Mul", g("Cast", "image", to=TensorProto.FLOAT), g.constant(np.float32(1 / 128)))
    batch = g("Unsqueeze", g("Transpose", scaled, perm=[2, 0, 1]), g.constant([0]))
    weights = (rng.integers(-19, 20, (M, 3, 32, 32)) / 64).astype(np.float32)  # few values: they deflate well
    weights[-1] = 0  # a channel that is zero in every picture
    weights[0, :, 8:24, 8:24] += 1 / 48
    y = g("Conv", batch, g.constant(weights), strides=[16, 16], pads=[8, 8, 8, 8])
    g("Squeeze", y, g.constant([0]), output="y_float")
    g.clip_to_int16("y_float", 16383, "y")
    return g.model({"image": (TensorProto.UINT8, 3)}, {"y_float": (TensorProto.FLOAT, 3), "y": (TensorProto.INT16, 3)})


def _hyper_analysis(_rng: Rng) -> bytes:
    g = Drawing()
    pooled = g("AveragePool", g("Unsqueeze", "y_float", g.constant([0])), kernel_shape=[4, 4], strides=[4, 4])
    first = g("Slice", pooled, g.constant([0]), g.constant([Z]), g.constant([1]))
    g.clip_to_int16(g("Squeeze", first, g.constant([0])), 16383, "z")
    return g.model({"y_float": (TensorProto.FLOAT, 3)}, {"z": (TensorProto.INT16, 3)})


def _clamped(g: Drawing, tensor: str, limit: int) -> str:
    """An int16 input as float, bounded so that every sum below stays under 2^24."""
    bounds = (g.constant(np.float32(sign * limit)) for sign in (-1, 1))
    return g("Clip", g("Cast", tensor, to=TensorProto.FLOAT), *bounds)


def _bias(families: int) -> np.ndarray:
    """Plausible parameters of one element: logits, means near 0, scales in the middle of the levels."""
    K = families * COMPONENTS
    means = np.tile(np.array([-40, 0, 40]), families)
    scales = np.tile(np.array([-200, -300, -100]), families)
    return np.concatenate([np.arange(K) * 4, means, scales, np.zeros(families if families > 1 else 0)])


def _hyper(rng: Rng) -> bytes:
    g = Drawing()
    P = 3 * len(FAMILIES) * COMPONENTS + len(FAMILIES)
    z = g("Transpose", _clamped(g, "z", 64), perm=[1, 2, 0])
    # One cell of z makes 4 x 2 packed columns of parameters and of hyper features.
    weights = rng.integers(-6, 7, (Z, 8 * M * P)).astype(np.float32)
    biased = g("Add", g("MatMul", z, g.constant(weights)), g.constant(np.tile(_bias(3), 8 * M).astype(np.float32)))
    flat = _unfold(g, biased, M * P)
    shape = g("Concat", g("Slice", g("Shape", flat), g.constant([0]), g.constant([2])), g.constant([M, P]), axis=0)
    g.clip_to_int16(g("Reshape", flat, shape), 16383, "anchor_parameters")
    features = rng.integers(-9, 10, (Z, 8 * 2 * M)).astype(np.float32)
    g.clip_to_int16(_unfold(g, g("MatMul", z, g.constant(features)), 2 * M), 4096, "hyper")
    outputs = {"anchor_parameters": (TensorProto.INT16, 4), "hyper": (TensorProto.INT16, 3)}
    return g.model({"z": (TensorProto.INT16, 3)}, outputs)


def _unfold(g: Drawing, tensor: str, depth: int) -> str:
    """(h / 4, w / 4, 4 * 2 * depth) to (h, w / 2, depth)."""
    size = g("Slice", g("Shape", tensor), g.constant([0]), g.constant([2]))
    cells = g("Concat", size, g.constant([4, 2, depth]), axis=0)
    apart = g("Transpose", g("Reshape", tensor, cells), perm=[0, 2, 1, 3, 4])
    grown = g("Mul", size, g.constant([4, 2]))
    return g("Reshape", apart, g("Concat", grown, g.constant([depth]), axis=0))


def _context(rng: Rng) -> bytes:
    g = Drawing()
    P = 3 * COMPONENTS
    y = g("Transpose", _clamped(g, "y", 256), perm=[1, 2, 0])
    size = g("Shape", "hyper")
    pairs = g("Reshape", y, size)  # hyper is (h, w / 2, 2 M), and so are pairs of columns
    joined = g("Concat", _clamped(g, "hyper", 4096), pairs, axis=2)
    weights = np.zeros((4 * M, M, P), np.int64)
    weights[2 * M :] = rng.integers(-1, 2, (2 * M, M, P))
    weights[: 2 * M] = rng.integers(-1, 2, (2 * M, M, P))
    product = g("MatMul", joined, g.constant(weights.reshape(4 * M, M * P).astype(np.float32)))
    biased = g("Add", product, g.constant(np.tile(_bias(1), M).astype(np.float32)))
    shape = g("Concat", g("Slice", size, g.constant([0]), g.constant([2])), g.constant([M, P]), axis=0)
    g.clip_to_int16(g("Reshape", biased, shape), 16383, "nonanchor_parameters")
    inputs = {"hyper": (TensorProto.INT16, 3), "y": (TensorProto.INT16, 3)}
    return g.model(inputs, {"nonanchor_parameters": (TensorProto.INT16, 4)})


def _synthesis(rng: Rng) -> bytes:
    g = Drawing()
    y = g("Unsqueeze", g("Cast", "y", to=TensorProto.FLOAT), g.constant([0]))
    weights = rng.integers(-3, 4, (M, 3, 32, 32)).astype(np.float32)
    image = g("ConvTranspose", y, g.constant(weights), strides=[16, 16], pads=[8, 8, 8, 8])
    shifted = g(
        "Add", g("Transpose", g("Squeeze", image, g.constant([0])), perm=[1, 2, 0]), g.constant(np.float32(128))
    )
    clipped = g("Clip", g("Round", shifted), g.constant(np.float32(0)), g.constant(np.float32(255)))
    g("Cast", clipped, to=TensorProto.UINT8, output="image")
    return g.model({"y": (TensorProto.INT16, 3)}, {"image": (TensorProto.UINT8, 3)})


# --- the bundle -----------------------------------------------------------------------------------------------------

GRAPHS: dict[str, tuple[Callable[[Rng], bytes], str, bool, dict[str, int], dict[str, int], int]] = {
    # name: (drawing, scope, exact, inputs and outputs with their strides, halo)
    "analysis": (_analysis, "picture", False, {"image": 1}, {"y_float": 16, "y": 16}, 64),
    "hyper_analysis": (_hyper_analysis, "tile", False, {"y_float": 16}, {"z": 64}, 0),
    "hyper": (_hyper, "tile", True, {"z": 64}, {"anchor_parameters": 16, "hyper": 16}, 0),
    "context": (_context, "tile", True, {"hyper": 16, "y": 16}, {"nonanchor_parameters": 16}, 0),
    "synthesis": (_synthesis, "picture", False, {"y": 16}, {"image": 1}, 64),
}


def _run(graph: str) -> dict[str, Any]:
    _, _, _, inputs, outputs, _ = GRAPHS[graph]
    return {"step": "run", "graph": graph, "inputs": list(inputs), "outputs": list(outputs)}


def _code(latent: str, channels: int, distribution: str, **rest: Any) -> dict[str, Any]:
    return {"step": "code", "latent": latent, "distribution": distribution, "channels": [0, channels], **rest}


@functools.cache
def _parts(seed: int) -> Parts:
    rng = np.random.default_rng(seed)
    members: dict[str, bytes] = {}
    graphs = {}
    for name, (draw, scope, exact, inputs, outputs, halo) in GRAPHS.items():
        members[f"graphs/{name}.onnx"] = draw(rng)
        graphs[name] = {"file": f"graphs/{name}.onnx", "scope": scope, "exact": exact, "halo": halo} | {
            side: [{"name": port, "stride": stride} for port, stride in ports.items()]
            for side, ports in (("inputs", inputs), ("outputs", outputs))
        }
    mixture = {"kind": "mixture", "components": COMPONENTS, "skip_threshold": 64000}
    distributions = {
        "prior": {"kind": "table"} | _add_tables(members, "prior", row_tables((16, 8, 32))),
        "anchors": mixture | {"families": FAMILIES} | _add_tables(members, "anchors", mixture_tables(FAMILIES)),
        "nonanchors": mixture | {"families": ["normal"]} | _add_tables(members, "normal", mixture_tables(("normal",))),
    }
    manifest = {
        "format": [1, 0],
        "student": {"name": f"tiny-{seed}"},
        "multiple": 64,
        "latents": {
            "z": {"channels": Z, "stride": 64},
            "y": {"channels": M, "stride": 16, "channel_map": True},
        },
        "graphs": graphs,
        "analysis": [_run("analysis"), _run("hyper_analysis")],
        "schedule": [
            _code("z", Z, "prior"),
            _run("hyper"),
            _code("y", M, "anchors", parity="even", parameters="anchor_parameters"),
            _run("context"),
            _code("y", M, "nonanchors", parity="odd", parameters="nonanchor_parameters"),
            _run("synthesis"),
        ],
        "distributions": distributions,
    }
    return Parts(manifest, members)


def _add_tables(members: dict[str, bytes], folder: str, tables: dict[str, np.ndarray]) -> dict[str, str]:
    """Store tables as entries; returns table name -> entry name."""
    names = {name: f"tables/{folder}_{name}.npy" for name in tables}
    members |= {names[name]: npy(table) for name, table in tables.items()}
    return names
