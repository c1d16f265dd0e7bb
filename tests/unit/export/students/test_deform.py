"""The operator against its readable twin, finite differences, and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fastlic.export.students.deform import (
    DeformConv2d,
    deform_conv2d,
    deform_conv2d_reference,
    disable_zero_offsets,
    enable_offsets,
    gather_deform_conv2d,
    onnx_translations,
)

SMALL, LARGE = 0.4, 12.0


def _arguments(amplitude: float, height: int = 5, width: int = 7, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(int(amplitude * 10) + height)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    return [normal(2, 3, height, width), normal(4, 3, 3, 3), amplitude * normal(2, 18, height, width), normal(4)]


@pytest.mark.parametrize("amplitude", [0.0, SMALL, LARGE])
@pytest.mark.parametrize("operator", [deform_conv2d, gather_deform_conv2d])
def test_operator_any_offsets_equals_reference(operator, amplitude):
    arguments = _arguments(amplitude)

    assert torch.allclose(operator(*arguments), deform_conv2d_reference(*arguments), rtol=0, atol=1e-12)


def test_operator_zero_offsets_is_the_plain_convolution():
    x, weight, offset, bias = _arguments(0.0)

    plain = functional.conv2d(x, weight, bias, padding=1)

    assert torch.allclose(deform_conv2d(x, weight, offset, bias), plain, rtol=0, atol=1e-12)


def test_operator_offsets_beyond_one_pixel_outside_give_the_bias():
    x, weight, offset, bias = _arguments(0.0)

    for far in (-1e6, 1e6):
        result = deform_conv2d(x, weight, torch.full_like(offset, far), bias)
        assert torch.equal(result, bias[None, :, None, None].expand_as(result))


def test_operator_half_precision_keeps_coordinates_exact():
    x, weight, offset, bias = (argument.float() for argument in _arguments(SMALL, 3, 250))
    expected = gather_deform_conv2d(x, weight, offset.bfloat16().float(), bias)

    with torch.autocast("cpu", torch.bfloat16):
        found = gather_deform_conv2d(x, weight, offset.bfloat16(), bias)

    # Half a pixel of error in a coordinate would change samples of unit variance by as much as they are; rounding the
    # 27 products and the weights to 8 bits changes them by a few 2^-8.
    error = (found.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert float(error) < 2**-7


@pytest.mark.parametrize("amplitude", [SMALL, LARGE])
def test_operator_gradients_match_finite_differences(amplitude):
    arguments = [argument.requires_grad_() for argument in _arguments(amplitude, 3, 4)]

    assert torch.autograd.gradcheck(deform_conv2d, arguments)


def test_operator_registration_is_consistent():
    arguments = [argument.requires_grad_() for argument in _arguments(SMALL, 3, 4)]

    torch.library.opcheck(deform_conv2d, tuple(arguments))


@pytest.mark.parametrize("training", [True, False])
def test_block_offsets_off_is_its_plain_convolution(training):
    block = DeformConv2d(3, 4).train(training)
    torch.nn.init.normal_(block.offset.weight)
    x = torch.randn(1, 3, 6, 5)
    enable_offsets(block, False)

    assert torch.equal(block(x), functional.conv2d(x, block.weight, block.bias, padding=1))


def test_block_training_and_evaluation_give_the_same():
    block = DeformConv2d(3, 4)
    torch.nn.init.normal_(block.offset.weight)
    x = torch.randn(1, 3, 6, 5)

    assert torch.equal(block.train()(x), block.eval()(x))


def test_export_offsets_of_many_pixels_equals_onnx_runtime():
    torch.manual_seed(0)
    block = DeformConv2d(3, 4).eval()
    torch.nn.init.normal_(block.offset.weight, std=3.0)
    any_size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        block,
        (torch.randn(1, 3, 8, 9),),
        dynamo=True,
        opset_version=22,
        verbose=False,
        custom_translation_table=onnx_translations(),
        dynamic_shapes=(any_size,),
    )
    assert "DeformConv" in [node.op_type for node in program.model.graph]
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])

    for height, width in ((8, 9), (11, 6)):
        x = torch.randn(1, 3, height, width)
        with torch.no_grad():
            expected = block(x).numpy()
            largest = float(block.offset(x).abs().max())
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        # 27 products of floats near 1: an eighth of their sum's rounding, times the slope along the largest offset.
        assert largest > height
        np.testing.assert_allclose(found, expected, rtol=0, atol=27 * 2**-23 * largest)


@torch.no_grad()
def test_disable_zero_offsets_touches_no_convolution_with_an_offset_and_no_result():
    torch.manual_seed(0)
    model = torch.nn.Sequential(DeformConv2d(3, 4), DeformConv2d(4, 5))
    torch.nn.init.constant_(model[1].offset.bias, 0.25)
    x = torch.randn(1, 3, 6, 8)
    before = model(x)

    disable_zero_offsets(model)

    assert [module.enabled for module in model] == [False, True]
    torch.testing.assert_close(model(x), before)
