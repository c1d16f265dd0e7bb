"""Bundles that are well-formed archives, and whose tables or graphs do not do what the manifest says."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_student
from conformance.plain_container import Refused
from conformance.plain_decoder import read_distribution
from onnx import TensorProto
from tiny_student import Drawing, Parts

from fastlic.errors import BundleError, LimitExceeded
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder

INT16, UINT8, FLOAT = TensorProto.INT16, TensorProto.UINT8, TensorProto.FLOAT
PICTURE = tiny_student.picture(100, 100)


def encode_with(parts: Parts) -> bytes:
    with Encoder(parts.pack(), threads=1) as encoder:
        return encoder.encode(PICTURE)


def decode_with(parts: Parts) -> np.ndarray:
    """Decode a file of the undamaged student that claims to be of this one."""
    data = bytearray(encode_with(tiny_student.parts()))
    with Bundle(parts.pack()) as bundle, Decoder(bundle, threads=1) as decoder:
        data[16:24] = bundle.fingerprint
        return decoder.decode(tiny_student.repaired(bytes(data), "header"))


def with_graph(name: str, model: bytes) -> Parts:
    parts = tiny_student.parts()
    parts.members[f"graphs/{name}.onnx"] = model
    return parts


def graph(inputs: dict[str, tuple[int, int]], **outputs: tuple[str, int, int]) -> bytes:
    """A graph whose outputs are casts of one input; ports are name -> (input to cast,) element type, rank."""
    drawing = Drawing()
    for name, (source, kind, _) in outputs.items():
        drawing("Cast", source, to=kind, output=name)
    return drawing.model(inputs, {name: (kind, rank) for name, (_, kind, rank) in outputs.items()})


Y = {"y": (INT16, 3)}
DECODER_GRAPHS: dict[str, tuple[str, bytes, str]] = {
    "picture of floats": ("synthesis", graph(Y, image=("y", FLOAT, 3)), r"tensor image: a graph gave float32"),
    "picture too small": (
        "synthesis",
        graph(Y, image=("y", UINT8, 3)),
        r"tensor image: a graph gave uint8 \(8, 8, 8\), uint8 \(128, 128, 3\)",
    ),
    "two pictures": (
        "synthesis",
        graph(Y, image=("y", UINT8, 3), second=("y", UINT8, 3)),
        "1 arrays are expected",
    ),
    "takes floats": ("synthesis", graph({"y": (FLOAT, 3)}, image=("y", UINT8, 3)), "graph synthesis: fails on int16"),
    "takes rank 4": ("synthesis", graph({"y": (INT16, 4)}, image=("y", UINT8, 4)), "graph synthesis: fails on int16"),
    "takes two": (
        "synthesis",
        graph({"y": (INT16, 3), "x": (INT16, 3)}, image=("y", UINT8, 3)),
        "has 2 inputs, the manifest gives 1",
    ),
    "parameters of another shape": (
        "hyper",
        graph({"z": (INT16, 3)}, anchor_parameters=("z", INT16, 3), hyper=("z", INT16, 3)),
        r"the graph gave int16 \(3, 2, 2\), int16 \(8, 4, 8, 30\) is expected",
    ),
    "parameters of floats": (
        "hyper",
        graph({"z": (INT16, 3)}, anchor_parameters=("z", FLOAT, 3), hyper=("z", INT16, 3)),
        "the graph gave float32",
    ),
    "context of another shape": (
        "context",
        graph({"hyper": (INT16, 3), "y": (INT16, 3)}, nonanchor_parameters=("y", INT16, 3)),
        r"the graph gave int16 \(8, 8, 8\), int16 \(8, 4, 8, 9\) is expected",
    ),
    "no ONNX": ("hyper", b"graph", "graph hyper: is not an ONNX model"),
    "nothing": ("hyper", b"", "graph hyper: ONNX Runtime .* cannot load it"),
    "half a file": (
        "hyper",
        tiny_student.parts().members["graphs/hyper.onnx"][:9999],
        "graph hyper: is not an ONNX model",
    ),
}
ENCODER_GRAPHS: dict[str, tuple[str, bytes, str]] = {
    "latents of another shape": (
        "analysis",
        graph({"image": (UINT8, 3)}, y_float=("image", FLOAT, 3), y=("image", INT16, 3)),
        r"tensor y_float: graph analysis gave \(128, 128, 3\), \(..., 8, 8\) is expected",
    ),
    "hyper latents of another shape": (
        "hyper_analysis",
        graph({"y_float": (FLOAT, 3)}, z=("y_float", INT16, 3)),
        r"tensor z: a graph gave int16 \(8, 8, 8\), int16 \(3, 2, 2\) is expected",
    ),
    "hyper latents of floats": (
        "hyper_analysis",
        graph({"y_float": (FLOAT, 3)}, z=("y_float", FLOAT, 3)),
        "tensor z: a graph gave float32",
    ),
}


@pytest.mark.parametrize(("name", "model", "message"), DECODER_GRAPHS.values(), ids=DECODER_GRAPHS)
def test_decoder_graph_that_breaks_its_contract_raises(name: str, model: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        decode_with(with_graph(name, model))


@pytest.mark.parametrize(("name", "model", "message"), ENCODER_GRAPHS.values(), ids=ENCODER_GRAPHS)
def test_encoder_graph_that_breaks_its_contract_raises(name: str, model: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        encode_with(with_graph(name, model))


def with_endless_loop() -> Parts:
    """The hyper synthesis with a loop of 2^62 rounds, which no engine would ever leave."""
    parts = tiny_student.parts()
    model = onnx.load_from_string(parts.members["graphs/hyper.onnx"])
    inputs = [
        onnx.helper.make_tensor_value_info(n, k, []) for n, k in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))
    ]
    output = onnx.helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["c"], ["again"])], "body", inputs, [output])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(2**62), "rounds"))
    model.graph.node.append(onnx.helper.make_node("Loop", ["rounds", ""], [], body=body))
    parts.members["graphs/hyper.onnx"] = model.SerializeToString()
    return parts


def test_graph_that_would_run_without_end_is_refused_before_an_engine_sees_it() -> None:
    with pytest.raises(BundleError, match="graph hyper: operator Loop has a graph inside"):
        decode_with(with_endless_loop())


def many_channels(parts: Parts) -> None:
    parts.manifest["latents"]["y"]["channels"] = 65536


def many_steps(parts: Parts) -> None:
    parts.manifest["analysis"][1:1] = [
        {"step": "run", "graph": "analysis", "inputs": ["image"], "outputs": [f"a{number}", f"b{number}"]}
        for number in range(1023)
    ]


def many_passes(parts: Parts) -> None:
    parts.manifest["schedule"][:1] = parts.manifest["schedule"][:1] * 1000
    parts.manifest["latents"]["z"] = {"channels": 3, "stride": 8}
    for name, side in (("hyper_analysis", "outputs"), ("hyper", "inputs")):
        parts.manifest["graphs"][name][side][0]["stride"] = 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (many_channels, r"latent elements per pixel: 257 exceeds the limit of 16. Pass Limits\(max_latent_density"),
        (many_passes, "latent elements per pixel: 47 exceeds the limit of 16"),
        (many_steps, "steps of the analysis: 1025 exceeds the limit of 1024"),
    ],
)
def test_bundle_that_asks_for_too_much_work_per_pixel_is_refused(change: Callable[[Parts], None], message: str) -> None:
    parts = tiny_student.parts()
    change(parts)

    with pytest.raises(LimitExceeded, match=message):
        Bundle(parts.pack())


def npy_header(text: bytes) -> bytes:
    """A `.npy` file of a header alone, which NumPy evaluates."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def pickled(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


CDF = tiny_student.row_tables((16, 8, 32))["cdf"]
ARRAYS = {
    "objects": pickled(np.array([{"a": 1}], object)),
    "no array": b"x" * 50,
    "nothing": b"",
    "cut": tiny_student.npy(CDF)[:-10],
    "10^23 elements": npy_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (%d,)}\n" % 10**23),
    "10^12 elements": npy_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (%d,)}\n" % 10**12),
    "negative size": npy_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (-1,)}\n"),
    "code": npy_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (__import__('os').getpid(),)}\n"),
    "unclosed": npy_header(b"{'descr': (((((\n"),
    "deep": npy_header(b"(" * 9000 + b"\n"),
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_table_that_is_not_a_plain_array_raises(content: bytes) -> None:
    parts = tiny_student.parts()
    parts.members["tables/prior_cdf.npy"] = content

    with pytest.raises(BundleError, match=r"tables/prior_cdf\.npy is not a plain array"):
        Decoder(parts.pack(), threads=1)


def flat_cdf(table: np.ndarray) -> None:
    table[0, 5] = table[0, 4]


def high_cdf(table: np.ndarray) -> None:
    table[1, 3] = 2**31 - 1


TABLES: dict[str, tuple[str, Callable[[np.ndarray], Any], str]] = {
    "floats": ("prior_cdf", lambda table: table.astype(np.float32), "int32"),
    "another byte order": ("prior_cdf", lambda table: table.astype(">i4"), "int32"),
    "a slot of frequency 0": ("prior_cdf", flat_cdf, "frequency 0 or less"),
    "a slot of huge frequency": ("prior_cdf", high_cdf, "frequency 0 or less"),
    "too few rows": ("prior_cdf", lambda table: table[:2], "expected"),
    "no such window": ("prior_window", lambda table: table + 1, "none of"),
    "a window beyond the values": ("prior_low", lambda table: table + 16380, "leaves"),
    "descending thresholds": ("anchors_thresholds", lambda table: table[:, ::-1].copy(), "descend"),
    "a scale of 0": ("anchors_inverse_scale", lambda table: table * 0, "an entry is 0"),
    "a negative tail": ("anchors_tail", lambda table: -table, "not in"),
    "no weight at all": ("anchors_exponential", lambda table: table * 0, "first entry is 0"),
    "a CDF above one half": ("anchors_half_cdf", lambda table: table + np.uint16(1), "32767"),
    "a descending CDF": ("anchors_half_cdf", lambda table: table[:, ::-1].copy(), "half_cdf"),
}


@pytest.mark.parametrize(("name", "change", "message"), TABLES.values(), ids=TABLES)
def test_table_out_of_range_is_refused_by_the_plain_decoder_too(
    name: str, change: Callable[[np.ndarray], Any], message: str
) -> None:
    parts = tiny_student.parts()
    table = np.load(io.BytesIO(parts.members[f"tables/{name}.npy"]))
    changed = change(table)
    parts.members[f"tables/{name}.npy"] = tiny_student.npy(table if changed is None else changed)

    with pytest.raises(BundleError, match=message):
        Decoder(parts.pack(), threads=1)
    with pytest.raises(Refused):
        read_distribution(parts.manifest["distributions"][name.partition("_")[0]], parts.members)


def test_table_row_chosen_by_a_graph_that_is_not_there_raises() -> None:
    """Rows come from a network's output; a table must not be read beyond its end."""
    parts = tiny_student.parts()
    parts.manifest["schedule"][2] |= {"distribution": "prior", "parameters": "rows"}
    parts.manifest["schedule"][1]["outputs"] = ["rows", "hyper"]
    drawing = Drawing()
    z = drawing("Transpose", "z", perm=[1, 2, 0])
    size = drawing("Slice", drawing("Shape", z), drawing.constant([0]), drawing.constant([2]))
    rows = drawing("Concat", drawing("Mul", size, drawing.constant([4, 2])), drawing.constant([8]), axis=0)
    drawing("Cast", drawing("Expand", drawing.constant(np.int32(300)), rows), to=INT16, output="rows")
    drawing("Identity", "rows", output="hyper")
    parts.members["graphs/hyper.onnx"] = drawing.model({"z": (INT16, 3)}, {"rows": (INT16, 3), "hyper": (INT16, 3)})

    with pytest.raises(BundleError, match="row"):
        encode_with(parts)
    with pytest.raises(BundleError, match="row"):
        decode_with(parts)


@pytest.mark.parametrize("engine", ["ort-cpu", "torch"])
@pytest.mark.parametrize("location", ["weights.bin", "../{folder}/weights.bin", "{path}", "missing.bin"])
def test_graph_with_weights_outside_the_bundle_reads_no_file(
    engine: str, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the user's would become weights, and could be read off the picture; nor are there hashes over it."""
    model = onnx.load_from_string(tiny_student.parts().members["graphs/hyper.onnx"])
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    path = tmp_path / "weights.bin"
    path.write_bytes(weights.raw_data)
    monkeypatch.chdir(tmp_path)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location.format(folder=tmp_path.name, path=path))

    with pytest.raises(BundleError, match="graph hyper"):
        engines.create(engine, threads=1).load(model.SerializeToString(), "hyper", True)
