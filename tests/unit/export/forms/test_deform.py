from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from small_models import evaluate, model_of, run

from fastlic.errors import EngineUnavailable
from fastlic.export.forms.making import make
from fastlic.runtime.forms import Form

GRID = Form(deform="grid-sample")
PLUGIN = Form(deform="plugin")


def deformed(
    channels: int = 8, outputs: int = 16, *, mask: bool = False, slope: float | None = None, **attributes: Any
) -> bytes:
    """A model of one DeformConv of maps of any size, with a LeakyReLU when there is a slope."""
    rng = np.random.default_rng(5)
    names = ["x", "w", "offset", "b", *(["mask"] if mask else [])]
    wanted = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **attributes}
    nodes = [helper.make_node("DeformConv", names, ["y" if slope is None else "d"], name="deform", **wanted)]
    if slope is not None:
        nodes.append(helper.make_node("LeakyRelu", ["d"], ["y"], alpha=slope))
    inputs = {"x": (np.float32, (1, channels, "h", "w")), "offset": (np.float32, (1, 18, "h", "w"))}
    if mask:
        inputs["mask"] = (np.float32, (1, 9, "h", "w"))
    weights = {
        "w": (rng.standard_normal((outputs, channels, 3, 3)) / 8).astype(np.float32),
        "b": rng.standard_normal(outputs).astype(np.float32),
    }
    return model_of(nodes, inputs, {"y": (np.float32, (1, outputs, "h", "w"))}, **weights)


def feeds(
    rng: np.random.Generator, height: int, width: int, reach: float, *, mask: bool = False
) -> dict[str, np.ndarray]:
    shapes = {"x": 8, "offset": 18, **({"mask": 9} if mask else {})}
    drawn = {name: rng.standard_normal((1, count, height, width)).astype(np.float32) for name, count in shapes.items()}
    drawn["offset"] *= np.float32(reach)
    return drawn


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 1), (6, 11)])
@pytest.mark.parametrize("reach", [0.0, 1.5, 40.0])
def test_grid_sample_computes_what_the_operator_defines(
    rng: np.random.Generator, height: int, width: int, reach: float
) -> None:
    given = feeds(rng, height, width, reach)

    (expected,) = run(deformed(), **given)
    (got,) = run(make(deformed(), GRID), **given)

    # A position in GridSample's units is known to 3 roundings of 2^-24 of an edge of 11 pixels and an offset of 160;
    # interpolation turns that into as much of the difference of two features, of which 72 are summed with weights.
    np.testing.assert_allclose(got, expected, atol=72 * 8 * 3 * 200 * 2.0**-24 / 8)


def test_grid_sample_in_half_precision_places_samples_as_exactly_as_in_float(rng: np.random.Generator) -> None:
    """At column 515 the unit of half precision is half a pixel: were positions in it, a shift of 0.25 would vanish."""
    width = 520
    ramp = np.broadcast_to((np.arange(width) % 8).astype(np.float32), (1, 8, 1, width)).copy()
    offset = np.zeros((1, 18, 1, width), np.float32)
    offset[:, 1::2] = 0.25

    (expected,) = run(deformed(), x=ramp, offset=offset)
    (got,) = evaluate(make(deformed(), Form(deform="grid-sample", precision="f16")), x=ramp, offset=offset)

    # 72 products of samples below 8 and weights below 0.5, each of the three rounded to 2^-11 of itself.
    assert np.abs(got - expected).max() <= 72 * 8 * 0.5 * 3 * 2.0**-11 / np.sqrt(72)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("slope", [None, 0.25])
def test_plugin_node_evaluated_by_the_kernels_twin_computes_the_operator(
    rng: np.random.Generator, mask: bool, slope: float | None
) -> None:
    given = feeds(rng, 5, 6, 1.5, mask=mask)
    model = deformed(mask=mask, slope=slope)

    (expected,) = run(model, **given)
    (got,) = evaluate(make(model, PLUGIN), **given)

    np.testing.assert_allclose(got, expected, atol=217 * 8 * 2.0**-24)  # 216 products and a bias in float32, below 8


@pytest.mark.parametrize(("form", "ahead"), [("plugin", {"aot": 1}), ("library", {})])
def test_plugin_node_has_everything_that_tensorrt_asks_for_as_attributes(form: Any, ahead: dict[str, int]) -> None:
    (node,) = onnx.load_from_string(make(deformed(slope=0.25), Form(deform=form))).graph.node

    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    assert (node.op_type, node.domain, node.name) == ("deform_conv2d", "fastlic", "fastlic_deform_conv2d_0")
    assert attributes == {
        "plugin_namespace": b"fastlic",
        "plugin_version": b"1",
        "masked": 0,
        "slope": int(np.float32(0.25).view(np.int32)),
        **ahead,
    }
    assert node.input[1] == node.input[2] == "offset"


@pytest.mark.parametrize(
    ("form", "model", "what"),
    [
        (GRID, deformed(strides=[2, 2]), r"deform: strides \[2, 2\]"),
        (GRID, deformed(mask=True), "has a mask"),
        (PLUGIN, deformed(dilations=[2, 2]), r"deform: dilations \[2, 2\]"),
        (PLUGIN, deformed(outputs=12), "multiples of 8"),
        (PLUGIN, deformed(outputs=264), "at most 256"),
    ],
)
def test_an_operator_without_such_a_form_is_refused(form: Form, model: bytes, what: str) -> None:
    with pytest.raises(EngineUnavailable, match=what):
        make(model, form)
