from __future__ import annotations

from typing import Any

import pytest

from fastlic.export.forms import probes
from fastlic.kernels.tensorrt import plugin
from fastlic.runtime.engines.tensorrt import inspection
from fastlic.runtime.forms import Form

EXACT = Form("plugin", "f32", "tensorrt")
HALF = Form("plugin", "f16", "tensorrt")
NODE = f"{plugin.NODE_PREFIX}0"


def layer(name: str, kind: str, **rest: str) -> dict[str, Any]:
    return {"Name": name, "Outputs": [{"Name": "x", "Format/Datatype": kind}], **rest}


@pytest.mark.parametrize(
    ("layers", "form", "plugins", "expected"),
    [
        ([layer("product", "Float")], EXACT, 0, None),
        ([layer("conv", "Half"), layer(NODE, "Channel major FP16 format")], HALF, 1, None),
        ([layer("fused", "Half", Metadata=f"[ONNX Layer: {NODE}]")], HALF, 1, None),
        ([], EXACT, 0, "the inspector shows no layers"),
        ([layer("product", "Half")], EXACT, 0, "1 layers compute in half precision"),
        ([layer("product", "Row major linear FP16 format")], EXACT, 0, "1 layers compute in half precision"),
        ([layer("product", "Float", TacticName="sm80_xmma_gemm_f32f32_tf32f32")], EXACT, 0, "a layer computes in TF32"),
        ([layer("conv", "Float")], HALF, 0, "no layer computes in half precision"),
        ([layer("conv", "Half")], HALF, 1, "0 of 1 layers are fastlic's plugin"),
        ([layer("conv", "Half"), layer(NODE, "Half")], HALF, 2, "1 of 2 layers are fastlic's plugin"),
        ([layer("half_open_interval", "Float")], EXACT, 0, None),
    ],
)
def test_engine_is_held_against_what_was_asked_for(
    layers: list[dict[str, Any]], form: Form, plugins: int, expected: str | None
) -> None:
    assert inspection.problem(layers, form, plugins) == expected


def test_plugins_of_a_form_are_counted_by_the_names_of_their_nodes() -> None:
    made = probes.files()

    assert inspection.count_plugins(made["pixels-tensorrt-plugin-f16.onnx"]) == 1
    assert inspection.count_plugins(made["pixels-tensorrt-standard-f16.onnx"]) == 0
