"""Models that could run without end are refused by name; what students consist of is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_student
from onnx import TensorProto, helper, numpy_helper

from fastlic.errors import BundleError
from fastlic.runtime import onnx_structure
from fastlic.runtime.bundle import Bundle, shipped

FLOAT = TensorProto.FLOAT


def plain() -> onnx.ModelProto:
    return onnx.load_from_string(tiny_student.parts().members["graphs/hyper.onnx"])


def body() -> onnx.GraphProto:
    """A loop's body that goes on for ever."""
    inputs = [
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("i", TensorProto.INT64), ("on", TensorProto.BOOL))
    ]
    output = helper.make_tensor_value_info("out", TensorProto.BOOL, [])
    return helper.make_graph([helper.make_node("Identity", ["on"], ["out"])], "body", inputs, [output])


def with_loop(model: onnx.ModelProto) -> None:
    count = numpy_helper.from_array(np.int64(2**62), "count")
    model.graph.initializer.append(count)
    model.graph.node.append(helper.make_node("Loop", ["count", ""], [], body=body()))


def with_branch(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("If", ["c0"], ["x"], then_branch=body(), else_branch=body()))


def with_graph_list(model: onnx.ModelProto) -> None:
    node = helper.make_node("Any", [], [])
    node.attribute.append(onnx.AttributeProto(name="bodies", graphs=[body()], type=onnx.AttributeProto.GRAPHS))
    model.graph.node.append(node)


def with_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], [node], model.opset_import))


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.CopyFrom(body())


def with_foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", [], ["x"], domain="com.microsoft"))


FORBIDDEN = {
    "loop": (with_loop, "operator Loop has a graph inside"),
    "branch": (with_branch, "operator If has a graph inside"),
    "list of graphs": (with_graph_list, "operator Any has a graph inside"),
    "function": (with_function, "functions or training steps"),
    "training": (with_training, "functions or training steps"),
    "foreign operator": (with_foreign_operator, "operator EPContext belongs to com.microsoft"),
}


@pytest.mark.parametrize(("change", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_check_forbidden_part_raises_and_names_it(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = plain()
    change(model)

    with pytest.raises(BundleError, match=f"graph hyper: .*{message}"):
        onnx_structure.check(model.SerializeToString(), "hyper")


def test_check_second_graph_field_is_looked_at_too() -> None:
    """Readers of protobuf merge a field that occurs twice."""
    hidden = onnx.ModelProto()
    with_loop(hidden)

    with pytest.raises(BundleError, match="Loop"):
        onnx_structure.check(plain().SerializeToString() + hidden.SerializeToString(), "hyper")


def test_check_too_many_nodes_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_structure, "MAX_NODES", len(plain().graph.node) - 1)

    with pytest.raises(BundleError, match="nodes"):
        onnx_structure.check(plain().SerializeToString(), "hyper")


@pytest.mark.parametrize(
    "model",
    [
        b"graph",
        b"\x3a\xff",
        b"\x3a\x05abc",
        b"\x3b",
        b"\x09abc",
        b"\x3d\x00",
        b"\x80" * 6,
        b"\xba\x80\x80\x80\x80\x80\x00\x00",
        b"\x08" + b"\xff" * 11,
    ],
)
def test_check_bytes_that_are_no_message_raises(model: bytes) -> None:
    with pytest.raises(BundleError, match="is not an ONNX model"):
        onnx_structure.check(model, "hyper")


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_check_shipped_students_pass(path: Path) -> None:
    with Bundle(path) as bundle:
        for name, spec in bundle.manifest.graphs.items():
            onnx_structure.check(bundle.member(spec.file), name)


def test_check_every_cut_of_a_model_passes_or_raises_a_bundle_error() -> None:
    model = tiny_student.parts().members["graphs/hyper_analysis.onnx"]
    for cut in range(len(model)):
        try:
            onnx_structure.check(model[:cut], "hyper")
        except BundleError:
            continue
